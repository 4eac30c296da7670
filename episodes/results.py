"""`Results`: per-episode scores with the full recipe; JSON Lines on disk, resumable, citable."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA = "fewshot-results/1"
_LOG = logging.getLogger("episodes")


def recipe_hash(recipe: Any) -> str:
    """A digest of JSON values that does not depend on the order of keys."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Result:
    """One cell: the scores of one learner on one exam.

    Attributes:
        learner: the name given by the user.
        recipe: all that the scores depend on, ``{"learner": {...}, "exam": {...}}``; the number of episodes is
            not in it, because episode e is the same in a short and in a long run.
        scores: accuracy of each episode in 0..1 ``[episodes]``.
        query_count: marked queries per episode; 0 if it varies.
        seconds: time spent in the learner.
        environment: versions and device: what the scores should not depend on.
        interval: ``"episodes"``: the interval describes the drawing of episodes from this dataset (the
            field's habit); ``"disjoint"``: no two episodes share a row, so it covers the data too.
        provenance: where the rows came from, such as counts of embedding cache hits.
    """

    learner: str
    recipe: dict[str, Any]
    scores: NDArray[np.float64]
    query_count: int = 0
    seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    interval: str = "episodes"
    provenance: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Digest of the recipe: equal keys mean equal scores."""
        return recipe_hash(self.recipe)

    @cached_property
    def exam_key(self) -> str:
        """Digest of the exam alone: results with equal exam keys are paired."""
        return recipe_hash(self.recipe["exam"])

    @property
    def mean(self) -> float:
        """Mean accuracy in 0..1."""
        return float(self.scores.mean())

    @cached_property
    def ci95(self) -> float:
        """Half the width of the 95 % interval of the mean, in 0..1."""
        from episodes.statistics import mean_interval

        return mean_interval(self.scores)

    @property
    def episodes(self) -> int:
        """Number of episodes marked."""
        return len(self.scores)

    @property
    def exam(self) -> dict[str, Any]:
        """The exam part of the recipe: dataset, sampler, way, shot, query, seed."""
        return self.recipe["exam"]

    @property
    def way(self) -> int | None:
        """Classes per episode, None if it varies."""
        return self.exam.get("way")

    @property
    def shot(self) -> int | None:
        """Support rows per class, None if it varies."""
        return self.exam.get("shot")

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.exam["dataset"]["name"])

    def __str__(self) -> str:
        """Percent with the interval: ``71.32 ± 0.41 (95 %, 2,000 episodes)``."""
        what = "episodes" if self.interval == "episodes" else f"{self.interval} episodes"
        return f"{100 * self.mean:.2f} ± {100 * self.ci95:.2f} (95 %, {self.episodes:,} {what})"

    def to_json(self) -> dict[str, Any]:
        """This cell as one JSON object; scores are stored as counts, which are exact."""
        if self.query_count:
            marks = {"correct": np.rint(self.scores * self.query_count).astype(int).tolist()}
        else:
            marks = {"scores": self.scores.tolist()}
        return {
            "schema": SCHEMA, "key": self.key, "learner": self.learner, "recipe": self.recipe,
            "episodes": self.episodes, "mean": self.mean, "ci95": None if np.isnan(self.ci95) else self.ci95,
            "interval": self.interval, "seconds": round(self.seconds, 4), "environment": self.environment,
            "provenance": self.provenance, "query_count": self.query_count, **marks,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """The cell that `to_json` wrote.

        Raises:
            ValueError: another format, or scores that do not belong to the recipe beside them.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            given = data.get("schema") if isinstance(data, Mapping) else type(data).__name__
            raise ValueError(f"not a result of this library: schema is {given!r}, expected {SCHEMA!r}.")
        if data["key"] != recipe_hash(data["recipe"]):
            raise ValueError(
                f"the result {data['learner']!r} carries the key {data['key']} of another recipe "
                f"({recipe_hash(data['recipe'])}); it was edited or mixed up. Remove that line and run it again."
            )
        count = int(data["query_count"])
        scores = np.asarray(data["correct"], np.float64) / count if count else np.asarray(data["scores"], float)
        return cls(
            data["learner"], data["recipe"], scores, count, float(data["seconds"]),
            data["environment"], data["interval"], data["provenance"],
        )  # fmt: skip


class Results(Mapping[str, Result]):
    """Cells by learner name, across any number of exams.

    ``results["ridge"]`` is the one cell of that learner; where a grid holds several, choose the exam first:
    ``results.select(shot=5)["ridge"]``. ``print(results)`` is a table, `save` and `load` are JSON Lines.
    """

    def __init__(self, cells: Iterable[Result] = ()) -> None:
        self.cells: list[Result] = list(cells)

    def select(self, **wanted: Any) -> Results:
        """The cells whose exam has these values: ``select(way=5, shot=1)``, ``select(dataset="digits")``."""
        kept = [
            cell
            for cell in self.cells
            if all((cell.dataset if k == "dataset" else cell.exam.get(k)) == v for k, v in wanted.items())
        ]
        return Results(kept)

    def exams(self) -> list[Results]:
        """One `Results` per exam, in order of first appearance; cells within one are paired."""
        groups: dict[str, list[Result]] = {}
        for cell in self.cells:
            groups.setdefault(cell.exam_key, []).append(cell)
        return [Results(cells) for cells in groups.values()]

    def __getitem__(self, learner: str) -> Result:
        """The one cell of that learner."""
        found = [cell for cell in self.cells if cell.learner == learner]
        if not found:
            names = ", ".join(dict.fromkeys(cell.learner for cell in self.cells)) or "none"
            raise KeyError(f"no result named {learner!r}; there are: {names}.")
        if len(found) > 1:
            exams = "; ".join(f"{c.dataset} {c.way}-way {c.shot}-shot" for c in found)
            raise KeyError(f"{learner!r} sat {len(found)} exams ({exams}); choose one first: select(shot=...).")
        return found[0]

    def __iter__(self) -> Iterator[str]:
        """Learner names, each once."""
        return iter(dict.fromkeys(cell.learner for cell in self.cells))

    def __len__(self) -> int:
        """Number of learners."""
        return len(set(cell.learner for cell in self.cells))

    def __add__(self, other: Results) -> Results:
        """Both, where a longer run of the same recipe replaces a shorter one."""
        return Results(_longest([*self.cells, *other.cells]))

    def save(self, path: str | Path) -> None:
        """Write all cells to a JSON Lines file, replacing it in one step."""
        text = "".join(_line(cell) for cell in self.cells)
        write_atomically(Path(path), text.encode())

    @classmethod
    def load(cls, *paths: str | Path) -> Results:
        """Read JSON Lines files; of equal recipes the longest run is kept.

        Raises:
            ValueError: a line is not a result of this library (named by file and line number).
        """
        return cls(_longest(cell for path in paths for cell in read_lines(Path(path))))

    def to_pandas(self) -> Any:
        """One row per cell as a `pandas.DataFrame` (needs pandas)."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        columns = ("learner", "dataset", "way", "shot", "episodes", "mean", "ci95", "interval", "seconds")
        return pandas.DataFrame([{name: getattr(cell, name) for name in columns} for cell in self.cells])

    def __str__(self) -> str:
        from episodes.report import to_text

        return to_text(self)

    def __repr__(self) -> str:
        return f"Results({', '.join(f'{cell.learner}: {cell}' for cell in self.cells)})"


class ResultsFile:
    """A JSON Lines file that a run adds to, and from which the same run resumes.

    Each finished cell is one appended line, flushed to disk, so several processes may share the file. A cell
    in progress has a small side file ``.<name>.<key>.partial`` that is replaced as it grows.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._cells = {cell.key: cell for cell in _longest(read_lines(self.path))} if self.path.exists() else {}

    def finished(self, key: str) -> Result | None:
        """The cell with that key, if the file has it."""
        return self._cells.get(key)

    def progress(self, key: str) -> tuple[NDArray[np.float64], int | None]:
        """Scores known for that key, of a shorter or an interrupted run, and their `query_count`."""
        cell = self.finished(key)
        known, count = (cell.scores, cell.query_count) if cell else (np.zeros(0), None)
        side = self._side(key)
        if side.exists():
            try:
                data = json.loads(side.read_text())
                partial = np.asarray(data["scores"], float)
                if len(partial) > len(known):
                    return partial, int(data["query_count"])
            except (ValueError, KeyError, TypeError):
                _LOG.warning("%s is not readable; the work it stands for is done again.", side)
        return known, count

    def save_progress(self, key: str, scores: NDArray[np.float64], query_count: int) -> None:
        """Keep the scores of a cell in progress."""
        data = {"schema": SCHEMA, "query_count": query_count, "scores": scores.tolist()}
        write_atomically(self._side(key), json.dumps(data).encode())

    def append(self, cell: Result) -> None:
        """Add a finished cell."""
        torn = self.path.exists() and not _ends_with_newline(self.path)
        line = ("\n" if torn else "") + _line(cell)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        self._cells[cell.key] = cell
        self._side(cell.key).unlink(missing_ok=True)

    def _side(self, key: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{key}.partial")


def read_lines(path: Path) -> Iterator[Result]:
    """The cells of a JSON Lines file; a last line torn by a crash is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            if not line.endswith("\n") or _torn(line):
                _LOG.warning("%s: line %d is incomplete (an interrupted write); left out.", path, number)
                continue
            raise ValueError(f"{path}, line {number}: not JSON ({error.msg}); not a results file?") from None
        try:
            yield Result.from_json(data)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _longest(cells: Iterable[Result]) -> list[Result]:
    best: dict[tuple[str, str], Result] = {}
    for cell in cells:
        place = (cell.key, cell.learner)
        if place not in best or cell.episodes > best[place].episodes:
            best[place] = cell
    return list(best.values())


def _line(cell: Result) -> str:
    return json.dumps(cell.to_json(), ensure_ascii=False, allow_nan=False) + "\n"


def _torn(line: str) -> bool:
    # Every line of ours starts with the schema; one that does and is no JSON was cut by a crash.
    return line.startswith('{"schema": "' + SCHEMA)


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
