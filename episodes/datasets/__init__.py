"""Named datasets. A new one is its file and one line here."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from episodes.inputs import is_table
from episodes.labelled_files import holds_recordings, near_place
from episodes.labelled_tables import refuse_spreadsheet, table_kind
from episodes.registry import Registry
from episodes.source import Source
from episodes.spec import check_names, parse_arguments

ENTRIES = {
    "arrays": "episodes.datasets.local:arrays",
    "audio": "episodes.datasets.local:audio",
    "cifar-fs": "episodes.datasets.cifar:cifar_fs",
    "coop": "episodes.datasets.coop:coop",
    "csv": "episodes.datasets.local:csv",
    "cub": "episodes.datasets.cub:cub",
    "digits": "episodes.datasets.digits:digits",
    "fashion-mnist": "episodes.datasets.fashion_mnist:fashion_mnist",
    "fc100": "episodes.datasets.cifar:fc100",
    "folder": "episodes.datasets.local:folder",
    "omniglot": "episodes.datasets.omniglot:omniglot",
    "scenes": "episodes.datasets.scenes:scenes",
    "text-csv": "episodes.datasets.local:text_csv",
}
DATASETS = Registry("dataset", ENTRIES, "episodes.datasets")


def list_datasets() -> list[str]:
    """Names of all datasets, built-in and installed."""
    return DATASETS.names()


def load_dataset(spec: str | os.PathLike[str] | Source, **options: Any) -> Source:
    """Load a dataset by its spec: a name, after ``:`` a part of it or a path, and options in brackets.

    Args:
        spec: ``"digits"``, ``"omniglot:test"``, ``"omniglot:train+val(rotations=False)"``,
            ``"cifar-fs:test"``, ``"folder:photos/"``, ``"audio:recordings/"``, ``"csv:index.csv"``,
            ``"text-csv:intents.csv"``, ``"arrays:bank.npz"``, ...; a source is returned as it is. A `pathlib.Path`, or
            a string that names what exists but no dataset, is a folder of class folders, a table of files or texts
            and labels, or an ``.npz`` archive.
        options: of the dataset; they override those in brackets. Each dataset documents its own, for example
            `episodes.datasets.omniglot.omniglot`. Those to be downloaded take ``download=True`` and ``root``:
            where they lie, by default the folder named by the environment variable EPISODES_DATA, else
            ``data``.

    Raises:
        ValueError: unknown name, part or option (the message suggests near ones), or unreadable data.
        FileNotFoundError: the files are not there; the message names them and their folder.

    >>> source = load_dataset("digits")
    >>> len(source), source.class_names[:3], source[0].shape
    (1797, ['0', '1', '2'], torch.Size([64]))
    """
    if isinstance(spec, os.PathLike):
        return load_dataset(_spec_of_path(os.fspath(spec)), **options)
    if not isinstance(spec, str):
        if all(hasattr(spec, name) for name in ("labels", "class_names", "__len__", "__getitem__")):
            return spec
        raise ValueError(_instead_of(spec))
    name, argument, written = parse_dataset(spec)
    if name not in ENTRIES and name not in list_datasets():
        place = f"{name}:{argument}" if argument else name
        if place and os.path.exists(place):
            name, argument, _ = parse_dataset(_spec_of_path(place))
        elif not argument and not get_close_matches(name, list_datasets(), cutoff=0.5):
            hint = near_place(Path(place))
            if hint:
                raise ValueError(f"there is no dataset, file or folder {place!r}.{hint}")
    load = DATASETS.get(name)
    options = {**written, **options}
    _check(name, argument, options, list(inspect.signature(load).parameters.values()))
    return load(argument, **options) if argument else load(**options)


def _instead_of(given: Any) -> str:
    """What to give in place of something that is no dataset."""
    if is_table(given) and hasattr(given, "columns"):
        names = ", ".join(map(repr, list(given.columns)[:6]))
        return (
            f"a table (columns {names}) is no dataset; give ImageSource(table['path'], table['label']) for files, "
            "TextSource(table['text'], table['label']) for texts, or TensorSource(rows, labels) for numbers."
        )
    shown = " ".join(repr(given)[:80].split())
    return (
        f"{shown} is no dataset; give a name such as 'digits', a path, or a source such as TensorSource(rows, labels)."
    )


def _spec_of_path(path: str) -> str:
    """A folder, a table or an archive as a spec, by what is in it."""
    if os.path.isdir(path):
        return f"{'audio' if holds_recordings(path) else 'folder'}:{path}"
    if path.lower().endswith(".npz"):
        return f"arrays:{path}"
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file or folder {path!r}; give a folder with a sub-folder per class.")
    if path.lower().endswith((".csv", ".tsv")):
        return f"{ {'texts': 'text-csv', 'sounds': 'audio', 'images': 'csv'}[table_kind(path)] }:{path}"
    refuse_spreadsheet(path)
    raise ValueError(
        f"{path!r} is no dataset; give a folder with a sub-folder per class, an .npz archive, or for a list of files "
        "and their labels ImageSource(files, labels)."
    )


def _check(name: str, argument: str, options: Mapping[str, Any], parameters: Collection[inspect.Parameter]) -> None:
    places = [word for word in parameters if word.kind is word.POSITIONAL_OR_KEYWORD]
    takes = [word.name for word in parameters if word.kind is word.KEYWORD_ONLY]
    if argument and not places:
        raise ValueError(f"dataset {name!r} has no parts, but {argument!r} was given; write {name!r}.")
    if not argument and places and places[0].default is inspect.Parameter.empty:
        raise ValueError(f"dataset {name!r} needs a {places[0].name}; write '{name}:{places[0].name.upper()}'.")
    if any(word.kind is word.VAR_KEYWORD for word in parameters):
        return
    check_names(f"dataset {name!r}", options, takes, "option", "Its options")


def parse_dataset(spec: str) -> tuple[str, str, dict[str, Any]]:
    """Split a spec into name, what follows its colon, and options; option values are Python literals.

    A bracket that is no list of options belongs to the path.

    >>> parse_dataset("omniglot:test(rotations=False)")
    ('omniglot', 'test', {'rotations': False})
    >>> parse_dataset("folder:photos (2024)")
    ('folder', 'photos (2024)', {})
    """
    written: dict[str, Any] = {}
    head, bracket, tail = spec.strip().rpartition("(")
    if bracket and tail.endswith(")"):
        positional, named = parse_arguments(tail) or ([], {})
        written = {} if positional else named
    name, _, argument = (head if written else spec.strip()).partition(":")
    return name.strip(), argument.strip(), written
