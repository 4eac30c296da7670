"""Tables of results: learners by exams, the best of each exam marked."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from episodes.comparison import compare, describe_exam
from episodes.results import Result, Results
from episodes.samplers.task_label import classes_note
from episodes.statistics import holm

_INTERVALS = {
    "episodes": "over sampled episodes: the dataset is taken as given",
    "disjoint": "over disjoint episodes: the sampling of the data is covered too",
}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """Cells by learner (row) and exam (column).

    Attributes:
        learners: row names.
        exams: column names.
        cells: by (learner, exam).
        best: cells with the highest mean of their exam.
        near: cells that do not differ from the best at the 5 % level (paired, exact, Holm).
        notes: which interval, and over how many episodes.
    """

    learners: list[str]
    exams: list[str]
    cells: dict[tuple[str, str], Result]
    best: set[tuple[str, str]]
    near: set[tuple[str, str]]
    notes: list[str]


def grid(results: Results) -> Grid:
    """Arrange results; comparisons within an exam are paired."""
    cells: dict[tuple[str, str], Result] = {}
    best: set[tuple[str, str]] = set()
    near: set[tuple[str, str]] = set()
    columns = _column_names(results)
    for exam, column in zip(results.exams(), columns, strict=True):
        cells.update({(cell.learner, column): cell for cell in exam.cells})
        if len(exam.cells) < 2:
            continue
        top = max(exam.cells, key=lambda cell: cell.mean)
        best.update((cell.learner, column) for cell in exam.cells if cell.mean == top.mean)
        others = [cell for cell in exam.cells if cell is not top]
        adjusted = holm([compare(top, cell).p_value for cell in others])
        near.update((cell.learner, column) for cell, p in zip(others, adjusted, strict=True) if p > 0.05)
    notes = []
    for interval in dict.fromkeys(cell.interval for cell in results.cells):
        counts = sorted({cell.episodes for cell in results.cells if cell.interval == interval})
        many = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
        notes.append(f"± is the 95 % interval {_INTERVALS[interval]}; {many} episodes")
    for exam, column in zip(results.exams(), columns, strict=True):
        if note := classes_note(exam.cells[0].exam):
            notes.append(f"{column}: episodes are drawn {note}")
    if near - best:
        notes.append("* best, ~ not significantly different from it (paired exact test, Holm, 5 %)")
    elif best:
        notes.append("* best (paired exact test against the others, Holm, 5 %)")
    return Grid(list(results), columns, cells, best, near - best, notes)


def to_text(results: Results) -> str:
    """An aligned table of accuracies in percent, for a terminal."""
    if not results.cells:
        return "no results"
    table = grid(results)
    body = []
    for learner in table.learners:
        row = [learner]
        for exam in table.exams:
            cell = table.cells.get((learner, exam))
            place = (learner, exam)
            mark = "*" if place in table.best else "~" if place in table.near else " "
            row.append(f"{_number(cell)} {mark}" if cell else "-  ")
        body.append(row)
    head = ["accuracy in %", *(f"{exam}  " for exam in table.exams)]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(row[1:], widths[1:], strict=True))])
             for row in [head, *body]]  # fmt: skip
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), rule, *table.notes])


def to_csv(results: Results) -> str:
    """One row per cell, numbers as fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = (
        "learner",
        "dataset",
        "way",
        "shot",
        "query",
        "seed",
        "episodes",
        "mean",
        "ci95",
        "interval",
        "seconds",
        "key",
    )
    writer.writerow(names)
    for cell in results.cells:
        exam = cell.exam
        writer.writerow(
            [cell.learner, cell.dataset, cell.way, cell.shot, exam.get("query"), exam.get("seed"), cell.episodes,
             f"{cell.mean:.6f}", f"{cell.ci95:.6f}", cell.interval, f"{cell.seconds:.3f}", cell.key]
        )  # fmt: skip
    return out.getvalue()


def to_latex(results: Results) -> str:
    """A booktabs table; the best of each exam in bold, those not different from it underlined."""
    table = grid(results)
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * len(table.exams)}}}",
        r"\toprule",
        " & ".join(["Learner", *map(escape_latex, table.exams)]) + r" \\",
        r"\midrule",
    ]
    for learner in table.learners:
        row = [escape_latex(learner)]
        for exam in table.exams:
            cell, place = table.cells.get((learner, exam)), (learner, exam)
            value = f"${100 * cell.mean:.2f} \\pm {100 * cell.ci95:.2f}$" if cell else "--"
            if place in table.best:
                value = rf"\textbf{{{value.replace('$', '')}}}" if not cell else rf"$\mathbf{{{value.strip('$')}}}$"
            elif place in table.near:
                value = rf"\underline{{{value}}}"
            row.append(value)
        lines.append(" & ".join(row) + r" \\")
    notes = "".join(f"\n% {note}" for note in table.notes)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + notes + "\n"


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters made harmless."""
    return "".join(_LATEX.get(character, character) for character in text)


def _number(cell: Result) -> str:
    return f"{100 * cell.mean:.2f} ± {100 * cell.ci95:.2f}"


def _column_names(results: Results) -> list[str]:
    exams = results.exams()
    names = [describe_exam(exam.cells[0]) for exam in exams]
    shared = {exam.cells[0].dataset for exam in exams}
    if len(shared) == 1:
        names = [name.removeprefix(f"{next(iter(shared))} ") for name in names]
    twice = {name for name in names if names.count(name) > 1}
    return [  # exams that differ in something else (seed, query, split) are told apart by their key
        f"{name} [{exam.cells[0].exam_key[:4]}]" if name in twice else name
        for name, exam in zip(names, exams, strict=True)
    ]
