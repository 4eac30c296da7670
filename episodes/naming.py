"""Names of rows and columns: different things of one name are distinguished by what differs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from episodes.printable import printable
from episodes.result import Result, describe_task

_DIGEST = re.compile(r"[0-9a-f]{12,}")
_HOW_EMBEDDED = ("encoder", "precision", "views", "storage")  # not in the recipe, but easier to read than a digest
_EMBEDDED_BY = " @ "  # between the names of a dataset and of its encoder
_LONGEST = 40  # characters of a value that is shown


def learner_names(cells: Sequence[Result]) -> list[str]:
    """A name for the learner of each cell; where a task has several learners of one name, they are distinguished."""
    places = [(cell.evaluation_key, cell.learner) for cell in cells]
    clashing = {name for place, number in Counter(places).items() if number > 1 for name in place[1:]}
    facts = [dict(flatten(cell.recipe.get("learner", {}))) if cell.learner in clashing else {} for cell in cells]
    return _distinct([printable(cell.learner) for cell in cells], facts)


def task_names(cells: Sequence[Result], *, always_dataset: bool = False) -> list[str]:
    """A name for the task of each cell, with the dataset where there are several (or always, and a comma)."""
    several = len({cell.dataset for cell in cells}) > 1
    between = ", " if always_dataset else " " if several else ""
    datasets = dataset_names(cells, whole=always_dataset) if between else [""] * len(cells)
    names = [f"{name}{between}{describe_task(cell)}" for name, cell in zip(datasets, cells, strict=True)]
    facts = []
    for cell in cells:
        embedding = cell.provenance.get("embedding")
        how = {k: embedding[k] for k in _HOW_EMBEDDED if k in embedding} if isinstance(embedding, Mapping) else {}
        facts.append({**how, **{k: v for k, v in flatten(cell.evaluation) if k != "metric"}})
    return _distinct(names, facts)


def dataset_names(cells: Sequence[Result], *, whole: bool = False) -> list[str]:
    """A name for the dataset of each cell: with its encoder, shortened, where there are several (or `whole`)."""
    shared = "" if whole else shared_encoder(cells)
    short, names = short_encoders(cell.dataset.partition(_EMBEDDED_BY)[2] for cell in cells), []
    for cell in cells:
        dataset, at, encoder = cell.dataset.partition(_EMBEDDED_BY)
        names.append(printable(dataset if shared else f"{dataset}{at}{short[encoder]}"))
    return names


def shared_encoder(cells: Sequence[Result]) -> str:
    """The encoder of all datasets, shortened, where there are several datasets and one encoder; else nothing.

    Embedded datasets are called ``"birds @ ENCODER"``: what stands behind every one of them tells none apart.
    """
    encoders = {cell.dataset.partition(_EMBEDDED_BY)[2] for cell in cells}
    if len(encoders) > 1 or len({cell.dataset for cell in cells}) < 2:
        return ""
    return printable(_short_encoder(encoders.pop()))


def short_encoders(encoders: Iterable[str]) -> dict[str, str]:
    """Short names of encoders by their specs; a spec stays whole where its short name would be that of another."""
    specs = dict.fromkeys(encoders)
    short = [_short_encoder(spec) for spec in specs]
    return {spec: name if short.count(name) == 1 else spec for spec, name in zip(specs, short, strict=True)}


def _short_encoder(spec: str) -> str:
    """A spec without its family, checkpoint and arguments: ``"timm:vit@/w.safetensors(size=96)"`` -> ``"vit"``."""
    name = re.split(r"[@(]", spec, maxsplit=1)[0]
    family, _, model = name.partition(":")
    return (model or family).rstrip("/").rpartition("/")[2] if family != "open_clip" else model


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested fields by dotted name: ``{"dataset": {"name": x}}`` -> ``("dataset.name", x)``."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _distinct(names: list[str], facts: list[dict[str, Any]]) -> list[str]:
    """Names with what differs among those that are equal: settings if that is enough, else digests."""
    labels = list(names)
    for name in {name for name in names if names.count(name) > 1}:
        places = [i for i, other in enumerate(names) if other == name]
        keys = list(dict.fromkeys(key for i in places for key in facts[i]))
        differ = [key for key in keys if len({repr(facts[i].get(key)) for i in places}) > 1]
        plain = [key for key in differ if not any(_DIGEST.fullmatch(str(facts[i].get(key))) for i in places)]
        digests = [key for key in differ if key not in plain]
        distinct = len({_facts(facts[i], differ) for i in places})
        shown = plain if len({_facts(facts[i], plain) for i in places}) == distinct else [*plain, *digests[:1]]
        if len({_facts(facts[i], shown) for i in places}) < distinct:
            shown = differ
        for i in places:
            labels[i] = f"{name} [{_facts(facts[i], shown)}]" if shown else name
    return labels


def _facts(facts: dict[str, Any], keys: list[str]) -> str:
    named = [(key.rpartition(".")[2], facts.get(key)) for key in keys]
    return ", ".join(f"no {name}" if value is None else f"{name} {_shown(value)}" for name, value in named)


def _shown(value: Any) -> str:
    text = str(value)
    if _DIGEST.fullmatch(text):
        return text[:6]
    return printable(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")
