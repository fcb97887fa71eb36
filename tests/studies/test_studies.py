"""Study files: every arm of every scale is a recipe that train.py takes; what is unknown is refused with its place."""

from pathlib import Path

import pytest

from hybrid.evaluation.task import find_task
from hybrid.runtime.errors import InputError
from hybrid.studies.__main__ import main
from hybrid.studies.jobs import Choice, check_same, resolve, with_tags
from hybrid.studies.study import names, read_study
from tests.studies.conftest import STUDY


@pytest.mark.parametrize("name", names())
def test_every_arm_of_every_scale_is_a_valid_recipe_scored_on_known_tasks(name):
    study = read_study(name)
    assert {"tiny", "small", "full"} <= study.scales.keys()
    for scale, settings in study.scales.items():
        model = "some/model" if scale.startswith("small") else None
        jobs = resolve(study, Choice(scale, Path("runs/any"), 1, model=model))
        assert {job.arm for job in jobs} == study.arms_at(scale).keys()
        assert len({job.folder for job in jobs}) == len(jobs)
        assert all(job.tasks == settings.tasks for job in jobs)
        known = {find_task(task).name for task in settings.tasks} | {"dev"}
        asked = {comparison.task.removesuffix("-lir") for comparison in study.comparisons_at(scale)}
        assert asked <= known, scale


@pytest.mark.parametrize("name", names())
def test_beside_every_figure_on_xquad_stands_that_its_articles_were_trained_on(name):
    scale = read_study(name).scales["small"]
    made = [find_task(task).name for task in scale.tasks if task in ("xquad-r", "mlqa")]
    assert made
    assert all("of its own 240" in scale.beside_of(task) for task in made)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("scale", ["small", "full"])
def test_every_question_that_is_scored_is_held_against_the_training_data(name, scale):
    study = read_study(name)
    job = resolve(study, Choice(scale, Path("runs/any"), 1, (next(iter(study.arms_at(scale))),), model="some/model"))[0]
    asked = {task.removesuffix("-closed") for task in job.tasks}
    assert asked & {"xquad-r", "mlqa-r", "mkqa"} <= job.config.data.leakage.against.keys()


def test_the_six_questions_have_a_study():
    assert set(names()) >= {"batching", "code-switching", "encoders", "languages", "scale", "self-supervised"}


def test_seeds_and_names_go_into_the_runs_and_nothing_else_differs_between_seeds(written):
    jobs = resolve(written(), Choice("tiny", Path("runs/any"), 2))
    assert [job.name for job in jobs] == ["first-s0", "second-s0", "first-s1", "second-s1"]
    assert [job.config.training.seed for job in jobs] == [0, 0, 1, 1]
    one, other = (job.config.text for job in (jobs[0], jobs[2]))
    changed = [(a, b) for a, b in zip(one.splitlines(), other.splitlines(), strict=True) if a != b]
    assert changed == [("  name: first-s0", "  name: first-s1"), ("  seed: 0", "  seed: 1")]


def test_an_encoder_that_is_scored_as_it_is_has_one_run(written):
    arm = {"zero_shot": True, "recipe": {"model": {"name": "x", "from_scratch": None}}}
    jobs = resolve(written("arms", "first", to=arm), Choice("tiny", Path("runs/any"), 3))
    assert [job.name for job in jobs].count("first-s0") == 1
    assert len(jobs) == 4


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (["arms", "first", "recipe", "training", "stepz"], 5, r"mine.yaml: arms.first: training.stepz is not known"),
        (["arms", "first", "recipe", "mixture"], {"monolingual": 2}, r"mine.yaml: arms.first: mixture: the shares"),
        (["scales", "tiny", "recipe"], {"data": {"sett": 1}}, r"mine.yaml: scales.tiny.recipe: data.sett is not"),
        (["arms", "first", "recipee"], {}, r"mine.yaml: arms.first.recipee is not known, did you mean 'recipe'"),
        (["scales", "tiny", "task"], [], r"mine.yaml: scales.tiny.task is not known, did you mean 'tasks'"),
        (["arms", "first", "zero_shot"], "perhaps", r"mine.yaml: arms is 'perhaps'; expected bool"),
        (
            ["comparisons"],
            [STUDY["comparisons"][0] | {"of": ["frist"]}],
            r"names the arm 'frist', did you mean 'first'",
        ),
        (
            ["scales", "tiny", "beside"],
            {"xquad": "it was trained on"},
            r"beside names the task 'xquad', which is not there; there are none",
        ),
        (["arms"], ["first", "second"], r"mine.yaml: arms is \['first', 'second'\]; expected a name for each"),
        (["arms", "a/b"], {}, r"mine.yaml: arms has the name 'a/b'; expected letters"),
        (["question"], None, r"mine.yaml: .*question"),
    ],
)
def test_what_a_study_cannot_be_is_refused_with_file_arm_and_key(written, keys, value, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve(written(*keys, to=value), Choice("tiny", Path("runs/any"), 1))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("task", "xquad", r"mine.yaml: comparisons\[0\] of scale tiny names the task 'xquad', did you mean 'xquad-r'"),
        ("setting", "multilingal", r"names the setting 'multilingal', did you mean 'multilingual'"),
        ("measure", "mapp", r"names the measure 'mapp', did you mean 'map'"),
    ],
)
def test_a_figure_that_no_run_will_have_is_refused_before_any_runs(written, key, value, sentence):
    asked = STUDY["comparisons"][0] | {"task": "xquad-r-lir", "setting": "multilingual"}
    scale = STUDY["scales"]["tiny"] | {"tasks": ["xquad-r"]}
    written("scales", "tiny", to=scale | {"comparisons": [asked]})
    with pytest.raises(InputError, match=sentence):
        written("scales", "tiny", to=scale | {"comparisons": [asked | {key: value}]})


def test_an_arm_without_an_encoder_asks_for_one(written):
    study = written("scales", "tiny", "recipe", to={"model": {"from_scratch": None}})
    with pytest.raises(InputError, match=r"arms.first starts from a pretrained encoder at scale tiny; give .* --model"):
        resolve(study, Choice("tiny", Path("runs/any"), 1))
    assert resolve(study, Choice("tiny", Path("runs/any"), 1, model="x"))[0].config.model.name == "x"


def test_a_run_of_another_recipe_is_refused_and_one_of_the_same_is_taken_whoever_made_it(written, tmp_path):
    choice = Choice("tiny", tmp_path / "runs", 1)
    job = resolve(written(), choice)[0]
    job.folder.mkdir(parents=True)
    own = with_tags(job, {"study": "other"}).config.text
    elsewhere = own.replace("name: first-s0", "name: by-hand").replace("log_every: 50", "log_every: 7")
    assert own != elsewhere
    (job.folder / "config.yaml").write_text(elsewhere)
    check_same(job)
    (job.folder / "config.yaml").write_text(elsewhere.replace("global_batch: 64", "global_batch: 32"))
    with pytest.raises(InputError, match=r"training.global_batch 32, but the study says 64"):
        check_same(job)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "bachting"], "study 'bachting' is not known, did you mean 'batching'"),
        (["run", "batching", "--scale", "smal"], "has no scale 'smal', did you mean 'small'"),
        (["run", "batching", "--arms", "x-z"], "--arms: 'x-z' is no arm of batching"),
        (["run", "batching", "--scale", "tiny", "--accelerate", "gpu_8"], "did you mean 'gpus_8'"),
        (["run", "batching", "--seeds", "0"], "--seeds is 0"),
        (["report", "batching", "--scale", "tiny", "--runs_dir", "nowhere"], "has no finished run in nowhere"),
    ],
)
def test_commands_that_cannot_be_end_in_a_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().out


def test_the_list_names_every_study_with_its_question(capsys):
    main(["list"])
    printed = capsys.readouterr().out
    assert all(f"{name}: {read_study(name).question}" in printed for name in names())
