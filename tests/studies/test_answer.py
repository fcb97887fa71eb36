"""The answer says what the comparison shows: better, worse, or nothing where the spread allows nothing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hybrid.evaluation.runs import Recipe
from hybrid.evaluation.statistics import values
from hybrid.studies.answer import answer, seed_differences
from hybrid.studies.data import means_table
from hybrid.studies.languages import consistency, consistency_table, seen_table
from hybrid.studies.report import limits
from hybrid.studies.study import Arm, Comparison
from tests.studies.conftest import QUESTIONS, write_result

ASKED = Comparison("toy", "monolingual", "map", of=["new", "newer"], against=["old"])


def ranks(*pattern: int) -> np.ndarray:
    return np.resize(pattern, (QUESTIONS, 2))


GOOD, BAD = ranks(1, 1, 1, 2), ranks(3, 2, 4, 5)
MIXED, ALSO = ranks(1, 3, 2, 1, 4, 1), ranks(3, 1, 1, 2, 1, 4)


@pytest.mark.parametrize(
    ("new", "old", "verdict", "words"),
    [
        ([GOOD, GOOD], [BAD, BAD], "Yes.", "so better"),
        ([BAD, BAD], [GOOD, GOOD], "No.", "so worse"),
        ([MIXED], [ALSO], "The spread allows no answer.", "against old the spread allows no answer"),
        ([GOOD, BAD], [BAD, ranks(2, 2, 2, 3)], "The spread allows no answer.", "the sign changes between seeds"),
    ],
)
def test_a_difference_counts_where_interval_test_and_seeds_agree(arm, new, old, verdict, words):
    found = answer(ASKED, {"new": arm("new", *new), "old": arm("old", *old)})
    assert found.verdict == verdict
    assert words in found.sentence()
    assert f"{len(new)} seeds" in found.sentence() or "one run" in found.sentence()
    assert "without newer" in found.sentence()


def test_the_best_of_several_arms_is_held_against_the_others_and_each_is_named(arm):
    recipes = {"new": arm("new", MIXED), "newer": arm("newer", GOOD), "old": arm("old", BAD)}
    found = answer(ASKED, recipes)
    assert found.best.recipe == "newer"
    assert "newer is the best of new, newer" in found.sentence()
    assert found.others[0].row.difference == pytest.approx(found.others[0].row.mean - found.best.mean)


def test_the_answer_is_no_yes_while_an_arm_to_be_beaten_has_not_run(arm):
    recipes = {"new": arm("new", GOOD), "old": arm("old", BAD)}
    asked = Comparison("toy", "monolingual", "map", of=["new"], against=["old", "older"])
    assert answer(asked, recipes).verdict == "In part."
    assert answer(asked, recipes | {"older": arm("older", BAD)}).verdict == "Yes."
    assert answer(ASKED, recipes).verdict == "Yes.", "newer is asked about, not to be beaten"


def test_seeds_are_compared_by_their_number(arm):
    recipes = {"new": with_seeds(arm("new", BAD, MIXED, GOOD), 0, 1, 2), "old": with_seeds(arm("old", BAD, GOOD), 0, 2)}
    assert seed_differences(ASKED, recipes["new"], recipes["old"]) == (0, 0)
    alone = with_seeds(arm("alone", BAD), 1)
    assert (
        len(seed_differences(ASKED, recipes["new"], alone)) == len(seed_differences(ASKED, alone, recipes["new"])) == 3
    )
    apart = with_seeds(arm("apart", BAD, BAD), 3, 4)
    assert answer(ASKED, recipes | {"old": apart}).verdict == "The spread allows no answer."


def with_seeds(recipe: Recipe, *numbers: int) -> Recipe:
    seeds = zip(recipe.seeds, numbers, strict=True)
    return replace(recipe, seeds=tuple(replace(seed, config={"training.seed": number}) for seed, number in seeds))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ({"a": 3, "base": 1}, "Runs an arm: 3. "),
        ({"a": 3, "b": 1, "base": 1}, "Runs an arm: 1 to 3; with one seed nothing is known"),
        ({"base": 1}, "Runs an arm: none is trained."),
    ],
)
def test_of_how_training_scatters_only_arms_that_are_trained_tell(seeds, words):
    arms = {"a": Arm(), "b": Arm(), "base": Arm(zero_shot=True)}
    study = SimpleNamespace(arms_at=lambda scale: arms)
    recipes = {name: SimpleNamespace(name=name, seeds=range(count)) for name, count in seeds.items()}
    asked = [Comparison("toy", "monolingual", "map", of=["a", "b"], against=["base"])]
    found = SimpleNamespace(
        study=study, choice=SimpleNamespace(scale="tiny"), recipes=recipes, left=[], comparisons=asked
    )
    assert limits(found).startswith(words)


def test_of_a_distance_the_lower_one_is_better(arm):
    asked = Comparison("toy", "monolingual", "map", of=["new"], against=["old"], lower_is_better=True)
    found = answer(asked, {"new": arm("new", BAD), "old": arm("old", GOOD)})
    assert (found.verdict, "below old" in found.sentence()) == ("Yes.", True)


@pytest.mark.parametrize("asked", [ASKED, Comparison("toy", "monolingual", "f1", ["new"], ["old"])])
def test_without_the_runs_or_the_figure_there_is_no_answer(arm, asked):
    recipes = {"new": arm("new", GOOD)} if asked is ASKED else {"new": arm("new", GOOD), "old": arm("old", BAD)}
    assert answer(asked, recipes).verdict == "None yet."
    assert "no answer yet" in answer(asked, recipes).sentence()


def test_consistency_is_the_overlap_of_right_answers_over_pairs_of_languages(arm):
    both, first, none = [1, 1], [1, 9], [9, 9]
    recipe = arm("new", np.array([both] * 30 + [first] * 10 + [none] * 20))
    asked = Comparison("toy", "monolingual", "precision_at_1", ["new"], [])
    assert consistency(recipe, asked) == pytest.approx(30 / 40)
    line = consistency_table(asked, [recipe]).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["new", "0.5833", "0.5000", "0.6667", "0.0833", "0.7500"]


def test_a_question_that_a_language_lacks_is_not_answered_wrong_there():
    """English has four questions, German two of them, French two others; all are right."""
    question, cell = np.array([0, 1, 2, 3, 0, 1, 2, 3]), np.array(["en>en"] * 4 + ["de>de"] * 2 + ["fr>fr"] * 2)
    for wrong, expected in ((None, 1.0), (4, 0.75), (2, 0.75)):
        right = np.ones(8)
        right[[] if wrong is None else wrong] = 0.0
        recipe = SimpleNamespace(values=lambda *_, right=right: (None, [values(question, cell, right)]))
        assert consistency(recipe, ASKED) == expected


def test_seen_and_unseen_query_languages_are_told_apart(arm):
    recipe = arm("new", np.array([[1, 2]] * QUESTIONS))
    asked = Comparison("toy", "monolingual", "map", ["new"], [])
    cells = [
        cell.strip() for cell in seen_table(asked, [recipe], [{"de", "fr"}]).splitlines()[-1].strip("|").split("|")
    ]
    assert cells == ["new", "de", "1.0000 (1.0000 to 1.0000)", "0.5000 (0.5000 to 0.5000)"]


def test_a_run_that_was_scored_again_counts_once_in_the_means_with_its_later_scores(tmp_path):
    jobs = {"new": [SimpleNamespace(arm="new", folder=tmp_path / f"s{seed}") for seed in (0, 1)]}
    for seed, job in enumerate(jobs["new"]):
        for stage, figure in (("after", 0.25), ("model-1", 0.75))[: 2 - seed]:
            folder = job.folder / "results" / stage / "toy"
            write_result(folder, GOOD)
            text = (folder / "scores.json").read_text()
            (folder / "scores.json").write_text(text.replace("0.25", str(figure)))
    assert "| 0.5000 |" in means_table(jobs, ["accuracy_some"]).splitlines()[-1]


def test_measures_without_values_for_each_query_are_shown_as_the_mean_over_seeds(tmp_path):
    jobs = {"new": [SimpleNamespace(arm="new", folder=tmp_path / f"s{seed}") for seed in (0, 1)]}
    for seed, job in enumerate(jobs["new"]):
        for stage in ("before", "after"):
            folder = job.folder / "results" / stage / "toy"
            write_result(folder, GOOD)
            text = (folder / "scores.json").read_text()
            (folder / "scores.json").write_text(text.replace("0.25", str(0.25 + 0.5 * seed if stage == "after" else 9)))
    line = means_table(jobs, ["accuracy_some"]).splitlines()[-1]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["toy/monolingual accuracy_some new", "0.5000", "3"]
    assert means_table(jobs, ["other"]) is None
