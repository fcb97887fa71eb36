"""The configuration: every field is a flag with its meaning; whatever is wrong is told in a sentence with its key."""

import re
from pathlib import Path

import pytest
import yaml

from hybrid.config import QUICKSTART, make_parser, read_config
from hybrid.runtime.errors import InputError
from hybrid.runtime.yaml_files import read_yaml

RECIPES = sorted(QUICKSTART.parent.glob("*.yaml"))


def test_without_flags_the_quickstart_is_read():
    assert read_config([]).training.name == yaml.safe_load(QUICKSTART.read_text())["training"]["name"]


def test_flags_override_the_recipe_and_the_resolved_text_reads_back_the_same(tmp_path):
    config = read_config(["--training.steps", "77", "--mixture.monolingual", "1/3"])
    assert (config.training.steps, config.mixture.monolingual) == (77, "1/3")
    again = tmp_path / "config.yaml"
    again.write_text(config.text)
    assert read_config(["--config", str(again)]).text == config.text


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_and_its_tiny_variant_are_valid(recipe, monkeypatch):
    monkeypatch.setenv("HYBRID_DATA", "anywhere")
    base = [] if recipe.stem == "tiny" else ["--config", str(recipe)]
    assert read_config([*base, "--config", str(QUICKSTART.parent / "tiny.yaml")]).training.steps == 6


def test_every_flag_says_what_it_means():
    text = make_parser().format_help()
    options = re.split(r"\n  (?=--)", text)[1:]
    own = [option for option in options if re.match(r"--\w+\.\w", option) and ".help" not in option.split()[0]]
    assert len(own) > 60
    bare = [o.split()[0] for o in own if not re.sub(r"\(type:.*|\(required.*", "", " ".join(o.split()[2:]), flags=re.S)]
    assert not [name for name in bare if not name.endswith(("{true,false}", "CONFIG"))]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--training.stepz", "5"], "training.stepz is not known, did you mean 'training.steps'"),
        (["--training.steps", "five"], "training.steps is 'five'; expected int"),
        (["--training.steps", "-3"], "training.steps is -3; give a positive number"),
        (["--model.pooling", "max"], "model.pooling is 'max'; expected one of 'mean', 'cls' or null"),
        (["--mixture.monolingual", "0.5", "--mixture.cross_lingual", "0.2"], "sum to 0.7"),
        (["--resume", "--overwrite"], "--resume and --overwrite are both given"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--training.seed", "-1"], "training.seed is -1; give a whole number of at least 0 and below 2**32"),
        (["--tracking.retry_seconds", "0"], "tracking.retry_seconds is 0.0; give a positive number"),
        (["--model.revision", "main"], "model.revision is set, but model.from_scratch takes no saved weights"),
        (["--data.dev.articles", "-1"], "data.dev.articles is -1.0; give a part below 1 or a whole number"),
        (["--data.dev.max_items", "5"], "data.dev takes either articles or sets"),
        (["--model.lora.rank", "-1"], "model.lora: rank is -1 and alpha 32.0; give positive numbers"),
        (["--data.codeswitch.probability", "3"], "data.codeswitch takes either dictionaries or aligned text"),
        (["--training.patience", "2"], "training.keep_best"),
        (["--training.keep_best", "dev/multilingual/map"], "there is no development split"),
        (["--training.evaluate_every", "9"], "training.evaluate_every is set, but there is no development split"),
        (["--training.warmup_steps", "900"], "training.warmup_steps is 900"),
        (["--data.sets", "{own: {files: {no: a, en: b}}}"], "data.sets.own.files has the language False; write it in"),
        (["--mixture.sets", '{"bitext": ["sampel"]}'], "mixture.sets.bitext names 'sampel', but the data has sample"),
        (["--mixture.dataset_weights", '{"sampel": 1}'], "mixture.dataset_weights names 'sampel'"),
        (["--mixture.lanes", "7"], "mixture.lanes is 7, which does not divide training.global_batch 64"),
        (
            ["--data.codeswitch", '{"sentences": true, "sets": ["sampel"]}'],
            "data.codeswitch.sets names 'sampel', did you mean 'sample'",
        ),
        (
            ["--data.sets.sample.passages_alone", "true", "--data.dev.articles", "1"],
            "data.dev.articles is set, but no data set has questions",
        ),
        (["--model.name", "x"], "model.name and model.from_scratch are both set"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence_that_names_the_key(arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        read_config(arguments)
    assert "\n" not in str(error.value)


def test_norwegian_in_quotes_merged_keys_and_switches_are_read_as_before(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "a: &a {steps: 1, seed: 2}\nb: {<<: *a, steps: 3}\nc: {<<: *a}\nlanguages: ['no', en]\nbefore: no\n"
    )
    assert read_yaml(file) == yaml.safe_load(file.read_text())
    for path in [*RECIPES, *QUICKSTART.parents[1].glob("studies/**/*.yaml")]:
        assert read_yaml(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training:\n  stepz: 3\n", "training.stepz is not known, did you mean 'training.steps'"),
        ("trainings:\n  steps: 3\n", "trainings.steps is not known, did you mean 'training.steps'"),
        ("training: [3\n", "is no valid YAML"),
        ("", "holds no sections"),
        ("training:\n  steps: 3\nmodel: {}\ntraining:\n  seed: 1\n", "'training' comes twice"),
        ("data:\n  sets:\n    own:\n      files: {en: a, no: b}\n", "a key is no, which YAML reads as true or false"),
        ("mixture:\n  languages: [en, no]\n", "write 'no' in quotes"),
    ],
)
def test_a_broken_recipe_is_refused_before_anything_is_read(text, sentence, tmp_path: Path):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_config(["--config", str(QUICKSTART), "--config", str(file)])
