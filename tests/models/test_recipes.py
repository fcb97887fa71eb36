"""The recipes for large encoders: their tiny variants train, and say of what they are the tiny variant."""

import json
from pathlib import Path

import pytest
import yaml

from hybrid.training.plan_encoder import TABLE
from tests.launch import launch

RECIPES = ["xlmr_base", "xlmr_large", "mt5_base", "mt5_large", "mt5_xl"]
FOLDER = Path(__file__).parents[2] / "hybrid" / "recipes"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """The folder in which the tiny variant of every recipe was trained in one process, and what was printed."""
    folder = tmp_path_factory.mktemp("recipes")
    return folder, launch(Path(__file__).parent / "run_recipes.py", str(folder), *RECIPES, processes=1)


@pytest.mark.parametrize("name", RECIPES)
def test_the_tiny_variant_trains_and_saves_an_encoder_of_its_architecture(name, trained):
    folder, printed = trained
    assert f"done {name} on 1" in printed
    saved = json.loads((folder / name.replace("_", "-") / "model" / "config.json").read_text())
    assert saved["model_type"] == ("mt5" if name.startswith("mt5") else "xlm-roberta")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_planned_offline_and_takes_no_fp16(name):
    recipe = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert recipe["model"]["name"] in yaml.safe_load(TABLE.read_text())
    assert recipe["training"]["precision"] == "bf16"


def test_recipes_differ_in_the_encoder_and_what_it_needs_alone():
    read = [yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in RECIPES]
    for room in ("data", "mixture", "objective", "benchmark"):
        assert all(recipe[room] == read[0][room] for recipe in read)
    assert len({recipe["model"].pop("name") for recipe in read}) == len(RECIPES)
    assert all(recipe["model"] == read[0]["model"] for recipe in read)
