"""Whether the kinds of a mixture fit the data sets, the loss and the encoder, and ranks fit: checks across rooms."""

from hybrid.data.codeswitch_config import check_sets
from hybrid.data.config import DataConfig
from hybrid.models.config import ModelConfig
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import warn
from hybrid.runtime.processes import gather_objects
from hybrid.sampling.config import MixtureConfig, check_known
from hybrid.training.config import ObjectiveConfig

SELF = "self_supervised"


def check_kinds(data: DataConfig, mixture: MixtureConfig, objective: ObjectiveConfig, model: ModelConfig) -> None:
    """Raise InputError where a kind draws from data that is not of its form, or settings contradict each other; and it,
    or MixtureError, where they name a data set that there is not."""
    for kind, names in mixture.sets.items():
        check_known(f"sets.{kind}", names, list(data.sets))
    check_known("dataset_weights", mixture.dataset_weights, list(data.sets))
    if data.codeswitch:
        check_sets(data.codeswitch.sets, data.sets)
    drawn_by = {name: [kind for kind, names in mixture.sets.items() if name in names] for name in data.sets}
    for name, entry in data.sets.items():
        kinds = drawn_by[name]
        if entry.unlabelled and kinds != [SELF]:
            raise InputError(
                f"data.sets.{name} is unlabelled text, but {_drawn(kinds)} from it; name it in mixture.sets."
                f"{SELF} alone."
            )
        if not entry.unlabelled and SELF in kinds:
            raise InputError(
                f"mixture.sets.{SELF} names {name!r}, whose rows are two texts; give data.sets.{name} the format "
                "lines, or passages_alone: true in a data set of its own over the same files."
            )
        if entry.format == "bitext" and (not kinds or "monolingual" in kinds):
            raise InputError(
                f"data.sets.{name} is bitext, but {_drawn(kinds)} from it; name it in mixture.sets.bitext (query and "
                "passage of one language would be one text)."
            )
    shares = mixture.kinds()
    if SELF in shares and model.dropout == 0:
        raise InputError(
            f"mixture.{SELF} has a share, but model.dropout is 0; query and passage are one text under two dropout "
            "masks, so give 0.1, or leave it unset for the backbone's own."
        )
    for kind in objective.kind_temperatures:
        if kind not in shares:
            warn(f"objective.kind_temperatures.{kind} has no effect: mixture.{kind} has no share.")
    if objective.kind_temperatures and len(shares) > 1 and _mixes_kinds(mixture):
        other = ", or mixture.unit to global" if mixture.form == "single" else ""
        raise InputError(
            f"objective.kind_temperatures is set, but mixture.form {mixture.form!r} puts rows of several kinds into a "
            f"batch, which has one temperature; set mixture.form to hybrid{other}."
        )


def check_dropout(encoder, mixture: MixtureConfig) -> None:
    """Raise InputError if the mixture is self-supervised and the encoder that was loaded drops nothing."""
    from torch.nn import Dropout

    drops = any(isinstance(module, Dropout) and module.p > 0 for module in encoder.modules())
    if SELF in mixture.kinds() and not drops:
        raise InputError(
            f"mixture.{SELF} has a share, but the encoder has no dropout of its own; query and passage are one text "
            "under two dropout masks, so set model.dropout to 0.1."
        )


def check_same_rows(identity: dict) -> None:
    """Raise InputError where ranks would draw from other data or streams than rank 0. Every rank has to call it."""
    first, *others = gather_objects(identity)
    for number, other in enumerate(others, 1):
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise InputError(
                    f"rank {number}: {name} is {other.get(name)} there and {first.get(name)} on rank 0, so their rows "
                    "would not be of one batch; give every node the same files, recipe and versions."
                )


def _mixes_kinds(mixture: MixtureConfig) -> bool:
    return mixture.form == "mixed" or (mixture.form == "single" and not mixture.of_all_rows and mixture.lanes != 1)


def _drawn(kinds: list[str]) -> str:
    return f"{', '.join(kinds)} draws" if kinds else "monolingual and cross_lingual draw"
