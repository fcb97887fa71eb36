"""The README.md of a saved model."""

from collections.abc import Mapping, Sequence


def model_card(
    name: str, base: str, languages: Sequence[str], mixture: str, data: Mapping[str, str], scores: Mapping[str, float]
) -> str:
    """Return a model card: what it was made from, with which mixture, and what it scores.

    Args:
        name: of the run.
        base: what was fine-tuned, or how it was initialised.
        languages: codes of the training languages.
        mixture: the shares in one line.
        data: digest of each training data set by name.
        scores: metrics by ``task/setting/measure``.
    """
    # Quoted: a bare no is YAML's false.
    codes = "".join(f'- "{code}"\n' for code in languages)
    rows = "".join(f"| {key} | {value:.4f} |\n" for key, value in scores.items())
    table = f"| score | value |\n|---|---|\n{rows}" if scores else "Not scored.\n"
    sets = "".join(f"- {key} (digest `{value}`)\n" for key, value in data.items())
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, multilingual, dense-retrieval]
language:
{codes}---
# {name}

A dense retriever for questions and passages in several languages, trained on hybrid batches (arXiv 2408.10536) from
{base}. Similarity is the cosine; queries and passages carry the prompts in `config_sentence_transformers.json`.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH_OF_THIS_FOLDER")
scores = model.encode(["a question"], prompt_name="query") @ model.encode(["a passage"], prompt_name="passage").T
```

## Training

Mixture: {mixture}. Languages: {", ".join(languages)}. Data:

{sets}
## Scores

{table}"""
