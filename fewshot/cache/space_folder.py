"""The folder of one space: its ``space.json``, what is in it, and what crashed writers left."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.schema import field, read_json
from fewshot.cache.fingerprint import canonical
from fewshot.cache.segment import Segment
from fewshot.cache.space import touched

STORAGE = ("float16", "float32")
LARGEST_DIM = 2**24
_LEFT_BEHIND = 86_400  # seconds after which a file of a writer is that of a crashed one


@dataclass(frozen=True)
class SpaceInfo:
    """One space in a listing: sizes in rows and bytes, last use in seconds since the epoch.

    Where its ``space.json`` or segments cannot be read, ``problems`` says so; an unreadable spec is empty.
    """

    id: str
    rows: int
    bytes: int
    segments: int
    last_used: float
    spec: dict[str, Any]
    problems: tuple[str, ...] = ()


def info_of(folder: Path) -> SpaceInfo:
    """What a folder holds, read without changing it; what cannot be read is among its problems."""
    problems, spec, rows, size, segments = [], {}, 0, 0, 0
    try:
        spec = read_spec(folder)
    except ValueError as error:
        problems.append(str(error))
    storage = np.dtype(spec["storage"]) if spec else None
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        try:
            if not entry.is_file(follow_symlinks=False):
                continue
            size += entry.stat(follow_symlinks=False).st_size
            if entry.name.endswith(".safetensors"):
                segments += 1
                rows += Segment(Path(entry.path), folder.name, spec.get("dim"), storage).count
        except FileNotFoundError:  # a writer at work has renamed or merged it
            pass
        except (ValueError, OSError) as error:
            problems.append(f"{entry.name} cannot be used: {error}")
    return SpaceInfo(folder.name, rows, size, segments, touched(folder), spec, tuple(problems))


def read_spec(folder: Path) -> dict[str, Any]:
    """What a space is of, from its ``space.json``.

    Raises:
        ValueError: it cannot be read, or is not one.
        FileNotFoundError: there is none.
    """
    path = folder / "space.json"
    where = repr(str(path))
    try:
        spec = read_json(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}.") from None
    field(spec, "dim", int, where, least=1, most=LARGEST_DIM)
    storage = field(spec, "storage", str, where)
    if storage not in STORAGE:
        raise ValueError(f"{where}: the field 'storage' is {storage[:40]!r}; it must be one of {', '.join(STORAGE)}.")
    return dict(spec)


def says(path: Path, spec: dict[str, Any]) -> bool:
    """Whether a space.json holds this spec; one that is damaged is written anew."""
    try:
        return bool(canonical(read_json(path)) == canonical(spec))
    except (ValueError, OSError):
        return False


def sweep(folder: Path) -> None:
    """Remove what crashed writers left more than a day ago."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(".tmp"):
            try:
                if time.time() - entry.stat().st_mtime > _LEFT_BEHIND:
                    os.unlink(entry.path)
            except OSError:
                pass
