"""Tasks one after the other, here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class InProcess:
    """Runs each task when its result is requested."""

    workers = 1

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """``function(task)`` for every task, in order."""
        return map(function, tasks)
