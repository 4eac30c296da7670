"""Labels from where files lie: a folder per class."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_LOG = logging.getLogger("episodes")
PICTURES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SOUNDS = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav")
_PARTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")  # of a dataset
_LEFTOVERS = ("__MACOSX", "Thumbs.db", "desktop.ini")  # of operating systems, as hidden as those with a dot


class Kind(NamedTuple):
    """Files of one kind: what messages call them, and how their names end."""

    word: str
    endings: tuple[str, ...]


IMAGES, RECORDINGS = Kind("pictures", PICTURES), Kind("recordings", SOUNDS)


def files_by_folder(root: str | os.PathLike[str], kind: Kind) -> tuple[list[Path], list[int], list[str]]:
    """Files, label numbers and class names of a folder tree where each folder of such files is a class.

    Raises:
        ValueError: a class folder is empty, or files lie where their class is unclear.
        FileNotFoundError: there is no such folder.
    """
    word = kind.word
    top = Path(root)
    if not top.is_dir():
        raise FileNotFoundError(
            f"there is no folder {os.fspath(root)!r}; give one with a sub-folder per class.{near_place(top)}"
        )
    found, other, empty, mixed = _walk(top, kind.endings)
    if "." in found:
        raise ValueError(
            f"{found['.'][0].name!r} and {len(found['.']) - 1} more {word} lie in {os.fspath(root)!r} "
            f"itself; put each into the sub-folder of its class.{_above(top, kind)}"
        )
    if mixed:
        raise ValueError(
            f"folder {mixed[0]!r} in {os.fspath(root)!r} holds both {word} and class folders; "
            f"move its own {word} into a sub-folder."
        )
    if empty:
        listed = ", ".join(map(repr, empty[:3])) + (f" and {len(empty) - 3} more" if len(empty) > 3 else "")
        raise ValueError(
            f"class folders without {word} in {os.fspath(root)!r}: {listed}; fill or delete them. "
            f"{word.capitalize()} end in {', '.join(kind.endings)}.{_hint(other, root)}"
        )
    if not found:
        raise ValueError(
            f"{os.fspath(root)!r} is empty; it must hold a sub-folder of {word} per class.{_hint(other, root)}"
        )
    if other:
        shown = ", ".join(other[:3])
        _LOG.warning(
            "ignored %d files in %s that are no %s: %s.%s", len(other), top.name, word, shown, _hint(other, root)
        )
    classes = sorted(found)
    _refuse_parts(classes, top, kind)
    paths = [path for name in classes for path in found[name]]
    return paths, [number for number, name in enumerate(classes) for _ in found[name]], classes


def _refuse_parts(classes: Sequence[str], top: Path, kind: Kind) -> None:
    """Refuse a folder of a dataset's parts, which hold the same classes: each would be a class of its own there."""
    parts: dict[str, set[str]] = {}
    for name in classes:
        first, _, rest = name.partition("/")
        parts.setdefault(first, set()).add(rest)
    names = sorted(parts)
    if len(names) < 2 or "" in set.union(*parts.values()) or not {name.lower() for name in names} <= {*_PARTS}:
        return
    shared = sorted(name for name in set.union(*parts.values()) if sum(name in held for held in parts.values()) > 1)
    if shared:
        raise ValueError(
            f"{os.fspath(top)!r} holds the parts {', '.join(map(repr, names))} of a dataset, with the same classes "
            f"({shared[0]!r}, ...); give one of them, such as {os.fspath(top / names[-1])!r}, or put all {kind.word} "
            "of a class into one folder."
        )


def holds_recordings(root: str | os.PathLike[str]) -> bool:
    """Whether a folder holds recordings and no pictures, at any depth."""
    sounds = False
    for _, folders, files in os.walk(root, followlinks=False):
        folders[:] = [folder for folder in folders if not is_hidden(folder)]
        shown = [file for file in files if not is_hidden(file)]
        if any(map(is_picture, shown)):
            return False
        sounds = sounds or any(map(is_sound, shown))
    return sounds


def near_place(path: Path) -> str:
    """A hint with the file or folder of nearly that name, where there is one."""
    try:
        names = [name for name in os.listdir(path.parent) if not is_hidden(name)]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f" Did you mean {os.fspath(path.parent / near[0])!r}?" if near else ""


def _above(top: Path, kind: Kind) -> str:
    """A hint where the folder is that of one class, beside others."""
    try:
        beside = [place for place in top.resolve().parent.iterdir() if place.is_dir() and not is_hidden(place.name)]
        alike = all(any(name.lower().endswith(kind.endings) for name in os.listdir(place)) for place in beside)
    except OSError:
        return ""
    if len(beside) < 2 or not alike:
        return ""
    return (
        f" Or did you mean the folder above, {os.fspath(top.parent)!r}, whose {len(beside)} folders hold {kind.word}?"
    )


def pictures_below(root: str | os.PathLike[str]) -> list[Path]:
    """All pictures in a folder and its sub-folders, sorted; hidden files and folders are left out."""
    return files_below(root, PICTURES)


def files_below(root: str | os.PathLike[str], endings: tuple[str, ...]) -> list[Path]:
    """All files in a folder and its sub-folders whose names end so, sorted; hidden ones are left out."""
    return sorted(path for paths in _walk(Path(root), endings)[0].values() for path in paths)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's data: ``.hidden``, ``._copy``, ``.ipynb_checkpoints``, ..."""
    return name.startswith(".") or name in _LEFTOVERS


def is_picture(name: str) -> bool:
    """Whether a file name ends as those of pictures do."""
    return name.lower().endswith(PICTURES)


def is_sound(name: str) -> bool:
    """Whether a file name ends as those of recordings do."""
    return name.lower().endswith(SOUNDS)


def _hint(files: Sequence[str], root: str | os.PathLike[str]) -> str:
    """A hint where files are photos of telephones in a format that is not read, or of the other kind."""
    found = [file for file in files if file.lower().endswith((".heic", ".heif"))]
    if found:
        return f" {found[0]!r} is a HEIC photo: export such photos as JPEG."
    for kind, spec in ((IMAGES, "folder"), (RECORDINGS, "audio")):
        if files and all(file.lower().endswith(kind.endings) for file in files):
            return f" {files[0]!r} is one of {len(files)} {kind.word}: give '{spec}:{os.fspath(root)}' for those."
    return ""


def _walk(top: Path, endings: tuple[str, ...]) -> tuple[dict[str, list[Path]], list[str], list[str], list[str]]:
    """Such files by folder, other files, empty folders, and folders with both such files and sub-folders."""
    found: dict[str, list[Path]] = {}
    other: list[str] = []
    empty: list[str] = []
    mixed: list[str] = []
    seen = set()
    for place, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(folder for folder in folders if not is_hidden(folder))
        files = sorted(file for file in files if not is_hidden(file))
        wanted = [Path(place, file) for file in files if file.lower().endswith(endings)]
        other += [file for file in files if not file.lower().endswith(endings)]
        name = Path(place).relative_to(top).as_posix()
        if wanted:
            found[name] = wanted
            mixed += [name] if folders and name != "." else []
        elif not folders and name != ".":
            empty.append(name)
    return found, other, empty, mixed
