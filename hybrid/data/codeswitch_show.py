"""Examples of code-switched texts, with what was replaced in them."""

import sys

import numpy as np

from hybrid.data.__main__ import read_arguments
from hybrid.data.codeswitch import CodeSwitch, switched
from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.load import load_corpora
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import log

DEFAULT = "hybrid/recipes/quickstart.yaml"


def show(arguments: list[str]) -> None:
    """Print `--show N` items of each data set that is switched: a query or a passage before and after."""
    count, rest = _count(arguments)
    if not rest or rest[0].startswith("--"):
        rest = [DEFAULT, *rest]
    config, _ = read_arguments(rest)
    if config.codeswitch is None:
        log("data.codeswitch is not set; showing what data.codeswitch.sentences does, over the items' translations\n")
        config.codeswitch = CodeSwitchConfig(sentences=True)
    corpora = load_corpora(config).train
    switch = CodeSwitch(config, corpora)
    languages = sorted({code for corpus in corpora for code in corpus.languages})
    for number in np.flatnonzero(switch.on).tolist():
        _show(switch, number, corpora[number], languages, count)


def _show(switch: CodeSwitch, number: int, corpus: ParallelCorpus, languages: list[str], count: int) -> None:
    generator = np.random.default_rng(0)
    log(f"{corpus.name}:")
    for turn in range(count):
        item, side = int(generator.integers(len(corpus))), switch.sides[turn % len(switch.sides)]
        own = corpus.block_of(item).languages if side == "query" else corpus.block_of(item).passages
        here = int(generator.choice(own))
        language, place = corpus.languages[here], (np.array([item]), np.array([here]))
        tables = corpus.tables
        if side == "query":
            text = corpus.texts[int(tables.query_text[corpus.query_rows(*place)[0]])]
        else:
            text = corpus.texts[int(tables.candidate_passage[tables.answer[corpus.passage_rows(*place)[0]]])]
        row = np.array([[number, item, languages.index(language), languages.index(language)]])
        draw = int(switch.row_keys(row, np.zeros(1, np.int64))[0])
        replaced = switch.replacements(number, item, side, language, text, draw)
        log(f"\n  {corpus.item_name(item)}, {side}, {language}")
        log(f"    before:   {text}\n    after:    {switched(text, replaced)}")
        log(f"    replaced: {'; '.join(f'{text[a:b]} > {new}' for a, b, new in replaced) or 'nothing'}")


def _count(arguments: list[str]) -> tuple[int, list[str]]:
    """Return the number after --show (20 unless told), and the other arguments."""
    if "--show" not in arguments:
        return 20, arguments
    place = arguments.index("--show")
    number = arguments[place + 1] if place + 1 < len(arguments) else "nothing"
    if not number.isdigit():
        raise InputError(f"--show is {number}; give a number of examples such as 20.")
    return int(number), [*arguments[:place], *arguments[place + 2 :]]


def run() -> None:
    """Run as a command."""
    try:
        show(sys.argv[1:])
    except InputError as error:
        log(f"error: {error}")
        sys.exit(2)
