"""A task in words, read from the recipe of its sampler: of one just made, and of results stored long ago."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def task_label(recipe: Mapping[str, Any]) -> str:
    """The task in words: ``5-way 1-shot``; "variable" for what differs between episodes.

    >>> task_label({"sampler": "fixed", "way": 5, "shot": 1})
    '5-way 1-shot'
    >>> task_label({"sampler": "variable", "least_way": 5, "most_way": 50})
    '5- to 50-way variable-shot'
    """
    kind = recipe.get("sampler")
    if kind == "manifest" and isinstance(recipe.get("of"), Mapping):
        return task_label(recipe["of"])
    if kind == "variable":
        least, most = recipe.get("least_way"), recipe.get("most_way", recipe.get("way"))
        return f"{least}- to {most}-way variable-shot" if least != most else f"{least}-way variable-shot"
    way, shot = recipe.get("way"), recipe.get("shot")
    return f"{'variable' if way is None else way}-way {'variable' if shot is None else shot}-shot"


def classes_note(recipe: Mapping[str, Any]) -> str:
    """From how many classes episodes are drawn, ``from 9 of 10 classes``; empty where it is all of them.

    Classes with too few rows for the shots and queries are never drawn, and a split may leave some out.
    """
    recipe = recipe["of"] if isinstance(recipe.get("of"), Mapping) else recipe
    share = recipe.get("from_classes")
    if not isinstance(share, list) or len(share) != 2 or share[0] == share[1]:
        return ""
    return f"from {share[0]:,} of {share[1]:,} classes"
