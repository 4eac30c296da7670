"""Labels from where files lie (a folder per class) or from a table that names them."""

from __future__ import annotations

import csv
import difflib
import logging
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

_LOG = logging.getLogger("episodes")
PICTURES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SOUNDS = (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav")
_LEFTOVERS = ("__MACOSX", "Thumbs.db", "desktop.ini")  # of operating systems, as hidden as those with a dot
PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
TEXT_NAMES = ("text", "sentence", "query", "utterance", "document", "content")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # written as int writes it, so that "01" and "1" stay two labels
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "intent", "y")


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
    paths = [path for name in classes for path in found[name]]
    return paths, [number for number, name in enumerate(classes) for _ in found[name]], classes


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


def pictures_by_table(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None,
    path_column: str | int | None,
    label_column: str | int | None,
) -> tuple[list[Path], list[str] | list[int]]:
    """Files and labels from a table; see `ImageSource.from_csv`.

    Raises:
        ValueError: no such column, or a line without file name or label.
        FileNotFoundError: there is no such table or picture; the message names the line.
    """
    rows = read_table(path, path_column, label_column, "path", PATH_NAMES)
    start = Path(path).parent if root is None else Path(root)
    files = [start / row.value for row in rows]
    missing = [number for number, file in enumerate(files) if not file.is_file()]
    if missing:
        row = rows[missing[0]]
        hint = (
            "If that line is a header, name its columns: path_column=..., label_column=..."
            if missing == [0]
            else "Correct them, or give with root= the folder that relative names start from."
        )
        if len(missing) == len(files) and any(not Path(given.value).suffix for given in rows[1:]):
            hint = f"If these are texts, write 'text-csv:{os.fspath(path)}'. {hint}"
        raise FileNotFoundError(
            f"line {row.line} of {os.fspath(path)!r} names {row.value!r}, which is no file in "
            f"{os.fspath(start)!r} ({len(missing)} of {len(files)} are missing). {hint}"
        )
    return files, numbers_if_all([row.label for row in rows])


class Row(NamedTuple):
    """One line of a table of values and labels."""

    line: int
    value: str
    label: str


def read_table(
    path: str | os.PathLike[str],
    value_column: str | int | None,
    label_column: str | int | None,
    what: str,
    known: Collection[str],
) -> list[Row]:
    """Values and labels of a comma- or tab-separated table, with or without a header.

    Args:
        path: the file, UTF-8.
        value_column: name or position of the values; None: a column named in `known`, else the first.
        label_column: likewise of the labels; None: a column of a usual name, else the second.
        what: what the values are, for messages ("path").
        known: usual names of the value column.

    Raises:
        ValueError: no such column, or an incomplete line.
        FileNotFoundError: there is no such file.
    """
    shown = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no table {shown!r}; give a CSV file of {what} and label.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(path, file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown!r} is not UTF-8 text ({error.reason}); save it as UTF-8.") from None
    except csv.Error as error:
        raise ValueError(f"{shown!r} is not a well-formed table: {error}.") from None
    if not lines:
        raise ValueError(f"{shown!r} is empty; each line is a {what} and a label.")
    head = [cell.strip() for cell in lines[0][1]]
    named = isinstance(value_column, str) or isinstance(label_column, str)
    # A usual name may also be a label, so one alone makes a header only where values are expected.
    usual = _find(head, known) is not None and _find(head, LABEL_NAMES) is not None
    header = named or usual or _find(head[:1], known) is not None
    value_at = _position(value_column, head if header else [], known, 0, f"{what}_column", shown)
    label_at = _position(label_column, head if header else [], LABEL_NAMES, 1, "label_column", shown)
    rows = []
    for number, cells in lines[1:] if header else lines:
        if len(cells) <= max(value_at, label_at) or not cells[value_at].strip() or not cells[label_at].strip():
            raise ValueError(
                f"line {number} of {shown!r} has no {what} in column {value_at} or no label in column "
                f"{label_at} (counted from 0): {cells}; complete or delete it, or choose columns with "
                f"{what}_column=, label_column=."
            )
        rows.append(Row(number, cells[value_at].strip(), cells[label_at].strip()))
    if not rows:
        raise ValueError(f"{shown!r} has a header but no rows.")
    return rows


def delimiter_of(path: str | os.PathLike[str], first: str) -> str:
    r"""What separates the cells of a table, by its name and first line; spreadsheets of some countries use semicolons.

    >>> delimiter_of("a.csv", "path;label"), delimiter_of("a.csv", "path,label"), delimiter_of("a.tsv", "x")
    (';', ',', '\t')
    >>> delimiter_of("a.csv", "path\tlabel")
    '\t'
    """
    if Path(path).suffix.lower() == ".tsv" or ("\t" in first and not {",", ";"} & {*first}):
        return "\t"
    return ";" if ";" in first and "," not in first else ","


def numbers_if_all(labels: Sequence[str]) -> list[str] | list[int]:
    """Labels as integers where every one is written like one, so that class 10 does not come before 9.

    >>> numbers_if_all(["10", "9"]), numbers_if_all(["01", "1"])
    ([10, 9], ['01', '1'])
    """
    if all(_INTEGER.fullmatch(label) for label in labels):
        return [int(label) for label in labels]
    return list(labels)


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


def _find(head: Sequence[str], names: Collection[str]) -> int | None:
    lowered = [cell.lower() for cell in head]
    return next((lowered.index(name) for name in names if name in lowered), None)


def _position(
    column: str | int | None,
    head: Sequence[str],
    usual: Collection[str],
    default: int,
    argument: str,
    shown: str,
) -> int:
    if isinstance(column, int):
        if column < 0:
            raise ValueError(f"{argument}={column}; positions count from 0.")
        return column
    if column is None:
        found = _find(head, usual)
        return default if found is None else found
    if column not in head:
        raise ValueError(f"{argument}={column!r}, but the columns of {shown!r} are {', '.join(map(repr, head))}.")
    return head.index(column)
