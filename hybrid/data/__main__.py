"""What the data of a recipe holds: ``python -m hybrid.data DESCRIPTION [--tokenizer DIR] [--data.KEY VALUE ...]``.

DESCRIPTION is a recipe, or a YAML file of its data section alone.
"""

import json
import sys
from pathlib import Path

from hybrid.data.config import DataConfig
from hybrid.data.load import load_corpora
from hybrid.data.statistics import describe
from hybrid.data.store import TokenStore, token_store
from hybrid.runtime.errors import InputError, unwrapped
from hybrid.runtime.logs import bad_input_told, log
from hybrid.runtime.yaml_files import read_yaml


def read_arguments(arguments: list[str], command: str = "python -m hybrid.data", about: str | None = __doc__):
    """Return the data configuration, and the tokenizer's directory or hub id if there is one.

    Args:
        command, about: what --help names and says.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(prog=command, description=about, exit_on_error=False)
    parser.add_argument("description", help="A recipe, or a YAML file of its data section alone.")
    parser.add_argument(
        "--tokenizer", type=str | None, help="Directory or hub id; unset takes model.name of the recipe."
    )
    parser.add_class_arguments(DataConfig, "data")
    if {"-h", "--help"} & set(arguments):
        parser.parse_args(["--help"])  # before a description is looked for
    content = _read(next((name for name in arguments if not name.startswith("-")), None))
    try:
        given = parser.parse_args([f"--data={json.dumps(content.get('data', content))}", *arguments])
        with unwrapped():
            values = parser.instantiate(given)
    except ArgumentError as error:
        raise InputError(f"{error}".replace("\n", " ")) from error
    return values.data, values.tokenizer or (content.get("model") or {}).get("name")


def main(arguments: list[str]) -> None:
    """Print what the corpora of a description hold."""
    config, tokenizer = read_arguments(arguments)
    data = load_corpora(config)
    for title, corpora in (("training", data.train), ("development", data.dev)):
        store = _store(corpora, tokenizer, config) if corpora else None
        for number, corpus in enumerate(corpora):
            log(f"\n{title} data, digest {corpus.digest}")
            for line in describe(corpus, config, store, number):
                log(line)
    if not tokenizer:
        log("\nLengths are in characters, as there is no model.name; give --tokenizer DIR for tokens.")


def _store(corpora, tokenizer: str | None, config: DataConfig) -> TokenStore | None:
    if not tokenizer:
        return None
    from transformers import AutoTokenizer

    return token_store(corpora, AutoTokenizer.from_pretrained(tokenizer), config.cache)


def _read(path: str | None) -> dict:
    if not path or not Path(path).is_file():
        raise InputError(
            f"DESCRIPTION is {path}: there is no such file; give a recipe such as hybrid/recipes/NAME.yaml."
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no settings; expected a recipe, or its data section.")
    return content


if __name__ == "__main__":
    with bad_input_told():
        main(sys.argv[1:])
