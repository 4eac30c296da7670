"""Names that have changed: the old ones work for one release, with a `DeprecationWarning`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any


def former_attribute(old: str, new: str) -> Any:
    """A read-only property for an attribute or method under its old name.

    >>> class Grid:
    ...     rows = 3
    ...     lines = former_attribute("lines", "rows")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     print(Grid().lines, caught[0].message)
    3 .lines is now called .rows.
    """

    def read(self: Any) -> Any:
        warnings.warn(f".{old} is now called .{new}.", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read, doc=f"The old name of `{new}`.")


def former_names(module: str, **names: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module whose names have changed, ``former_names(__name__, old="new")``."""

    def read(name: str) -> Any:
        if name in names:
            warnings.warn(f"{module}.{name} is now called {names[name]}.", DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[module], names[name])
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return read
