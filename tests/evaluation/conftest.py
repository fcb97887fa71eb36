"""A small encoder, a small parallel collection, embeddings with many ties, and an empty MLflow store."""

import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hybrid.data.records import Paragraph, Question
from hybrid.evaluation.loading import loaded_task
from hybrid.evaluation.passages import passage_collection
from hybrid.evaluation.task import THREE_SETTINGS, Task
from hybrid.models import FromScratch, ModelConfig
from hybrid.models.load import load_encoder

LANGUAGES = ("de", "en", "fi", "zh")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that any text has distinct tokens."""
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(vocabulary)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.fixture(autouse=True, scope="session")
def cache_of_passages(tmp_path_factory):
    """Passages that tests read go to a folder that is thrown away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def encoder():
    """A random two-layer XLM-R with prefixes."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    scratch = FromScratch(model_type="xlm-roberta", config=shape)
    config = ModelConfig(from_scratch=scratch, query_prefix="query: ", passage_prefix="passage: ")
    return load_encoder(config, byte_tokenizer()).eval()


def made_paragraphs(languages=LANGUAGES, partial: bool = True) -> dict[str, list[Paragraph]]:
    """Paragraphs of three sentences with two questions each; `partial` leaves every fifth out in the last language."""
    made: dict[str, list[Paragraph]] = {}
    for language in languages:
        made[language] = []
        for p in range(12):
            sentences = [f"{language} fact {p} {s} about thing {p * 7 + s}." for s in range(3)]
            starts = [sum(len(s) + 1 for s in sentences[:i]) for i in range(3)]
            spans = [(start, start + len(text)) for start, text in zip(starts, sentences, strict=True)]
            questions = [
                Question(f"q{p}-{n}", f"{language} what is {p} {n}?", starts[(p + n) % 3] + 3, "fact")
                for n in range(2)
                if not partial or language != languages[-1] or (2 * p + n) % 5
            ]
            made[language].append(Paragraph(f"article {p}", " ".join(sentences), spans, questions))
    return made


@pytest.fixture
def collection():
    """Four languages, partly parallel, sentences as candidates."""
    return passage_collection(made_paragraphs())


@pytest.fixture
def made(collection):
    """That collection as a task that was read."""
    return loaded_task(Task("made", passage_collection, "made", THREE_SETTINGS, "nowhere", "CC0", ""), collection)


@pytest.fixture
def tied_embeddings(collection):
    """Vectors of small integers: many scores are equal, some are negative or zero."""
    random = np.random.default_rng(0)
    queries = random.integers(-1, 2, (len(collection.queries), 4))
    documents = random.integers(-1, 2, (len(collection.documents), 4))
    return queries.astype(np.float32), documents.astype(np.float32)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow store without runs; making its tables takes seconds, so tests copy the file."""
    mlflow = pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(empty_store, tmp_path):
    """The address of an MLflow store with an experiment ``e`` whose files lie in this test's folder."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"
    MlflowClient(tracking_uri=uri).create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    return uri
