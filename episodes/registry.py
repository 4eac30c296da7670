"""`Registry`: named things that are imported when they are first asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

_LONGEST = 100  # characters of a name in a message


class Registry:
    """Named things that are imported when they are first asked for.

    Args:
        what: the noun for messages ("dataset").
        homes: name -> ``"module:attribute"``.
        group: entry-point group through which other packages add theirs, e.g. ``"episodes.datasets"``.
    """

    def __init__(self, what: str, homes: Mapping[str, str], group: str) -> None:
        self.what, self.homes, self.group = what, homes, group

    def names(self) -> list[str]:
        """All known names, built-in and installed."""
        from importlib.metadata import entry_points

        return sorted({*self.homes, *(point.name for point in entry_points(group=self.group))})

    def get(self, name: str) -> Any:
        """The thing of that name.

        Raises:
            ValueError: unknown name; the message suggests the nearest ones.
        """
        if name in self.homes:
            module, _, attribute = self.homes[name].partition(":")
            return getattr(import_module(module), attribute)
        from importlib.metadata import entry_points

        for point in entry_points(group=self.group, name=name):
            return point.load()
        raise ValueError(unknown(self.what, name, self.names()))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known ones."""
    known, name = list(known), name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    listed = ", ".join(known[:40]) + (", ..." if len(known) > 40 else "")
    return f"unknown {what} {name!r}; {hint}Known: {listed}."
