"""A batch whose loss or gradient is not finite: what reproduces it is written, and computed again by

python -m hybrid.training.not_finite FOLDER
"""

import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from hybrid.data.batch import Batch
from hybrid.models import ModelConfig
from hybrid.models.load import load_encoder
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError, first_line
from hybrid.runtime.files import atomic_file, read_json, write_json
from hybrid.runtime.logs import bad_input_told, log
from hybrid.runtime.processes import gather_objects, on_main
from hybrid.runtime.ragged import Ragged
from hybrid.training.config import ObjectiveConfig
from hybrid.training.engine import Engine, ScaledEncoder, StepResult
from hybrid.training.objective import Objective
from hybrid.training.reference import joined

_CARD = "The weights before a step whose loss or gradient was not finite; batch.pt is its global batch.\n"


def stop_with_batch(folder: Path, engine: Engine, batch: Batch, result: StepResult) -> None:
    """Write the global batch, its rows and the weights, and raise InputError; every rank calls it.

    folder/batch.pt holds tokens and groups, folder/rows.json the sampler's rows by rank with what it takes to get them
    again (step, seed), and folder/model the encoder, whose weights the skipped steps have left as they were.
    """
    batches, losses = gather_objects(batch), gather_objects(float(result.loss))
    state = engine.accelerator.get_state_dict(engine.model) or {}
    inner = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    about = {
        "step": batch.step,
        "seed": engine.config.seed,
        "precision": engine.config.precision,
        "kind": batch.kind,
        "objective": asdict(engine.objective.config),
        "log_temperature_change": float(state.get("log_temperature", 0.0)),
        "ranks": [
            {"loss": repr(loss), "rows": one.rows.tolist(), "streams": one.streams.tolist()}
            for loss, one in zip(losses, batches, strict=True)
        ],
    }

    def write() -> None:
        encoder = engine.module.encoder
        save_encoder(encoder, folder / "model", _CARD, encoder.max_length or 512, inner)
        with atomic_file(folder / "batch.pt", "wb") as file:
            torch.save(_tensors(joined(batches)), file)
        write_json(folder / "rows.json", about)

    on_main(write)
    raise InputError(
        f"training.stop_after_skips: the loss or gradient of {engine.config.stop_after_skips} steps in a row was not "
        f"finite; {folder} holds the last batch and the weights: python -m hybrid.training.not_finite {folder} "
        "computes it again and names the first module with such values. Lower training.learning_rate or raise "
        "objective.temperature, and go on from a checkpoint with --resume."
    )


def replay(folder: Path) -> tuple[float, list[str]]:
    """Compute the batch again in one process; returns the loss, and the places that are not finite, first one first."""
    about, tensors = read_json(folder / "rows.json"), _read_batch(folder / "batch.pt")
    batch = Batch(
        step=about["step"],
        kind=about["kind"],
        queries=Ragged(*tensors["queries"]),
        passages=Ragged(*tensors["passages"]),
        rows=[row for rank in about["ranks"] for row in rank["rows"]],
        streams=[stream for rank in about["ranks"] for stream in rank["streams"]],
        **{key: tensors[key] for key in ("query_groups", "passage_groups", "negative_owner")},
    )
    config = ObjectiveConfig(**about["objective"])
    encoder = load_encoder(ModelConfig(name=str(folder / "model")))
    module = ScaledEncoder(encoder, config).train()
    module.log_temperature.data.fill_(about["log_temperature_change"])
    places = _watch(module)
    with torch.autocast("cpu", torch.bfloat16, enabled=about["precision"] == "bf16"):
        vectors = module(Ragged.join([batch.queries, batch.passages]))
    loss = Objective(config)(vectors, batch).value
    loss.backward()
    places += [] if loss.isfinite() else ["the loss"]
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            places.append(f"the gradient of {name}")
    return float(loss.detach()), places


def _read_batch(path: Path) -> dict:
    try:
        return torch.load(path)
    except Exception as error:
        raise InputError(f"{path}: is no batch that a stopped job wrote ({first_line(error)}).") from error


def _watch(module: nn.Module) -> list[str]:
    """Return a list to which the names of modules are added whose output is not finite."""
    places: list[str] = []

    def look(name: str):
        def hook(_, __, output) -> None:
            if torch.is_tensor(output) and not output.isfinite().all():
                places.append(f"the output of {name}")

        return hook

    for name, inner in module.named_modules():
        inner.register_forward_hook(look(name or "the encoder"))
    return places


def _tensors(batch: Batch) -> dict:
    texts = {key: (getattr(batch, key).ids, getattr(batch, key).lengths) for key in ("queries", "passages")}
    return texts | {key: getattr(batch, key) for key in ("query_groups", "passage_groups", "negative_owner")}


def main() -> None:
    """Run as a command: status 1 if the batch is not finite here either."""
    if len(sys.argv) != 2 or not Path(sys.argv[1], "rows.json").exists():
        log("error: give the folder not_finite of a run that stopped for it")
        sys.exit(2)
    with bad_input_told():
        loss, places = replay(Path(sys.argv[1]))
        log(f"loss {loss}")
        log("\n".join(places[:10]) or "all outputs and gradients are finite here")
        sys.exit(bool(places))


if __name__ == "__main__":
    main()
