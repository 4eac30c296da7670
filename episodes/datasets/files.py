"""Where datasets that come as files lie, and how they get there."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

_SECONDS = 10.0  # timeout of the first request


def data_root(root: str | os.PathLike[str] | None) -> Path:
    """The folder of all datasets: `root`, else the environment variable EPISODES_DATA, else ``data``."""
    return Path(root if root is not None else os.environ.get("EPISODES_DATA") or "data")


def require(name: str, root: Path, needed: list[str], download: Callable[[], object] | None, url: str) -> None:
    """Make sure that a dataset's files are there, downloading them if `download` is given.

    Args:
        name: the dataset.
        root: the folder of all datasets.
        needed: files or folders below `root`.
        download: fetches them, or None to download nothing.
        url: where `download` fetches from; it is tried first, because loaders wait long when offline.

    Raises:
        FileNotFoundError: they are missing; the message names them and their folder.
    """
    missing = [entry for entry in needed if not (root / entry).exists()]
    if missing and download is not None:
        reason = _unreachable(url)
        if reason is None:
            try:
                download()
            except (OSError, RuntimeError) as error:
                reason = str(error)
        missing = [entry for entry in needed if not (root / entry).exists()]
        if missing:
            raise FileNotFoundError(
                f"{name!r} could not be downloaded from {url} ({reason or 'the archive lacks files'}). "
                f"Without a network, place {_listed(missing)} in {os.fspath(root)!r}, "
                "or say with root= where they are."
            )
    if missing:
        raise FileNotFoundError(
            f"{name!r} needs {_listed(missing)} in {os.fspath(root)!r}; "
            "pass download=True to fetch them, or root= to say where they are."
        )


def require_by_hand(name: str, root: Path, needed: list[str], url: str) -> None:
    """Make sure that the files of a dataset are there which nothing can fetch but its user.

    Raises:
        FileNotFoundError: they are missing; the message names them, their folder, and where they come from.
    """
    missing = [entry for entry in needed if not (root / entry).exists()]
    if missing:
        raise FileNotFoundError(
            f"{name!r} needs {_listed(missing)} in {os.fspath(root)!r}, or say with root= where they are. They are not "
            f"downloaded by this library; see {url}."
        )


def choose_part(name: str, part: str, parts: list[str]) -> list[str]:
    """The parts that ``"train+val"`` names; all of them for an empty string.

    Raises:
        ValueError: unknown part; the message lists the known ones.
    """
    from episodes.registry import unknown

    chosen = [word.strip() for word in part.split("+")] if part else list(parts)
    for word in chosen:
        if word not in parts:
            raise ValueError(unknown(f"part of {name!r}", word, parts))
    return [known for known in parts if known in chosen]


def full_name(name: str, part: str) -> str:
    """What results call a part of a dataset."""
    return f"{name}:{part}" if part else name


def _unreachable(url: str) -> str | None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # the server is reachable; the loader checks its files
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _listed(entries: list[str]) -> str:
    return " and ".join(map(repr, entries))
