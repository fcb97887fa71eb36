"""Scores are cosines: a model that is published for another similarity is told, once, and no other is."""

import json
import shutil
from dataclasses import replace

import pytest

from hybrid.evaluation.results import check_models
from hybrid.models import ModelConfig, load
from hybrid.models.load import load_encoder
from hybrid.models.save import save_encoder
from hybrid.runtime.errors import InputError
from tests.models.test_encoder import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_encoder(tiny("bert"), folder, card="", max_length=64)
    return folder


def told(saved, folder, normalized: bool, similarity: str | None, capsys) -> list[str]:
    """Return what is told of a model with or without Normalize whose file of use declares this similarity."""
    shutil.copytree(saved, folder)
    if not normalized:
        modules = [module for module in json.loads((folder / "modules.json").read_text()) if module["path"][:1] != "3"]
        (folder / "modules.json").write_text(json.dumps(modules))
    use = folder / "config_sentence_transformers.json"
    if similarity == "no file":
        use.unlink()
    else:
        use.write_text(json.dumps({"similarity_fn_name": similarity}))
    capsys.readouterr()
    # What evaluate.py does: all models are looked at before the first is loaded.
    check_models([str(folder)], ModelConfig())
    load_encoder(ModelConfig(name=str(folder)))
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize(
    ("normalized", "similarity", "found"),
    [
        (False, "dot", "without Normalize and the similarity 'dot' declared"),
        (False, "dot_product", "without Normalize and the similarity 'dot_product' declared"),
        (False, None, "without Normalize and no similarity declared"),
        (False, "no file", "without Normalize and no similarity declared"),
        (False, "euclidean", "without Normalize and the similarity 'euclidean' declared"),
        (True, "manhattan", "with Normalize and the similarity 'manhattan' declared"),
    ],
)
def test_a_model_whose_own_scores_are_no_cosines_is_told_once(saved, normalized, similarity, found, tmp_path, capsys):
    (line,) = told(saved, tmp_path / "model", normalized, similarity, capsys)
    assert found in line
    assert "vectors are made unit length here and scores are cosines, so figures published with" in line


@pytest.mark.parametrize(
    ("normalized", "similarity"), [(True, "cosine"), (True, "dot"), (True, None), (True, "no file"), (False, "cosine")]
)
def test_a_model_whose_own_order_is_the_cosines_is_not_told(saved, normalized, similarity, tmp_path, capsys):
    assert told(saved, tmp_path / "model", normalized, similarity, capsys) == []


def test_what_the_hub_has_of_a_model_is_asked_for_and_read_once(saved, monkeypatch):
    asked, files, read = [], [], load.read_json
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(saved))
    monkeypatch.setattr(load, "read_json", lambda path: files.append(path.name) or read(path))
    for part in ("pretrained", "load_tokenizer"):
        local = getattr(load, part)
        monkeypatch.setattr(load, part, lambda config, local=local: local(replace(config, name=str(saved))))
    assert load_encoder(ModelConfig(name="some/model")).config.pooling == "mean"
    assert asked == ["some/model"]
    assert sorted(files) == ["config.json", "config_sentence_transformers.json", "modules.json"]


def use_of(saved, folder, **use):
    """Copy a saved model, with this in its file of use."""
    shutil.copytree(saved, folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "cosine"} | use))
    return str(folder)


def test_another_pooling_than_the_models_own_is_told(saved, capsys):
    load_encoder(ModelConfig(name=str(saved), pooling="cls"))
    assert f"model.pooling is cls, but {saved} was trained with mean" in capsys.readouterr().err
    load_encoder(ModelConfig(name=str(saved), pooling="mean"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("prompts", "prefix"),
    [
        ({"passage": "p: ", "document": "d: "}, "d: "),
        ({"passage": "p: ", "corpus": "c: "}, "p: "),
        ({"document": "", "corpus": "c: "}, "c: "),
        ({"query": "q: "}, ""),
    ],
)
def test_passages_get_the_prompt_that_sentence_transformers_gives_them(saved, tmp_path, prompts, prefix):
    encoder = load_encoder(ModelConfig(name=use_of(saved, tmp_path / "model", prompts=prompts)))
    assert encoder.prefixes == {"query": prompts.get("query", ""), "passage": prefix}


def test_a_model_whose_vectors_are_cut_is_refused(saved, tmp_path):
    with pytest.raises(InputError, match=r"config_sentence_transformers.json: truncate_dim is 16; only whole vectors"):
        check_models([use_of(saved, tmp_path / "model", truncate_dim=16)], ModelConfig())


def test_a_hub_id_without_modules_is_told_where_the_hub_is_not_asked(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    for offline in (True, False):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        load.with_saved_settings(ModelConfig(name="some/model"))
        assert ("the cache has no modules.json" in capsys.readouterr().err) == offline
