"""A study's arms as a table: what each one changes in the recipe that they share."""

from typing import Any

from hybrid.evaluation.runs import flattened
from hybrid.evaluation.table import markdown
from hybrid.studies.jobs import Choice
from hybrid.studies.study import Study


def arms_table(study: Study, choice: Choice) -> str:
    """Return the chosen arms as Markdown."""
    rows, arms = [], study.arms_at(choice.scale)
    for name in choice.arms or arms:
        arm = arms[name]
        rows.append([name, arm.about, "scored as it is" if arm.zero_shot else changes(arm.recipe) or "none"])
    return markdown(["arm", "what it is", "changes to the shared recipe"], rows)


def changes(recipe: dict[str, Any]) -> str:
    """Return settings as ``mixture.monolingual 1; data.hard_negatives 0``."""
    return "; ".join(f"{key} {value}" for key, value in flattened(recipe).items())
