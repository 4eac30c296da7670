"""Temporary folders that a killed process leaves behind are removed by the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LOCK = ".in-use"


@contextmanager
def temporary_folder(prefix: str, where: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A folder that is gone afterwards; those of the same prefix whose process was killed go at the start.

    A lock, which the system lifts when a process ends, shows which are still used; where locks do not work,
    nothing but one's own is removed.

    Args:
        prefix: of its name, which no other kind of folder has.
        where: the folder that holds it; None: the system's for temporary files.
    """
    parent = Path(tempfile.gettempdir() if where is None else where)
    for left in _own_folders(parent, prefix):
        if _lock(left / _LOCK, create=False) is not None:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    held = _lock(folder / _LOCK, create=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Windows keeps a file that is still mapped
        if held is not None:
            os.close(held)


def _own_folders(parent: Path, prefix: str) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(prefix)
                and entry.is_dir(follow_symlinks=False)
                and (not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid())
            ]
    except OSError:
        return []


def _lock(path: Path, *, create: bool) -> Any:
    """The handle of a lock that no other process holds, or None."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        handle = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    if not create:
        os.close(handle)
    return handle
