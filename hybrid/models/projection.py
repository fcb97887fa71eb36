"""The map of a pooled vector to another: sentence-transformers' Dense module, read and written in its form."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from hybrid.runtime.errors import InputError, first_line
from hybrid.runtime.files import read_json, write_json

_ACTIVATIONS = {kind.__name__: kind for kind in (nn.Identity, nn.Tanh)}


class Projection(nn.Linear):
    """A linear map with or without a bias (LaBSE and distiluse have one), and what is applied to its result.

    Args:
        activation: "Identity" or "Tanh".
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = False, activation: str = "Identity"):
        super().__init__(in_features, out_features, bias)
        self.activation = _ACTIVATIONS[activation]()

    @property
    def activation_name(self) -> str:
        """Name of the activation."""
        return type(self.activation).__name__

    def forward(self, vectors_ND: Tensor) -> Tensor:
        """Map [N, in_features] to [N, out_features]."""
        return self.activation(super().forward(vectors_ND))


def load_projection(folder: Path) -> Projection:
    """Read a Dense module's directory; raises InputError where it is of another kind or its weights do not fit."""
    from safetensors.torch import load_file

    file = folder / "config.json"
    saved = read_json(file)
    if missing := [key for key in ("in_features", "out_features") if key not in saved]:
        raise InputError(f"{file}: has no {missing[0]}; expected the configuration of a Dense module.")
    # What a file leaves out is what sentence-transformers takes then.
    projection = Projection(
        saved["in_features"], saved["out_features"], bool(saved.get("bias", True)), _activation(saved, file)
    )
    _check_place(saved, file)
    try:
        weights = load_file(folder / "model.safetensors")
        projection.load_state_dict({name.removeprefix("linear."): weight for name, weight in weights.items()})
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{folder}: its weights cannot be loaded ({first_line(error)}); expected model.safetensors with "
            "linear.weight (and linear.bias) as config.json says. Older files: save the model again with "
            "sentence-transformers."
        ) from error
    return projection


def save_projection(projection: Projection, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write a Dense module's directory.

    Args:
        state: ``weight`` and, where there is one, ``bias``; under ZeRO-3 they do not lie in the module.
    """
    from safetensors.torch import save_file

    folder.mkdir()
    save_file({f"linear.{name}": value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    activation = type(projection.activation)
    settings = {
        "in_features": projection.in_features,
        "out_features": projection.out_features,
        "bias": projection.bias is not None,
        "activation_function": f"{activation.__module__}.{activation.__qualname__}",
    }
    write_json(folder / "config.json", settings)


def _activation(saved: Mapping, file: Path) -> str:
    found = saved.get("activation_function", "torch.nn.modules.activation.Tanh")
    package, _, name = str(found).rpartition(".")
    if name not in _ACTIVATIONS or package.split(".")[0] != "torch":
        raise InputError(f"{file}: its activation is {found}; expected torch's {' or '.join(_ACTIVATIONS)}.")
    return name


def _check_place(saved: Mapping, file: Path) -> None:
    """Refuse what newer versions of the module can do besides: residual connections, and other inputs and outputs."""
    if saved.get("use_residual"):
        raise InputError(f"{file}: has a residual connection (use_residual); expected a projection without.")
    for key in ("module_input_name", "module_output_name"):
        if saved.get(key) not in (None, "sentence_embedding"):
            raise InputError(f"{file}: {key} is {saved[key]}; expected a projection of the sentence embedding.")
