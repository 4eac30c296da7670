"""The one function through which long work shows how far it is."""

from __future__ import annotations

from typing import Any


def progress_bar(total: int, done: int, unit: str, *, show: bool = True) -> Any:
    """A `tqdm` bar on standard error; silent where that is no terminal or `show` is false."""
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit=" " + unit, disable=None if show else True, leave=False)
