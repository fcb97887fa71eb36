"""The four kinds and code-switching together: what fits no kind is refused, and the whole job keeps its shares."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from hybrid import kinds
from hybrid.config import read_config
from hybrid.kinds import check_dropout, check_same_rows
from hybrid.runtime.errors import InputError
from hybrid.sampling import HybridBatchSampler, Mixture, MixtureConfig
from tests.data.toy import ARTICLES, TRANSLATED, make_corpus, write
from tests.test_job import run
from tests.training.toy import toy_encoder

RECIPE = ["--config", "hybrid/recipes/quickstart.yaml", "--config", "hybrid/recipes/tiny.yaml"]
QUESTIONS = {"files": "hybrid/sample/train.{language}.json"}
SHARES = {"monolingual": "0.25", "cross_lingual": "0.25", "self_supervised": "1/3", "bitext": "1/6"}


def config(*flags: str):
    return read_config([*RECIPE, *flags])


def sets(**more: dict) -> list[str]:
    return ["--data.sets", json.dumps({"sample": QUESTIONS} | more)]


PLAIN = {"format": "lines", "files": {"en": "x.en"}}
BITEXT = {"format": "bitext", "files": {"en": "x.en", "de": "x.de"}}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (sets(plain=PLAIN), "data.sets.plain is unlabelled text, but monolingual and cross_lingual draw"),
        ([*sets(pairs=BITEXT)], "data.sets.pairs is bitext, but monolingual and cross_lingual draw"),
        (
            [*sets(pairs=BITEXT), "--mixture.sets", '{"monolingual": ["pairs"]}'],
            "data.sets.pairs is bitext, but monolingual draws",
        ),
        (
            [*sets(), "--mixture.sets", '{"self_supervised": ["sample"]}'],
            "names 'sample', whose rows are two texts",
        ),
        (
            [
                *sets(plain=PLAIN),
                *("--mixture.sets", '{"self_supervised": ["plain"]}', "--mixture.self_supervised", "0.2"),
                *("--model.dropout", "0"),
            ],
            "model.dropout is 0",
        ),
        (
            ["--objective.kind_temperatures", '{"monolingual": 0.1}', "--mixture.form", "mixed"],
            "puts rows of several kinds into a batch",
        ),
    ],
)
def test_kinds_that_do_not_fit_their_data_or_settings_are_refused(flags, told):
    with pytest.raises(InputError, match=told):
        config(*flags)


def test_a_temperature_of_a_kind_without_a_share_is_told_to_have_no_effect(capsys):
    config("--objective.kind_temperatures", '{"bitext": 0.1}')
    assert "kind_temperatures.bitext has no effect" in capsys.readouterr().err


def test_an_encoder_without_dropout_cannot_train_on_one_text_twice():
    mixture = MixtureConfig(self_supervised=0.2)
    check_dropout(toy_encoder(dropout=0.1), mixture)
    check_dropout(toy_encoder(dropout=0.0), MixtureConfig())
    with pytest.raises(InputError, match=r"set model.dropout to 0\.1"):
        check_dropout(toy_encoder(dropout=0.0), mixture)


def test_ranks_that_would_draw_other_rows_are_refused(monkeypatch):
    own = {"seed": 0, "the digest of data set 'squad'": "156b"}
    monkeypatch.setattr(kinds, "gather_objects", lambda value: [value, dict(value)])
    check_same_rows(own)
    monkeypatch.setattr(
        kinds, "gather_objects", lambda value: [value, value | {"the digest of data set 'squad'": "efb7"}]
    )
    with pytest.raises(InputError, match="rank 1: the digest of data set 'squad' is efb7 there and 156b on rank 0"):
        check_same_rows(own)


def test_rows_tell_the_pass_of_their_stream_in_which_no_item_comes_twice(tmp_path):
    corpora = [make_corpus(tmp_path, {"en": ARTICLES, "de": TRANSLATED})]
    sampler = HybridBatchSampler(Mixture(MixtureConfig(form="mixed", unit="global"), corpora), 6, 0, steps=40)
    seen, last = set(), {}
    for rows in sampler:
        columns = rows.streams, rows.rows[:, 1], rows.passes
        for stream, item, turn in zip(*(column.tolist() for column in columns), strict=True):
            assert (stream, item, turn) not in seen
            seen.add((stream, item, turn))
            last[stream] = max(last.get(stream, 0), turn)
    assert min(last.values()) > 5


def test_all_four_kinds_with_code_switching_train_on_two_ranks_in_their_shares(tmp_path):
    english, german = ([f"{word} {n} {end}." for n in range(40)] for word, end in (("Line", "here"), ("Zeile", "hier")))
    files = {"en": write(tmp_path / "t.en", "\n".join(english)), "de": write(tmp_path / "t.de", "\n".join(german))}
    pairs = {"format": "bitext", "files": files, "max_length": 20}
    plain = {**QUESTIONS, "passages_alone": True, "max_length": 16}
    words = write(tmp_path / "en-de.tsv", "the\tdas\nriver\tFluss\nwhich\twelcher\nis\tist\nin\tim\nlake\tSee\n")
    output = run(
        tmp_path,
        *sets(plain=plain, pairs=pairs),
        *("--mixture.sets", '{"self_supervised": ["plain"], "bitext": ["pairs"]}'),
        *(flag for kind, share in SHARES.items() for flag in (f"--mixture.{kind}", share)),
        *("--objective.kind_temperatures", '{"self_supervised": 0.05}', "--objective.variance_penalty", "0.1"),
        *("--data.codeswitch.dictionaries", json.dumps({"en-de": words}), "--model.dropout", "0.1"),
        *("--training.steps", "24", "--training.name", "kinds"),
        processes=2,
    )
    assert "words that have a translation: en > de" in output
    folder = Path(tmp_path) / "runs" / "kinds"
    rows = json.loads((folder / "rows.json").read_text())
    by_kind = {kind: sum(count for name, count in rows.items() if name.startswith(f"{kind}/")) for kind in SHARES}
    assert by_kind == {kind: float(Fraction(share)) * 24 * 16 for kind, share in SHARES.items()}
    assert {name.split("/")[1] for name in rows if name.startswith("bitext/")} == {"pairs"}
    assert {name.split("/")[1] for name in rows if name.startswith("self_supervised/")} == {"plain"}
