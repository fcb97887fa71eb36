"""Examples of code-switched texts, with what was replaced in them."""

import sys
from argparse import ArgumentParser

import numpy as np

from hybrid.data.__main__ import read_arguments
from hybrid.data.codeswitch import CodeSwitch, switched
from hybrid.data.codeswitch_config import CodeSwitchConfig
from hybrid.data.corpus import ParallelCorpus
from hybrid.data.load import load_corpora
from hybrid.runtime.errors import InputError
from hybrid.runtime.logs import bad_input_told, log

DEFAULT = "hybrid/recipes/quickstart.yaml"


def show(arguments: list[str]) -> None:
    """Print `--show N` items of each data set that is switched: a query or a passage before and after."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--show", type=int, default=20)
    given, rest = parser.parse_known_args(arguments)
    if given.show < 1:
        raise InputError(f"--show is {given.show}; give a number of examples such as 20.")
    if not rest or rest[0].startswith("--"):
        rest = [DEFAULT, *rest]
    config, _ = read_arguments(rest, "python -m hybrid.data.codeswitch [--show N]", __doc__)
    if config.codeswitch is None:
        log("data.codeswitch is not set; showing what data.codeswitch.sentences does, over the items' translations\n")
        config.codeswitch = CodeSwitchConfig(sentences=True)
    corpora = load_corpora(config).train
    switch = CodeSwitch(config, corpora)
    languages = sorted({code for corpus in corpora for code in corpus.languages})
    for number in np.flatnonzero(switch.on).tolist():
        _show(switch, number, corpora[number], languages, given.show)


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


def run() -> None:
    """Run as a command."""
    with bad_input_told():
        show(sys.argv[1:])
