"""Train a language-agnostic dense retriever on hybrid batches: `accelerate launch train.py --config RECIPE`."""

import sys
from dataclasses import replace

from hybrid.config import Config, read_config
from hybrid.data.load import load_corpora
from hybrid.evaluation.benchmarks import Benchmarks
from hybrid.kinds import check_dropout, check_same_rows
from hybrid.models.card import model_card
from hybrid.models.load import load_encoder
from hybrid.models.lora import check_own
from hybrid.models.save import save_encoder
from hybrid.runtime.ending import Ending
from hybrid.runtime.environment import environment
from hybrid.runtime.errors import InputError
from hybrid.runtime.files import atomic_file, write_json
from hybrid.runtime.interruption import INTERRUPTED, leave, listen, run_to_end
from hybrid.runtime.launch import start
from hybrid.runtime.logs import bad_input_told, log
from hybrid.runtime.processes import Interrupted, barrier, on_main, rank, world_size
from hybrid.runtime.tracking import Tracker
from hybrid.sampling import HybridBatchSampler, Mixture, MixtureError, lanes_of
from hybrid.training.ending import TrainingEnding
from hybrid.training.folder import check_folder, mark_finished, open_folder
from hybrid.training.report import before_and_after, flat, mixture_line, mixture_lines
from hybrid.training.tags import TAGS, base_name, training_tags
from hybrid.training.zero import shards_weights


def train(config: Config) -> None:
    """From a configuration to a trained, saved and scored encoder. Every rank runs this."""
    check_folder(config.folder, config.training.copies, config.resume, config.overwrite)
    settings = config.training
    accelerator = start(settings.precision, settings.seed, settings.deterministic, settings.stall_seconds)
    with TrainingEnding(config.folder, settings.stall_seconds) as ending:
        benchmarks = Benchmarks(config.benchmark, config.folder / "results")
        lanes_of(config.mixture, settings.global_batch, world_size())  # before any data is read
        if config.benchmark.before and shards_weights(accelerator):
            raise InputError(
                "benchmark.before is set, but ZeRO-3 spreads the weights before training; use evaluate.py."
            )
        data = load_corpora(config.data)
        sampler = make_sampler(config, data)
        encoder = make_encoder(config, data).to(accelerator.device)
        check_dropout(encoder, config.mixture)
        open_folder(config.folder, config.training.copies, config.overwrite)
        ending.tracker = tracker = Tracker(config.folder, config.training.name, config.tracking, hold=config.resume)
        log_start(config, data, sampler.mixture, tracker)
        before = benchmarks.score(encoder, "before") if config.benchmark.before else {}
        encoder = run(config, data, sampler, encoder, benchmarks, accelerator, ending)
        after = benchmarks.score(encoder, "after")
        finish(config, data, before, after, tracker)


def check(config: Config) -> bool:
    """Show whether gradient and step on these machines are those of one process; True if so. Every rank runs this."""
    from hybrid.training.batches import make_batches
    from hybrid.training.gradient_check import check_gradients, checked_model

    settings = config.training
    accelerator = start(settings.precision, settings.seed, stall_seconds=settings.stall_seconds)
    with Ending("the same command checks anew", settings.stall_seconds):
        config = replace(config, model=checked_model(config.model, config.check_gradients))
        data = load_corpora(config.data)
        sampler = make_sampler(config, data)
        encoder = make_encoder(config, data)
        batches = make_batches(sampler, make_collator(config, data, encoder), workers=0)
        return check_gradients(config, encoder, lambda: make_encoder(config, data), batches, accelerator)


def make_sampler(config: Config, data) -> HybridBatchSampler:
    """Return this rank's sampler, which also checks that the mixture fits data, ranks and batch."""
    mixture = Mixture(config.mixture, data.train)
    settings = config.training
    place = rank(), world_size()
    sampler = HybridBatchSampler(mixture, settings.global_batch, settings.seed, *place, steps=settings.steps)
    check_same_rows(sampler.identity())
    return sampler


def make_encoder(config: Config, data):
    """Load or initialise the encoder; one from scratch may train its tokenizer on the corpus first."""
    from hybrid.models.tokenizer import train_tokenizer

    scratch, tokenizer = config.model.from_scratch, None
    if scratch and not scratch.tokenizer:
        texts = (text for corpus in data.train for text in corpus.texts)
        tokenizer = train_tokenizer(texts, scratch.vocabulary, config.data.passage_max_length)
    encoder = load_encoder(config.model, tokenizer)
    check_own(encoder.backbone, config.model.name)
    for key, length in config.data.lengths().items():
        if encoder.max_length and length > encoder.max_length:
            raise InputError(
                f"{key} is {length}, but the encoder has positions for {encoder.max_length} tokens; set it to that or "
                "less."
            )
    return encoder


def make_collator(config: Config, data, encoder):
    """Return what turns rows into this rank's batches; the texts are tokenised first, where that is not done yet."""
    from hybrid.data.collate import Collator
    from hybrid.data.store import token_store

    store = token_store(data.train, encoder.tokenizer, config.data.cache)
    return Collator(data.train, store, config.data, encoder.tokenizer, encoder.prefixes)


def log_start(config: Config, data, mixture: Mixture, tracker) -> None:
    """Print and log what is about to be trained: configuration, data, streams and shares."""
    folder, table, about = config.folder, mixture.table(), environment()
    for corpus in data.train:
        log(f"data: {corpus.name}: {len(corpus)} items, languages {' '.join(corpus.languages)}")
    for line in mixture_lines(table):
        log(line)

    digests = {corpus.name: corpus.digest for corpus in data.train}
    tags = training_tags(config, mixture.languages, digests)

    def write() -> None:
        with atomic_file(folder / "config.yaml") as file:
            file.write(config.text)
        write_json(folder / "mixture.json", table)
        write_json(folder / "environment.json", about)
        write_json(folder / TAGS, tags)

    on_main(write)
    digests = {f"digest.{name}": value for name, value in digests.items()}
    tracker.params(flat(config) | digests | data.counts | {"world_size": world_size()})
    tracker.tags({"job": "train", "folder": str(folder.resolve()), "git": about["git"], **tags})
    for name in ("config.yaml", "mixture.json", "environment.json"):
        tracker.artifact(folder / name)


def run(config: Config, data, sampler: HybridBatchSampler, encoder, benchmarks: Benchmarks, accelerator, ending):
    """Train, save the encoder that is kept (the best on the development split, or the last), and return it."""
    from hybrid.training.batches import make_batches
    from hybrid.training.engine import Engine
    from hybrid.training.loop import Hooks, Loop
    from hybrid.training.realised import Realised

    tracker, settings = ending.tracker, {key: str(value) for key, value in flat(config).items()}
    collator = make_collator(config, data, encoder)
    barrier()  # A rank that was asked to stop while another built the token store meets it here.
    engine = Engine(encoder, config.objective, config.training, accelerator)
    hooks = Hooks(
        evaluate=benchmarks.development(data.dev, config.data, config.training.keep_best) if data.dev else None,
        keep=lambda state: save(config, encoder, data, state),
        state=lambda step: {"sampler": sampler.state_dict(step), "run_id": tracker.run_id, "settings": settings},
    )
    realised = Realised([sampler.mixture.name(stream) for stream in range(len(sampler.mixture.items))])
    ending.loop = loop = Loop(config.training, engine, hooks, realised, config.folder, tracker)
    if config.resume:
        state = loop.resume(sampler)
        tracker.adopt(state and state["run_id"])
    loop.run(make_batches(sampler, collator, config.training.workers))
    rows = realised.total()
    on_main(lambda: write_json(config.folder / "rows.json", rows))
    tracker.artifact(config.folder / "rows.json")
    own = {"name": str(config.folder / "model"), "revision": None, "from_scratch": None, "lora": None, "layers": None}
    return loop.kept(lambda: load_encoder(replace(config.model, **own)))


def save(config: Config, encoder, data, state) -> None:
    """Write the model directory, with its card, which has no scores yet."""
    text, length = card(config, data, {}), max(config.data.lengths(questions=True).values())
    on_main(lambda: save_encoder(encoder, config.folder / "model", text, length, state))


def card(config: Config, data, scores: dict[str, float]) -> str:
    """Return the text of the model's card."""
    languages = sorted({code for corpus in data.train for code in corpus.languages})
    digests = {corpus.name: corpus.digest for corpus in data.train}
    return model_card(config.training.name, base_name(config), languages, mixture_line(config.mixture), digests, scores)


def finish(config: Config, data, before: dict[str, float], after: dict[str, float], tracker) -> None:
    """Log the scores, write them on the model's card, and say where everything lies."""
    folder = config.folder

    def write() -> None:
        with atomic_file(folder / "model" / "README.md") as file:
            file.write(card(config, data, after))

    on_main(write)
    tracker.metrics({f"before/{key}": value for key, value in before.items()} | after, config.training.steps)
    tracker.artifact(folder / "model" / "README.md")
    for file in sorted((folder / "results").rglob("*")):
        if file.name in ("scores.json", "per_query.parquet") or file.suffix == ".png":
            tracker.artifact(file, str(file.parent.relative_to(folder)))
    mark_finished(folder, {"before": before, "after": after}, checkpoints=config.training.checkpoint_every > 0)
    if after:
        note = f"\n{config.benchmark.note}\n" if config.benchmark.note else ""
        text = f"{before_and_after(before, after)}\n{note}"
        tracker.describe(text)
        log(f"\n{text}")
    log(f"model:  {folder / 'model'}\nreport: {folder / 'results'}\nrun:    {tracker.place()}")
    task, place = (config.benchmark.tasks or ["xquad-r"])[0], config.benchmark.data_dir or "FOLDER"
    log(f"next:   accelerate launch evaluate.py --model {folder / 'model'} --tasks '{task}' --data_dir {place}")


def main() -> None:
    """Run as a command: bad input and a full disk are told in one sentence, with status 2."""
    listen()
    try:
        with bad_input_told(MixtureError):
            config = read_config()
            if config.check_gradients:
                sys.exit(not check(config))
            train(config)
    except Interrupted:
        leave(INTERRUPTED)


if __name__ == "__main__":
    run_to_end(main)
