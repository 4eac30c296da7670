"""Which learner is best where: in sentences, as a table of tasks, and over all tasks with ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episodes.naming import learner_names, short_encoders
from episodes.printable import printable
from episodes.report.grid import Grid
from episodes.result import Result, describe_evaluation


@dataclass(frozen=True)
class Standing:
    """A learner over all tasks that every learner of the table was evaluated on.

    Attributes:
        learner: its name.
        mean: of its means over tasks.
        rank: mean rank over tasks; 1 is best, ties share theirs.
        best: tasks on which it has the best mean.
        near: tasks on which it does not differ from the best.
    """

    learner: str
    mean: float
    rank: float
    best: int
    near: int


@dataclass(frozen=True)
class Best:
    """A task and who is best on it.

    Attributes:
        task: its name.
        winner: the learner with the best mean.
        score: as written.
        equals: learners that do not differ from it.
    """

    task: str
    winner: str
    score: str
    equals: list[str]


def standings(table: Grid) -> list[Standing]:
    """Learners by mean rank, best first; empty where there are fewer than two learners or two tasks in common."""
    tasks = [task for task in table.tasks if all((learner, task) in table.cells for learner in table.learners)]
    if len(tasks) < 2 or len(table.learners) < 2:
        return []
    from scipy.stats import rankdata

    means = np.array([[table.cells[learner, task].mean for task in tasks] for learner in table.learners])  # [L, T]
    ranks = rankdata(-means if table.metric.higher_is_better else means, axis=0)
    made = [
        Standing(
            learner, float(means[number].mean()), float(ranks[number].mean()),
            sum((learner, task) in table.best for task in tasks), sum((learner, task) in table.near for task in tasks),
        )
        for number, learner in enumerate(table.learners)
    ]  # fmt: skip
    return sorted(made, key=lambda one: one.rank)


def best_of_tasks(table: Grid) -> list[Best]:
    """One line for each task with several learners."""
    made = []
    for task in table.tasks:
        winners = [learner for learner in table.learners if (learner, task) in table.best]
        if winners:
            equals = [learner for learner in table.learners if (learner, task) in table.near]
            made.append(Best(task, winners[0], table.cells[winners[0], task].written(), [*winners[1:], *equals]))
    return made


def summary(tables: Sequence[Grid]) -> list[str]:
    """What the tables say, in a sentence or two each."""
    return [sentence for table in tables for sentence in _sentences(table)]


def _sentences(table: Grid) -> list[str]:
    cells = list(table.cells.values())
    episodes = sum(cell.episodes for cell in cells)
    name = printable(table.metric.name)
    if len(table.learners) == 1:
        learner = table.learners[0]
        ends = sorted(cells, key=lambda cell: table.metric.scaled(cell.mean))
        unit = f" {table.metric.unit}" if table.metric.unit else ""
        span = f"{ends[0].written()}{unit}" if len(cells) == 1 else f"{ends[0].written()} to {ends[-1].written()}{unit}"
        return [f"{learner}: {name} of {span} on {_tasks(len(table.tasks))}, over {episodes:,} episodes."]
    won = best_of_tasks(table)
    if not won:
        return [f"{name.capitalize()} of {len(table.learners)} learners; no two were evaluated on the same task."]
    best = {learner: sum(holder == learner for holder, _ in table.best) for learner in table.learners}  # ties count
    leader = max(table.learners, key=lambda learner: best[learner])
    clear = sum(one.winner == leader and not one.equals for one in won)
    said = (
        f"By {name}, {leader} is best on {best[leader]} of {_tasks(len(won))}"
        f"{f', on {clear} of them clearly (exact paired test, Holm, 5 %)' if clear else ', nowhere clearly'}; "
        f"{len(table.learners)} learners, {episodes:,} episodes scored."
    )
    order = standings(table)
    if order and order[0].learner != leader:
        said += f" Over all tasks {order[0].learner} has the best mean rank, {order[0].rank:.2f}."
    return [said]


def _tasks(count: int) -> str:
    return f"{count} task{'s' if count > 1 else ''}"


def same_episodes(cells: Sequence[Result]) -> list[tuple[list[Result], str]]:
    """Groups of cells with the same episodes of the same labels, but rows of several encoders.

    Episodes are row numbers that depend on labels and sampler alone, so scores of the same learner on features of two
    encoders are paired. Each cell of a group carries the encoder's name in place of the learner's, and the evaluation
    of the first, so that `compare` takes them.

    Returns:
        Groups, each with the name of its learner and task.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    names = dict(zip(map(id, cells), learner_names(cells), strict=True))
    for cell in cells:
        embedding = cell.provenance.get("embedding")
        if isinstance(embedding, dict) and "encoder" in embedding and "labels" in cell.evaluation:
            alike = {**cell.evaluation, "dataset": str(embedding.get("dataset"))}
            groups.setdefault((names[id(cell)], repr(sorted(alike.items(), key=str))), []).append(cell)
    short = short_encoders(str(cell.provenance["embedding"]["encoder"]) for group in groups.values() for cell in group)
    made = []
    for (learner, _), group in groups.items():
        encoders = [str(cell.provenance["embedding"]["encoder"]) for cell in group]
        if len(set(encoders)) < 2 or len(set(encoders)) < len(group):
            continue
        evaluation = {**group[0].evaluation, "dataset": {"name": str(group[0].provenance["embedding"]["dataset"])}}
        recipe = {"learner": {"spec": learner}, "evaluation": evaluation}
        paired = [
            Result(
                short[encoder], {**recipe, "encoder": encoder}, cell.scores, cell.query_count, interval=cell.interval
            )
            for encoder, cell in zip(encoders, group, strict=True)
        ]
        made.append((paired, f"{learner}, {describe_evaluation(paired[0])}"))
    return made
