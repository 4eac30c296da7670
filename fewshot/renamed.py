"""Arguments that have a new name: the old one works for one release, with a warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def renamed(**names: str) -> Callable[[F], F]:
    """Let a function take arguments under old names, ``renamed(old="new")``, with a `DeprecationWarning`.

    >>> @renamed(rate="lr")
    ... def train(lr=0.1):
    ...     return lr
    >>> train(rate=0.5, lr=0.3)
    Traceback (most recent call last):
    TypeError: train() was given lr= and rate=, which is its old name; leave out the latter.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            for old in names.keys() & given.keys():
                new = names[old]
                if new in given:
                    raise TypeError(
                        f"{function.__name__}() was given {new}= and {old}=, which is its old name; "
                        "leave out the latter."
                    )
                warnings.warn(f"{old}= is now called {new}=.", DeprecationWarning, stacklevel=2)
                given[new] = given.pop(old)
            return function(*args, **given)

        call.old_names = names  # type: ignore[attr-defined]  # for `build`, which checks the arguments of a spec
        return call  # type: ignore[return-value]

    return decorate
