"""Under which settings scores were made, ``evaluation`` in scores.json: what differs between those compared."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid.evaluation.runs import Recipe, flattened
from hybrid.evaluation.table import markdown
from hybrid.runtime.logs import warn

LENGTHS = ("query_max_length", "passage_max_length")
_UNKNOWN = "not recorded"


def differing(task: str, recipes: Sequence[Recipe]) -> dict[str, list[str]]:
    """Return, for each setting in which a task's scores differ, what it is in each recipe; old scores say nothing."""
    found = [[_recorded(seed.tasks[task].scores) for seed in recipe.seeds if task in seed.tasks] for recipe in recipes]
    out = {}
    for key in dict.fromkeys(key for seeds in found for seed in seeds for key in seed):
        values = [dict.fromkeys(seed.get(key, _UNKNOWN) for seed in seeds) for seeds in found]
        if len({value for own in values for value in own} - {_UNKNOWN}) > 1:
            out[key] = [", ".join(own) or "-" for own in values]
    return out


def _recorded(scores: Mapping[str, Any]) -> dict[str, str]:
    settings = scores.get("evaluation")
    return {key: _shown(value) for key, value in flattened(settings).items()} if settings else {}


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def conditions_table(recipes: Sequence[Recipe]) -> str | None:
    """Return the settings of scoring that differ between recipes, each with its tasks; None where none is known to."""
    tasks: dict[tuple[str, ...], list[str]] = {}
    for task in sorted(set.union(*(recipe.tasks for recipe in recipes))):
        for key, values in differing(task, recipes).items():
            tasks.setdefault((key, *values), []).append(task)
    lines = [[f"{key} ({', '.join(names)})", *values] for (key, *values), names in tasks.items()]
    return markdown(["setting (tasks)", *(recipe.name for recipe in recipes)], lines) if lines else None


def warn_of_unknown(recipes: Sequence[Recipe]) -> None:
    """Warn of recipes whose scores do not say how they were made, so that what differs is not known."""
    unknown = [
        recipe.name
        for recipe in recipes
        if not all(_recorded(seed.tasks[task].scores) for seed in recipe.seeds for task in recipe.tasks)
    ]
    if unknown:
        warn(
            f"the scores of {', '.join(unknown)} are of older code and do not say all settings that they were made "
            "with; whether these differ is not known. Score again to know it."
        )


def warn_of_more_than_models(task: str, recipes: Sequence[Recipe]) -> None:
    """Warn where scores differ in what is no part of an encoder: the reader, removed directions, inexact search."""
    found: dict[str, dict[str, list[str]]] = {}
    for recipe in recipes:
        for seed in recipe.seeds:
            for key, value in _beside_the_model(seed.tasks[task].scores).items():
                if value is not None:
                    found.setdefault(key, {}).setdefault(_shown(value), []).append(recipe.name)
    parts = [f"{key} ({_who(values)})" for key, values in found.items() if len(values) > 1]
    if parts:
        warn(f"task {task}: scores differ in {', '.join(parts)}, so their difference is not one of the models alone.")


def _who(values: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{value} in {', '.join(dict.fromkeys(names))}" for value, names in values.items())


def _beside_the_model(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return what old scores say as well; None for what has no part in them."""
    reader, lir, settings = scores.get("reader") or {}, scores.get("lir") or {}, scores.get("evaluation") or {}
    return {
        "reader": reader.get("model"),
        "reader_passages": reader.get("passages"),
        "lir": lir.get("directions"),
        "lir_texts": lir.get("estimated_on"),
        "content of lir_texts": settings.get("lir_texts_digest"),
        "search": _search(scores),
    }


def _search(scores: Mapping[str, Any]) -> str | None:
    """Return an approximate index with its parameters, ``exact``, or None where nothing is searched for."""
    if "search" not in scores:
        return None
    index = scores["search"].partition(" on ")[0]
    if index in ("torch", "FAISS Flat"):
        return "exact"
    settings = scores.get("evaluation", {}).get("search", {})
    return f"{index} {settings.get('parameters', '')}".strip()
