"""A reader out of an encoder: ``python -m hybrid.evaluation.reader --model DIR --data SQUAD_FILES --out DIR``.

Fine-tunes a span head on SQuAD-format files with transformers' Trainer, prints F1 and exact match on whole articles
that were held out, and leaves a directory that ``evaluate.py --reader`` takes. Under `accelerate launch` it runs on all
GPUs.
"""

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jsonargparse import ArgumentParser

from hybrid.data.files import resolve
from hybrid.data.records import Paragraph
from hybrid.data.report import Report
from hybrid.data.squad import read_squad
from hybrid.evaluation.answers import exact_match, f1
from hybrid.evaluation.reading import ABOUT, Reader, cut
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_folder, write_json
from hybrid.runtime.interruption import run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import bad_input_told, log
from hybrid.runtime.processes import barrier, is_main


@dataclass
class ReaderTraining:
    """How a reader is trained."""

    steps: int = 2000
    """Optimizer steps."""
    batch: int = 32
    """Windows of a step and process."""
    learning_rate: float = 1e-4
    """Peak of AdamW's rate: a tenth of the steps up, then linearly down."""
    max_length: int = 256
    """Tokens of a window: question, passage and special tokens."""
    freeze_embeddings: bool = True
    """Leave the token embeddings as they are: less memory, and rare languages stay where they were."""
    dropout: float = 0.0
    """Dropout in training."""
    held_out: float = 0.05
    """Share of the articles that is not trained on."""
    held_out_questions: int = 500
    """Questions of the held-out articles that are scored, at most."""
    language: str = "en"
    """Of files whose path has no {language}: its articles are left out of account in F1."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic: bf16 is mixed precision."""
    seed: int = 0
    """Of the held-out articles, the order and the head's first weights."""

    def __post_init__(self) -> None:
        for key in ("steps", "batch", "learning_rate", "max_length", "held_out", "held_out_questions"):
            if not getattr(self, key) > 0:
                raise InputError(f"training.{key} is {getattr(self, key)}; give a positive number.")
        for key in ("dropout", "held_out"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"training.{key} is {getattr(self, key)}; give a part of at least 0 and below 1.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"training.seed is {self.seed}; give a whole number of at least 0 and below 2**32.")


@dataclass(frozen=True)
class Example:
    """A question with its passage; the answer stands at [start, start + len(answer))."""

    language: str
    article: str
    question: str
    passage: str
    answer: str
    start: int


def read_examples(data: str, language: str) -> list[Example]:
    """Read the answered questions of SQuAD-format files, ``{language}`` in the path standing for each language."""
    report, examples = Report("--data"), []
    for code, paths in resolve(data, "--data").items():
        for paragraph in (paragraph for path in paths for paragraph in read_squad(path, report)):
            examples += _of_paragraph(paragraph, code or language)
    for line in report.lines():
        log(line)
    if not examples:
        raise InputError(f"--data {data}: holds no question with an answer in its passage.")
    return examples


def _of_paragraph(paragraph: Paragraph, language: str) -> list[Example]:
    return [
        Example(language, paragraph.article, q.question, paragraph.context, q.answer_text, q.answer_start)
        for q in paragraph.questions
    ]


def split(examples: list[Example], config: ReaderTraining) -> tuple[list[Example], list[Example]]:
    """Return what is trained on and what is scored, `held_out_questions` at most; no article is in both."""
    random = np.random.default_rng(config.seed)
    articles = sorted({example.article for example in examples})
    held = set(random.permutation(articles)[: max(1, round(config.held_out * len(articles)))].tolist())
    kept = [example for example in examples if example.article not in held]
    if not kept:
        raise InputError(f"--data holds {len(articles)} articles; holding some out needs two at least.")
    out = [example for example in examples if example.article in held]
    rows = random.permutation(len(out))[: config.held_out_questions]
    return kept, [out[row] for row in rows.tolist()]


def training_rows(tokenizer, examples: list[Example], max_length: int) -> list[dict[str, Any]]:
    """Return the windows that hold their answer whole, with the tokens at which it starts and ends."""
    questions, passages = [e.question for e in examples], [e.passage for e in examples]
    windows = cut(tokenizer, questions, passages, max_length)
    rows = []
    for row, (offsets, pair) in enumerate(zip(windows.offsets, windows.pair, strict=True)):
        start, stop = examples[pair].start, examples[pair].start + len(examples[pair].answer)
        inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < stop) & (offsets[:, 0] >= 0))
        if len(inside) and offsets[inside[0], 0] <= start and offsets[inside[-1], 1] >= stop:
            places = {"start_positions": int(inside[0]), "end_positions": int(inside[-1])}
            rows.append(windows.inputs(row) | places)
    return rows


def fine_tune(model, tokenizer, rows: list[dict[str, Any]], config: ReaderTraining) -> None:
    """Train a question-answering model in place with transformers' Trainer."""
    import torch
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    if config.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=config.steps,
            per_device_train_batch_size=config.batch,
            learning_rate=config.learning_rate,
            warmup_steps=config.steps // 10,
            bf16=config.precision == "bf16",
            use_cpu=not torch.cuda.is_available(),
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to="none",
            logging_steps=max(1, config.steps // 20),
            disable_tqdm=not sys.stderr.isatty(),
            seed=config.seed,
        )
        Trainer(model, arguments, DataCollatorWithPadding(tokenizer), train_dataset=rows).train()


def held_out_scores(reader: Reader, examples: list[Example]) -> dict[str, float]:
    """Return the mean F1 and exact match (MLQA's definition, 0 to 1) of answers read in the questions' own passages."""
    answers = reader.read([e.question for e in examples], [[e.passage] for e in examples])
    pairs = list(zip(answers, examples, strict=True))
    return {
        "f1": float(np.mean([f1(answer, [e.answer], e.language) for answer, e in pairs])),
        "exact_match": float(np.mean([exact_match(answer, [e.answer], e.language) for answer, e in pairs])),
        "questions": len(examples),
    }


def train_reader(model: str, data: str, out: str, config: ReaderTraining) -> dict[str, float]:
    """Train a reader from an encoder's directory or hub id, save it to `out`, and return its held-out scores."""
    if Path(out).exists():
        raise InputError(f"--out {out}: is there already; give another place, or remove it.")
    examples, held = split(read_examples(data, config.language), config)
    accelerator = start(config.precision, config.seed)
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    dropout = {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout}
    network = AutoModelForQuestionAnswering.from_pretrained(model, **dropout)
    # As many questions as the steps can take: the rest need not be tokenised.
    order = np.random.default_rng(config.seed).permutation(len(examples))
    wanted = order[: config.steps * config.batch * accelerator.num_processes].tolist()
    rows = training_rows(tokenizer, [examples[row] for row in wanted], config.max_length)
    log(f"{len(wanted)} of {len(examples)} questions, {len(rows)} windows that hold their answer; {len(held)} held out")
    fine_tune(network, tokenizer, rows, config)
    scores = {}
    if is_main():
        scores = held_out_scores(Reader(network.eval(), tokenizer, config.precision), held)
        with atomic_folder(out) as folder:
            network.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            write_json(folder / ABOUT, {"from": model, "data": data, "scores": scores, **asdict(config)})
        log(f"held out: F1 {scores['f1']:.3f}, exact match {scores['exact_match']:.3f} ({len(held)} questions): {out}")
    barrier()
    return scores


def main() -> None:
    """Run as a command: bad input is told in one sentence, with status 2."""
    parser = ArgumentParser(prog="python -m hybrid.evaluation.reader", description=__doc__)
    parser.add_argument("--model", required=True, help="directory or hub id of an encoder")
    parser.add_argument("--data", required=True, help="SQuAD-format files: a path, with {language} for several")
    parser.add_argument("--out", required=True, help="where the reader goes")
    parser.add_argument("--training", type=ReaderTraining, default=ReaderTraining(), help="how it is trained")
    with bad_input_told():
        arguments = parser.instantiate(parser.parse_args())
        train_reader(arguments.model, arguments.data, arguments.out, arguments.training)


if __name__ == "__main__":
    run_to_end(main)
