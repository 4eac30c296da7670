"""Suites from TOML, every field checked before anything runs."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from fewshot.registry import unknown
from fewshot.suites.suite import Dataset, Published, Suite

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the same module, before it was taken into Python

_LISTS = ("learners", "encoders", "ways", "shots", "seeds", "templates")
_SHARED = tuple(field.name for field in fields(Dataset) if field.name not in ("data", "name"))
_SUITE = ("title", "notes", "datasets", "published")


def list_suites() -> list[str]:
    """Names of the suites that are shipped."""
    return sorted(entry.name[: -len(".toml")] for entry in files(__package__).iterdir() if entry.name.endswith(".toml"))


def load_suite(suite: str | os.PathLike[str]) -> Suite:
    """Read a suite.

    Fields of a dataset (``learners``, ``encoders``, ``ways``, ``shots``, ``query``, ``episodes``, ``seeds``,
    ``sampler``, ``metric``, ``base``, ``weights``, ``templates``, ``task``) may stand above all datasets, for those
    that do not have their own; one value stands for a list of one.

    Args:
        suite: a TOML file, or the name of a suite that is shipped (`list_suites`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: a field is unknown, missing or of another kind; the message names file, table and field.

    >>> load_suite("digits").datasets[0].shots
    (1, 5)
    """
    path = Path(suite)
    shipped = str(suite) in list_suites() and not path.is_file()  # a folder of that name is what --out made
    if not shipped and (path.suffix == ".toml" or path.exists()):
        if not path.is_file():
            raise FileNotFoundError(f"there is no suite {str(path)!r}; shipped are {', '.join(list_suites())}.")
        text, name = path.read_text(encoding="utf-8"), path.stem
    elif shipped:
        text, name = (files(__package__) / f"{suite}.toml").read_text(encoding="utf-8"), str(suite)
    else:
        raise ValueError(unknown("suite", str(suite), list_suites()) + " Or give a TOML file.")
    try:
        return _suite(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"suite {str(suite)!r} is no TOML: {error}.") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"suite {str(suite)!r}: {error}") from None


def _suite(held: dict[str, Any], name: str) -> Suite:
    _refuse_others(held, (*_SUITE, *_SHARED), "a suite")
    listed = held.get("datasets")
    if not isinstance(listed, list) or not listed:
        raise ValueError('there are no datasets; write [[datasets]] with data = "..." for each.')
    shared = {key: value for key, value in held.items() if key in _SHARED}
    for place, own in enumerate(listed):
        _refuse_others(own, ("data", "name", *_SHARED), f"dataset {place + 1}")
    datasets = tuple(_dataset({**shared, **own}, place + 1) for place, own in enumerate(listed))
    names = [dataset.name for dataset in datasets]
    twice = sorted({entry for entry in names if names.count(entry) > 1})
    if twice:
        raise ValueError(f"two datasets are called {twice[0]!r}; give each a name of its own.")
    published = tuple(_published(own, place + 1, names) for place, own in enumerate(held.get("published", [])))
    return Suite(name, str(held.get("title", name)), datasets, published, str(held.get("notes", "")).strip())


def _dataset(held: dict[str, Any], number: int) -> Dataset:
    where = f"dataset {number}"
    for needed in ("data", "learners"):
        if not held.get(needed):
            raise ValueError(f"{where} has no {needed}.")
    values = dict(held)
    for key in _LISTS:
        if key in values:
            values[key] = tuple(values[key]) if isinstance(values[key], list) else (values[key],)
    values.setdefault("name", values["data"])
    values["weights"] = tuple(sorted(dict(values.get("weights", {})).items()))
    for key, allowed in (("learners", str), ("encoders", str), ("shots", int), ("seeds", int), ("templates", str)):
        for value in values.get(key, ()):
            if not isinstance(value, allowed) or isinstance(value, bool):
                raise ValueError(f"{where}, {key}: {value!r} is no {'text' if allowed is str else 'whole number'}.")
    for way in values.get("ways", ()):
        if way != "all" and (isinstance(way, bool) or not isinstance(way, int) or way < 2):
            raise ValueError(f'{where}, ways: {way!r}; a way is at least 2, or "all".')
    for key, least in (("query", 1), ("episodes", 1)):
        value = values.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{where}, {key}: {value!r}; it must be a whole number of at least {least}.")
    for key in ("data", "name", "sampler", "metric", "base", "task"):
        if not isinstance(values.get(key, ""), str):
            raise ValueError(f"{where}, {key}: {values[key]!r} is no text.")
    stray = [learner for learner, _ in values["weights"] if learner not in values["learners"]]
    if stray:
        raise ValueError(f"{where}, weights: {stray[0]!r} is none of its learners.")
    return Dataset(**values)


def _published(held: dict[str, Any], number: int, datasets: list[str]) -> Published:
    where = f"published figure {number}"
    known = tuple(field.name for field in fields(Published))
    _refuse_others(held, known, where)
    missing = [key for key in ("dataset", "method", "way", "shot", "score") if key not in held]
    if missing:
        raise ValueError(f"{where} has no {missing[0]}.")
    if held["dataset"] not in datasets:
        raise ValueError(f"{where}: {unknown('dataset of this suite', str(held['dataset']), datasets)}")
    return Published(**held)


def _refuse_others(held: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(held, dict):
        raise ValueError(f"{where} is {type(held).__name__}; it must be a table.")
    for key in held:
        if key not in known:
            raise ValueError(unknown(f"field of {where}", key, sorted(known)))
