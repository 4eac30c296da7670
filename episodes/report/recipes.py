"""How results came about, in words: task, learner, encoder, versions, and how to cite the software."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from episodes.printable import printable
from episodes.result import Result
from episodes.samplers.task_label import classes_note

CITATION = """@software{fewshot,
  title = {fewshot: few-shot and zero-shot learning with reproducible episodes},
  author = {{The fewshot authors}},
  version = {VERSION},
  url = {https://github.com/fewshot/fewshot},
}"""


def in_words(cell: Result) -> list[str]:
    """The recipe of a cell in sentences."""
    evaluation, embedding = cell.evaluation, cell.provenance.get("embedding")
    way = f"{cell.way} classes" if cell.way else "a varying number of classes"
    shot = "a varying number of" if cell.shot is None else f"{cell.shot}"
    said = [
        f"{cell.episodes:,} episodes of {way}, {shot} labelled rows of each, "
        f"{evaluation.get('query', 'all remaining')} queries of each; sampler {evaluation.get('sampler', 'fixed')}, "
        f"seed {evaluation.get('seed', 'none')}{_classes(evaluation)}."
    ]
    said.append(f"Learner: {cell.recipe.get('learner', {}).get('spec', cell.learner)}.")
    if isinstance(parameters := cell.provenance.get("parameters"), int):
        said.append(
            f"It has {parameters:,} weights, which its name does not say: where they were trained, a command needs "
            "--weights FILE for the same scores."
        )
    if isinstance(embedding, dict):
        rows = embedding.get("rows")
        many = f"{rows:,} rows" if isinstance(rows, int) else "Rows"
        said.append(
            f"{many} of {embedding.get('dataset')}, embedded by {embedding.get('encoder')} "
            f"in {embedding.get('precision')}."
        )
    day = cell.environment.get("date")
    versions = ", ".join(f"{name} {value}" for name, value in cell.environment.items() if name != "date")
    when = f" on {day}" if day else ""
    said.append(f"Computed{when} in {cell.seconds:.1f} s{f' with {versions}' if versions else ''}.")
    return [printable(sentence) for sentence in said]


def days(cells: Sequence[Result]) -> str:
    """When results were computed, as far as they say: ``on 2026-11-26``, or from the first day to the last."""
    known = sorted({str(cell.environment["date"]) for cell in cells if "date" in cell.environment})
    if len(known) < 2:
        return printable(f"on {known[0]}") if known else ""
    return printable(f"from {known[0]} to {known[-1]}")


def command(cell: Result) -> str:
    """A command that evaluates the same again; DATA stands for a dataset that has no name of its own.

    Empty for episodes that no command draws, and for learners without a spec.
    """
    from episodes.datasets import list_datasets

    evaluation, spec = cell.evaluation, cell.recipe.get("learner", {}).get("spec")
    if (
        evaluation.get("sampler") not in ("fixed", "disjoint")
        or not isinstance(spec, str)
        or not cell.way
        or not cell.shot
    ):
        return ""
    embedding = cell.provenance.get("embedding")
    held = embedding if isinstance(embedding, dict) else {}
    name = str(held.get("dataset", cell.dataset))
    data = name if name.partition(":")[0] in list_datasets() else "DATA"
    words = ["fewshot", "evaluate", "--data", data]
    words += ["--encoder", str(held["encoder"])] if "encoder" in held else []
    words += [
        "--learner",
        spec,
        "--way",
        str(cell.way),
        "--shot",
        str(cell.shot),
        "--query",
        str(evaluation.get("query")),
    ]
    words += ["--seed", str(evaluation.get("seed")), "--episodes", str(cell.episodes)]
    words += ["--disjoint"] if evaluation["sampler"] == "disjoint" else []
    words += [] if cell.metric.name == "accuracy" else ["--metric", cell.metric.name]
    return shlex.join(words)


def _classes(evaluation: dict[str, Any]) -> str:
    note = classes_note(evaluation)
    return f"; episodes are drawn {note}" if note else ""


def as_json(cell: Result) -> str:
    """All that is known of how a cell came about."""
    kept = {"recipe": cell.recipe, "environment": cell.environment, "provenance": cell.provenance}
    return json.dumps(kept, indent=1)


def package_version() -> str:
    """Of the distribution that this package is part of."""
    try:
        return version("fewshot")
    except PackageNotFoundError:
        return "unknown"


def citation() -> str:
    """How to cite the software, for BibTeX."""
    return CITATION.replace("VERSION", package_version())
