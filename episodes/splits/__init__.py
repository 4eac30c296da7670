"""Standard class splits of benchmarks, and checks that base, validation and novel data are disjoint.

Each split is a JSON file here: a title, the source it is taken from, and class names of its parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from episodes.splits.leakage import Leakage, check_leakage
from episodes.splits.selection import select_classes

__all__ = [
    "Leakage",
    "check_disjoint",
    "check_leakage",
    "list_splits",
    "load_split",
    "select_classes",
    "split_source",
]


def list_splits() -> list[str]:
    """Names of the splits that are shipped."""
    return sorted(entry.name[: -len(".json")] for entry in files(__name__).iterdir() if entry.name.endswith(".json"))


def load_split(name: str) -> dict[str, list[str]]:
    """Class names of a benchmark's parts: ``"train"`` (base), ``"val"`` and ``"test"`` (novel).

    Raises:
        ValueError: unknown name; the message suggests near ones.

    >>> {part: len(names) for part, names in load_split("cifar-fs").items()}
    {'train': 64, 'val': 16, 'test': 20}
    """
    return {part: [str(entry) for entry in names] for part, names in _read(name)["classes"].items()}


def split_source(name: str) -> str:
    """Whose split it is, to be cited.

    Raises:
        ValueError: unknown name; the message suggests near ones.
    """
    return str(_read(name)["source"])


def check_disjoint(split: Mapping[str, Sequence[str]], name: str = "split") -> None:
    """Make sure that no class is in two parts, or twice in one.

    Args:
        split: class names of each part.
        name: what messages call the split.

    Raises:
        ValueError: a class occurs twice; the message names the parts and the classes.

    >>> check_disjoint({"train": ["owl", "crow"], "test": ["crow"]})
    Traceback (most recent call last):
    ValueError: parts 'train' and 'test' of split share 1 class: 'crow'; keep each class in one part only.
    """
    home: dict[str, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for part, names in split.items():
        for entry in names:
            if entry in home:
                shared.setdefault((home[entry], part), []).append(entry)
            else:
                home[entry] = part
    for (one, other), names in shared.items():
        count = f"{len(names)} class{'es' if len(names) > 1 else ''}: {_listed(names)}"
        where = f"part {one!r} of {name} repeats" if one == other else f"parts {one!r} and {other!r} of {name} share"
        raise ValueError(f"{where} {count}; keep each class in one part only.")


def _read(name: str) -> dict[str, Any]:
    from episodes.registry import unknown

    known = list_splits()
    if name not in known:
        raise ValueError(unknown("split", name, known))
    return json.loads((files(__name__) / f"{name}.json").read_text(encoding="utf-8"))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
