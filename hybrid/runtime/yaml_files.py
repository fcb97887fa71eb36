"""YAML as it was meant: a key that comes twice and an unquoted `no` for Norwegian are refused, not lost."""

from pathlib import Path
from typing import Any

import yaml

from hybrid.runtime.errors import InputError

TRUTH = "tag:yaml.org,2002:bool"


def read_yaml(path: str | Path) -> Any:
    """Read one YAML document; raises InputError, with file and line, for what is no YAML or reads as something else."""
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no valid YAML ({' '.join(str(error).split())}); mend it.") from error


class _Loader(yaml.SafeLoader):
    """The safe loader; it looks at mappings before merge keys (<<) are filled in, which may well repeat a key."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            _refuse_truth(key, "a key")
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} comes twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return node

    def compose_sequence_node(self, anchor):
        node = super().compose_sequence_node(anchor)
        for each in node.value:
            _refuse_truth(each, "an entry of a list")
        return node


def _refuse_truth(node: yaml.Node, what: str) -> None:
    """YAML 1.1 reads no, yes, on and off as false and true, which are never keys or list entries here."""
    if node.tag == TRUTH:
        problem = f"{what} is {node.value}, which YAML reads as true or false: write '{node.value}' in quotes"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
