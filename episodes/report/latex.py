"""Tables of results in LaTeX, folded to fit on a page."""

from __future__ import annotations

from collections.abc import Iterable

from episodes.printable import printable
from episodes.report.grid import Grid, folded, grids
from episodes.result import HasCells, Result

_PAGE = 75  # letters that fit beside each other in LaTeX's own article, at 10 points
_LINES = 45  # of a table in LaTeX, so that it stays on its page
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
}  # fmt: skip


def to_latex(results: HasCells | Iterable[Result]) -> str:
    """A booktabs table and its caption for each metric; the best of a task in bold, those not different underlined.

    Tasks that do not fit beside each other on a page are folded as `to_text` folds them, below the others in the same
    table; what does not fit below each other goes on in a further one.
    """
    return "\n".join(["% needs \\usepackage{booktabs}", *map(_latex, grids(results))])


def _latex(table: Grid) -> str:
    tabulars = _tabulars(table, "", {task: task for task in table.tasks})
    if len(tabulars) > 1:
        tabulars = [part for dataset, tasks in table.parts() for part in _tabulars(table, dataset, tasks)]
    most = max(1, _LINES // (len(table.learners) + 3))
    lines = [f"% {printable(table.metric.heading)}"]
    for first in range(0, len(tabulars), most):
        caption = rf"\caption{{{f'{_heading(table)}, continued.' if first else _caption(table)}}}"
        held = "\n\n\\medskip\n".join(tabulars[first : first + most])
        lines += [r"\begin{table}", r"\centering", caption, held, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _tabulars(table: Grid, dataset: str, tasks: dict[str, str]) -> list[str]:
    """Some tasks under the name of their dataset, as many beside each other as fit on a page."""
    rows = [[learner, *(_written(table, learner, task) for task in tasks)] for learner in table.learners]
    shown = [["Learner", *tasks.values()], *rows]
    parts = []
    for columns in folded([max(len(row[i]) for row in shown) for i in range(len(shown[0]))], _PAGE):
        chosen = [list(tasks)[column - 1] for column in columns]
        heading = [rf"\multicolumn{{{len(chosen) + 1}}}{{l}}{{{escape_latex(dataset)}}} \\"] if dataset else []
        head = ["Learner", *(escape_latex(tasks[task]) for task in chosen)]
        body = [[escape_latex(learner), *(_latex_cell(table, learner, task) for task in chosen)]
                for learner in table.learners]  # fmt: skip
        lines = [
            rf"\begin{{tabular}}{{l{'r' * len(chosen)}}}",
            r"\toprule",
            *heading,
            " & ".join(head) + r" \\",
            r"\midrule",
        ]
        lines += [" & ".join(row) + r" \\" for row in body]
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    return parts


def _written(table: Grid, learner: str, task: str) -> str:
    """A cell without any mark."""
    cell = table.cells.get((learner, task))
    return cell.written() if cell else "-"


def _latex_cell(table: Grid, learner: str, task: str) -> str:
    place = (learner, task)
    if place not in table.cells:
        return "--"
    value = _written(table, learner, task).replace("±", r"\pm")
    if place in table.best:
        return rf"$\mathbf{{{value}}}$"
    return rf"\underline{{${value}$}}" if place in table.near else f"${value}$"


def _caption(table: Grid) -> str:
    """What is in the cells, which interval, and what bold and underlined mean."""
    parts = [*table.notes, *table.legend("bold:", "underlined:")]
    return ". ".join([_heading(table), *map(escape_latex, parts)]).replace("±", r"$\pm$") + "."


def _heading(table: Grid) -> str:
    return escape_latex(f"{table.metric.heading[0].upper()}{table.metric.heading[1:]}")


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters made harmless."""
    return "".join(_LATEX.get(character, character) for character in printable(text))
