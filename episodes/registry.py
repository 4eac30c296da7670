"""`Registry`: named things that are imported when they are first asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

_LONGEST = 100  # characters of a name in a message
_MANY = 20  # names; more are not listed where one is near


class Registry:
    """Named things that are imported when they are first asked for.

    Args:
        what: the noun for messages ("dataset").
        entries: name -> ``"module:attribute"``.
        group: entry-point group through which other packages add theirs, e.g. ``"episodes.datasets"``.
        aliases: other name -> name. An alias is understood wherever a name is; `names` leaves it out.
    """

    def __init__(
        self, what: str, entries: Mapping[str, str], group: str, aliases: Mapping[str, str] | None = None
    ) -> None:
        self.what, self.entries, self.group, self.aliases = what, entries, group, aliases or {}

    def names(self) -> list[str]:
        """All known names, built-in and installed, without aliases."""
        from importlib.metadata import entry_points

        return sorted({*self.entries, *(point.name for point in entry_points(group=self.group))})

    def canonical(self, name: str) -> str:
        """The name that an alias stands for; any other name as it is. An installed name is no alias."""
        return self.aliases[name] if name in self.aliases and name not in self.names() else name

    def get(self, name: str) -> Any:
        """The thing of that name or alias.

        Raises:
            ValueError: unknown name; the message suggests the nearest ones.
        """
        if name not in self.entries:
            name = self.canonical(name)
        if name in self.entries:
            module, _, attribute = self.entries[name].partition(":")
            return getattr(import_module(module), attribute)
        from importlib.metadata import entry_points

        for point in entry_points(group=self.group, name=name):
            return point.load()
        raise ValueError(
            unknown(self.what, name, self.names(), self.aliases, f"fewshot list {self.group.rpartition('.')[2]}")
        )


def unknown(what: str, name: str, known: Iterable[str], aliases: Iterable[str] = (), listing: str = "") -> str:
    """The message for an unknown name, with the nearest known ones; aliases are suggested, but not listed.

    Args:
        what: the noun.
        name: that is unknown.
        known: names.
        aliases: other names that are understood.
        listing: a command that shows all; where many are known and one is near, it stands for their list.
    """
    known, name = list(known), name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    words = [*known, *aliases]
    near = difflib.get_close_matches(name, words, n=3, cutoff=0.5)
    near = near or difflib.get_close_matches(name.lower(), words, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    if near and len(known) > _MANY:
        return f"unknown {what} {name!r}; {hint}" + (
            f"`{listing}` shows all {len(known):,}." if listing else f"There are {len(known):,}."
        )
    listed = ", ".join(known[:40]) + (", ..." if len(known) > 40 else "")
    return f"unknown {what} {name!r}; {hint}Known: {listed}."
