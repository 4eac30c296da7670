"""`Results`: cells of any number of learners and tasks; JSON Lines on disk, a table when printed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from episodes.files import write_atomically
from episodes.predictions import predictions_path
from episodes.printable import printable
from episodes.report.tables import to_html_table, to_text
from episodes.result import Result, describe_evaluation, group_by_evaluation, longest
from episodes.results_file import ResultsFile as ResultsFile
from episodes.results_file import line_of, read_lines

_PRINTED = 120  # letters of a line


class Results(Mapping[str, Result]):
    """Cells by learner name, across any number of tasks.

    ``results["ridge"]`` is the one cell of that learner; where there are several, choose the task first:
    ``results.select(shot=5)["ridge"]``. ``print(results)`` is a table, `save` and `load` are JSON Lines.
    """

    def __init__(self, cells: Iterable[Result] = ()) -> None:
        self.cells: list[Result] = list(cells)

    def select(self, **wanted: Any) -> Results:
        """The cells with these values: ``select(way=5, shot=1)``, ``select(dataset="digits", metric="auroc")``."""
        return Results(cell for cell in self.cells if all(_value(cell, k) == v for k, v in wanted.items()))

    def evaluations(self) -> list[Results]:
        """One `Results` per dataset, sampler and metric, in order of first appearance; cells within are paired."""
        return [Results(cells) for cells in group_by_evaluation(self.cells)]

    def exams(self) -> list[Results]:
        """The old name of `evaluations`."""
        warnings.warn(".exams() is now called .evaluations().", DeprecationWarning, stacklevel=2)
        return self.evaluations()

    def __getitem__(self, learner: str) -> Result:
        """The one cell of that learner."""
        found = [cell for cell in self.cells if cell.learner == learner]
        if not found:
            names = ", ".join(dict.fromkeys(cell.learner for cell in self.cells)) or "none"
            raise KeyError(f"no result named {learner!r}; there are: {names}.")
        if len(found) > 1:
            tasks = "; ".join(map(describe_evaluation, found))
            raise KeyError(f"{learner!r} has {len(found)} results ({tasks}); choose one first: select(shot=...).")
        return found[0]

    def __iter__(self) -> Iterator[str]:
        """Learner names, each once."""
        return iter(dict.fromkeys(cell.learner for cell in self.cells))

    def __len__(self) -> int:
        """Number of learners."""
        return len(set(cell.learner for cell in self.cells))

    def __add__(self, other: Results) -> Results:
        """Both, where a longer run of the same recipe replaces a shorter one."""
        return Results(longest([*self.cells, *other.cells]))

    def save(self, path: str | Path) -> None:
        """Write all cells to a JSON Lines file, replacing it in one step, and predictions that were kept beside it."""
        path = Path(path)
        for cell in self.cells:
            if cell.kept is not None:
                cell.predictions.save(predictions_path(path, cell.key), cell.key)
        write_atomically(path, "".join(map(line_of, self.cells)).encode())

    @classmethod
    def load(cls, *paths: str | Path) -> Results:
        """Read JSON Lines files; of equal recipes the longest run is kept.

        Lines that a crash or a bad disk made unreadable are left out with a warning.

        Raises:
            ValueError: a line is not a sound result of this library (file, line and field are named).
        """
        return cls(longest(cell for path in paths for cell in read_lines(Path(path))))

    def to_pandas(self) -> Any:
        """One row per cell as a `pandas.DataFrame`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        columns = ("learner", "dataset", "way", "shot", "episodes", "mean", "ci95", "interval", "seconds")
        rows = [{**{name: getattr(cell, name) for name in columns}, "metric": cell.metric.name} for cell in self.cells]
        return pandas.DataFrame(rows, columns=[*columns, "metric"])

    def __str__(self) -> str:
        return to_text(self, _PRINTED)

    def _repr_html_(self) -> str:
        """The table, as notebooks show it."""
        return to_html_table(self)

    def __repr__(self) -> str:
        return f"Results({', '.join(f'{printable(cell.learner)}: {cell}' for cell in self.cells)})"


def _value(cell: Result, name: str) -> Any:
    if name in ("dataset", "learner"):
        return getattr(cell, name)
    return cell.metric.name if name == "metric" else cell.evaluation.get(name)
