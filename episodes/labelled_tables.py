"""Labels from a table: a line for each file, recording or text."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from episodes.labelled_files import is_picture, is_sound

PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
TEXT_NAMES = ("text", "sentence", "query", "utterance", "document", "content")
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "intent", "y")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # written as int writes it, so that "01" and "1" stay two labels
_LOG = logging.getLogger("episodes")


def table_kind(path: str | os.PathLike[str]) -> str:
    """What a table lists, by its first two lines: ``"images"``, ``"sounds"`` or ``"texts"``.

    Raises:
        ValueError: it is no table, or empty.
    """
    first, *below = [[cell.strip() for cell in cells] for _, cells in _lines(path, most=2)] or [[]]
    at = _find(first, PATH_NAMES)
    if at is not None:
        return "sounds" if any(at < len(cells) and is_sound(cells[at]) for cells in below) else "images"
    if _find(first, TEXT_NAMES) is not None:
        return "texts"
    names = [cell for cells in (first, *below) for cell in cells if not any(map(str.isspace, cell))]
    return "images" if any(map(is_picture, names)) else "sounds" if any(map(is_sound, names)) else "texts"


def refuse_spreadsheet(path: str | os.PathLike[str]) -> None:
    """Refuse a file that a spreadsheet program saved in its own format.

    Raises:
        ValueError: it is one.
    """
    if os.fspath(path).lower().endswith((".xlsx", ".xls", ".ods")):
        raise ValueError(
            f"{Path(path).name!r} is a spreadsheet; save its sheet as CSV, with columns of files or texts and of "
            "labels."
        )


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
        value_column: name or position of the values; None: a column named in `known`, else the first of two.
        label_column: likewise of the labels; None: a column of a usual name, else the other one of two.
        what: what the values are, for messages ("path").
        known: usual names of the value column.

    Raises:
        ValueError: no such column, more than two of which it is not clear which are meant, or an incomplete line.
        FileNotFoundError: there is no such file.
    """
    shown = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no table {shown!r}; give a CSV file of {what} and label.")
    lines = _lines(path)
    if not lines:
        raise ValueError(f"{shown!r} is empty; each line is a {what} and a label.")
    head = [cell.strip() for cell in lines[0][1]]
    header = isinstance(value_column, str) or isinstance(label_column, str) or _is_header(head, known)
    names = head if header else []
    value_at = _position(value_column, names, known, f"{what}_column", shown)
    label_at = _position(label_column, names, LABEL_NAMES, "label_column", shown)
    if None in (value_at, label_at) and len(head) > 2:
        listed = ", ".join(map(repr, head[:8])) + (", ..." if len(head) > 8 else "")
        raise ValueError(
            f"{shown!r} has the columns {listed}; say by name or position (from 0) which holds the {what}s and which "
            f"the labels: {what}_column=, label_column=, or --{what}-column, --label-column of `fewshot fit`."
        )
    if value_at is None:
        value_at = 0 if label_at is None else 1 - min(label_at, 1)
    if label_at is None:
        label_at = 1 - min(value_at, 1)
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
    if not header and what == "text":  # a file's name that is none is refused by those who read it
        _warn_of_header(rows, shown)
    return rows


def _warn_of_header(rows: Sequence[Row], shown: str) -> None:
    """Say so where the first line is the only one of its label, while others repeat: it may name columns."""
    first, *others = rows
    labels = {row.label for row in others}
    if first.label not in labels and len(labels) < len(others):
        _LOG.warning(
            "line 1 of %s (%r, %r) was read as an example, and no other has its label; if it names the columns, say "
            "which are meant: text_column=, label_column= (--text-column, --label-column).",
            shown, first.value[:40], first.label[:40],
        )  # fmt: skip


def _lines(path: str | os.PathLike[str], most: int | None = None) -> list[tuple[int, list[str]]]:
    """The lines of a table that are not empty, as cells, each with its number; the first `most` of them.

    Raises:
        ValueError: it is no UTF-8 text, or no table.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(path, file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            found = ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
            return list(islice(found, most))
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fspath(path)!r} is not UTF-8 text ({error.reason}); save it as UTF-8.") from None
    except csv.Error as error:
        raise ValueError(f"{os.fspath(path)!r} is not a well-formed table: {error}.") from None


def _is_header(head: Sequence[str], known: Collection[str]) -> bool:
    """Whether the first line names columns.

    A usual name may also be a label, so of two columns one alone makes a header only where values are expected.
    """
    value, label = _find(head, known), _find(head, LABEL_NAMES)
    if len(head) > 2:
        return value is not None or label is not None
    return value == 0 or None not in (value, label)


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


def _find(head: Sequence[str], names: Collection[str]) -> int | None:
    lowered = [cell.lower() for cell in head]
    return next((lowered.index(name) for name in names if name in lowered), None)


def _position(
    column: str | int | None, head: Sequence[str], usual: Collection[str], argument: str, shown: str
) -> int | None:
    """Where a column is; None where it was neither given nor has a usual name."""
    if isinstance(column, int):
        if column < 0:
            raise ValueError(f"{argument}={column}; positions count from 0.")
        return column
    if column is None:
        return _find(head, usual)
    if column not in head:
        raise ValueError(f"{argument}={column!r}, but the columns of {shown!r} are {', '.join(map(repr, head))}.")
    return head.index(column)
