"""Examples and new items for a classifier, as people have them: folders, tables, lists of texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from episodes.labelled_files import (
    IMAGES,
    PICTURES,
    RECORDINGS,
    SOUNDS,
    files_below,
    files_by_folder,
    holds_recordings,
    is_sound,
    near_place,
)
from episodes.labelled_tables import (
    TEXT_NAMES,
    delimiter_of,
    numbers_if_all,
    pictures_by_table,
    read_table,
    refuse_spreadsheet,
    table_kind,
)

TABLES = (".csv", ".tsv", ".parquet")


class Examples(NamedTuple):
    """Labelled items."""

    items: list[Any]  # paths or texts
    labels: list[Any]
    names: list[str]  # what to call each item: its place below the folder, or the text
    kind: str  # "images", "texts" or "sounds"


def read_examples(place: str, path_column: str | None, text_column: str | None, label_column: str | None) -> Examples:
    """Examples from a folder with a sub-folder per class, or a table of files or texts and labels.

    Raises:
        ValueError: what is there cannot be read so; the message says what could.
        FileNotFoundError: there is nothing.
    """
    path = Path(place.removeprefix("folder:").removeprefix("csv:").removeprefix("audio:")).expanduser()
    if path.is_dir():
        sounds = place.startswith("audio:") or holds_recordings(path)
        files, numbers, classes = files_by_folder(path, RECORDINGS if sounds else IMAGES)
        names = [file.relative_to(path).as_posix() for file in files]
        kind = "sounds" if sounds else "images"
        return Examples(list(files), [classes[number] for number in numbers], names, kind)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no folder or table {str(path)!r}; give photos by class, or a CSV file.{near_place(path)}"
        )
    refuse_spreadsheet(path)
    if path.suffix.lower() not in TABLES:
        raise ValueError(
            f"{path.name!r} is neither a folder nor a table ({', '.join(TABLES)}); labelled examples are a folder with "
            "a sub-folder per class, or a table with columns of files (or texts) and labels."
        )
    table = _as_csv(path)
    if text_column or (not path_column and table_kind(table) == "texts"):
        rows = read_table(table, text_column, label_column, "text", TEXT_NAMES)
        texts = [row.value for row in rows]
        return Examples(list(texts), list(numbers_if_all([row.label for row in rows])), texts, "texts")
    files, labels = pictures_by_table(table, path.parent, path_column, label_column)
    kind = "sounds" if is_sound(files[0].name) else "images"
    return Examples(list(files), list(labels), [_below(file, path.parent) for file in files], kind)


def read_items(places: list[str], texts: str | None, column: str | None) -> tuple[list[Any], list[str], str]:
    """New items with what to call them: files, folders of them, or the texts of a file (a line each, or a column).

    Raises:
        ValueError: nothing to read, or both pictures and texts.
        FileNotFoundError: a file that is not there.
    """
    if texts is not None:
        if places:
            raise ValueError("give files or --texts FILE, not both.")
        found = list(_lines(Path(texts).expanduser(), column))
        return list(found), found, "texts"
    items: list[Any] = []
    names: list[str] = []
    for place in places:
        path = Path(place.removeprefix("folder:").removeprefix("audio:")).expanduser()
        if path.is_dir():
            below = files_below(path, SOUNDS if place.startswith("audio:") else (*PICTURES, *SOUNDS))
            items += below
            names += [file.relative_to(path).as_posix() if len(places) == 1 else str(file) for file in below]
        elif path.is_file():
            items.append(path)
            names.append(str(path))
        else:
            what = "file that matches" if any(sign in place for sign in "*?[") else "file or folder"
            raise FileNotFoundError(f"there is no {what} {place!r}.")
    if not items:
        raise ValueError("nothing to classify: give pictures, recordings, a folder of them, or --texts FILE.")
    odd = [item for item in items if item.suffix.lower() in TABLES]
    if odd:
        raise ValueError(f"{odd[0].name!r} is a table; for its texts write --texts {odd[0].name} --text-column NAME.")
    return items, names, "sounds" if is_sound(items[0].name) else "images"


def read_target(places: list[str], texts: str | None, column: str | None, encoder: Any) -> list[Any] | None:
    """Unlabelled items of another domain, for an encoder; None where none are named.

    Raises:
        ValueError: as `read_items`, or items that the encoder does not encode.
        FileNotFoundError: a file that is not there.
    """
    if not places and texts is None:
        return None
    items, _, kind = read_items(places, texts, column)
    if not takes(encoder, kind):
        raise ValueError(f"the target holds {kind}, which {encoder.name!r} does not encode.")
    return items


def read_unlabelled(places: list[str], column: str | None, kind: str) -> Examples:
    """Items of the kind of the examples, without labels: files, folders of them, or one file of texts.

    Raises:
        ValueError: as `read_items`, or items of another kind.
        FileNotFoundError: a file that is not there.
    """
    if kind == "texts" and len(places) > 1:
        raise ValueError(f"--unlabelled takes one file of texts (a line each, or a table), not {len(places)}.")
    items, names, found = read_items([], places[0], column) if kind == "texts" else read_items(places, None, None)
    if found != kind:
        raise ValueError(f"--unlabelled holds {found}, but the examples are {kind}; give what will be asked about.")
    return Examples(items, [None] * len(items), names, kind)


def takes(encoder: Any, kind: str) -> bool:
    """Whether an encoder takes such items; recordings are pictures for encoders of images."""
    return bool(encoder.encodes(kind) or (kind == "sounds" and encoder.encodes("images")))


def readable(examples: Examples, encoder: Any, cache: Any, device: Any, *, quiet: bool) -> Examples:
    """The examples without those that are damaged, which are named on standard error.

    They are embedded for it; what uses the same cache afterwards finds them there.
    """
    from episodes.any_source import as_source
    from episodes.printable import printable
    from fewshot.embedding import embed

    items = as_source(examples.items, encoder, what=examples.kind)
    skipped = embed(items, encoder, cache=cache, device=device, on_error="skip", progress=not quiet).report["skipped"]
    for damaged in skipped:
        print(f"left out: {printable(damaged['error'])}", file=sys.stderr)
    left_out = {damaged["row"] for damaged in skipped}
    kept = [row for row in range(len(examples.items)) if row not in left_out]
    return examples._replace(
        items=[examples.items[row] for row in kept], labels=[examples.labels[row] for row in kept],
        names=[examples.names[row] for row in kept],
    )  # fmt: skip


def content_digest(item: Any) -> str:
    """Tells the content of a file or a text from any other."""
    from episodes.identity import digest

    return digest(item.read_bytes() if isinstance(item, Path) else str(item).encode())


def warn_of_tuned_rows(examples: Examples, encoder: Any) -> None:
    """Say that an estimate on examples that the encoder was tuned on is too good."""
    known: frozenset[str] = getattr(encoder, "rows", frozenset())
    seen = sum(content_digest(item) in known for item in examples.items) if known else 0
    if seen:
        print(
            f"warning: the encoder was fine-tuned on {seen} of these {len(examples.items)} examples, so the estimate "
            "is too high; fewshot fit --strategy estimates honestly",
            file=sys.stderr,
        )


def _lines(path: Path, column: str | None) -> Iterator[str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of texts {str(path)!r}.")
    if path.suffix.lower() in TABLES:
        import csv

        with open(_as_csv(path), encoding="utf-8-sig", newline="") as file:
            delimiter = delimiter_of(path, file.readline())
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            known = list(reader.fieldnames or [])
            chosen = column or next((name for name in known if name.lower() in TEXT_NAMES), None)
            if chosen not in known:
                raise ValueError(
                    f"{path.name!r} has the columns {', '.join(known)}; say which holds the texts: --text-column."
                )
            yield from (str(row[chosen]) for row in reader)
        return
    yield from (line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())


def _as_csv(path: Path) -> Path:
    """The table itself; one in Parquet as a CSV file in a temporary place."""
    if path.suffix.lower() != ".parquet":
        return path
    try:
        from pyarrow import csv, parquet
    except ImportError:
        raise ImportError(f"reading {path.name!r} needs pyarrow: pip install pyarrow; or save it as CSV.") from None
    import atexit
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="fewshot-")
    atexit.register(folder.cleanup)
    target = Path(folder.name) / f"{path.stem}.csv"
    csv.write_csv(parquet.read_table(path), target)
    return target


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
