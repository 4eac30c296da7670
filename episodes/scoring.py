"""How the predictions of a learner in a block of episodes become scores of its cell."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episodes.answers import Answers
from episodes.cell import Answered, Cell
from episodes.clock import Clock
from episodes.draw import Draw
from episodes.episode import Episode
from episodes.outliers import outlier_scores
from episodes.predictions import Predictions
from episodes.setting import allowed

OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


def score(cell: Cell, episode: Episode, targets: Tensor) -> Tensor:
    """Score of one learner in each episode ``[E]``, NaN where logits are not finite.

    Nothing here waits for an accelerator: predictions are counted, and bad ones reported, once per block.
    """
    clock = Clock(targets.device)
    try:
        logits = cell.learner(allowed(episode, cell.setting))
    except OutOfMemory:
        raise
    except Exception as error:
        if type(error) in (ValueError, RuntimeError, TypeError, IndexError):
            where = f"{cell.name!r} failed on {episode!r} ({episode.support.device})"
            raise type(error)(f"{where}: {error}") from error
        raise
    clock.stop()
    cell.clocks.append(clock)
    expected = [len(episode), targets.shape[1], episode.way]
    if not isinstance(logits, Tensor) or list(logits.shape) != expected:
        given = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"{cell.name!r} returned logits {given}; they must be [E, Q, N] = {expected}.")
    metric, outliers = cell.metric, None
    if metric.open_set:
        outliers = outlier_scores(cell.learner, episode, logits)
        if outliers.shape != targets.shape:
            raise ValueError(f"{cell.name!r} gave outlier scores {list(outliers.shape)}; they must be [E, Q].")
    answers = Answers(logits, targets, outliers)
    assert metric.function is not None  # evaluate refuses metrics that were read from a file
    scores = metric.function(answers)
    if not isinstance(scores, Tensor) or scores.shape != (len(episode),):
        given = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"metric {metric.name!r} gave {given}; it must give a tensor [E] = [{len(episode)}].")
    if cell.keep_predictions:
        assert episode.ids is not None
        cell.answered.append(
            Answered(episode.ids, answers.known, answers.predicted, answers.confidence, answers.log_likelihood)
        )
    fine = answers.best.values.isfinite().all(1)
    if outliers is not None:
        fine &= ~outliers.isnan().any(1)
    return torch.where(fine, scores.double().nan_to_num(torch.inf, torch.inf, -torch.inf), torch.nan)


def record(cell: Cell, scores: Tensor, drawn: Draw, first: int) -> None:
    """Move the scores of one block of episodes to the cell, and the predictions where they are kept."""
    stop = first + len(scores)
    if stop <= cell.done:
        return
    new = slice(max(cell.done - first, 0), len(scores))
    values = scores.cpu().numpy()[new]
    counts = (drawn.targets >= 0).sum(1).numpy()[new]
    cell.seconds += sum(clock.seconds() for clock in cell.clocks)
    cell.clocks.clear()
    _check(cell, values, first + new.start)
    cell.scores[first + new.start : stop] = values
    same = int(counts[0]) if (counts == counts[0]).all() and cell.metric.counts else 0
    cell.query_count = same if cell.query_count in (None, same) else 0
    cell.done = stop
    if cell.keep_predictions:
        cell.kept.append(_predictions(cell, drawn, first, new))
        cell.answered.clear()


def _check(cell: Cell, values: NDArray[np.float64], first: int) -> None:
    """Refuse scores that are not finite or out of range, and name the episode."""
    low, high = cell.metric.bounds
    wrong = ~np.isfinite(values) | (values < low - 1e-9) | (values > high + 1e-9)
    if not wrong.any():
        return
    number, score = first + int(wrong.argmax()), float(values[wrong.argmax()])
    what = "returned NaN or no finite logit in"
    if not np.isnan(score):
        what = f"has {cell.metric.name} = {score:g}, which is not finite or outside {low:g} to {high:g}, in"
    raise ValueError(
        f"{cell.name!r} {what} episode {number}; look at its rows there: sampler.draw(first={number}, count=1)."
    )


def _predictions(cell: Cell, drawn: Draw, first: int, new: slice) -> Predictions:
    """The predictions for the new episodes of a block, as rows and classes of the dataset."""
    known = (drawn.targets >= 0).numpy()  # [E, Q]
    counts = known.sum(1)
    starts = np.cumsum(counts) - counts  # [E]
    columns = {"predicted": np.int64, "confidence": np.float32, "log_likelihood": np.float32}
    found = {name: np.zeros(counts.sum(), dtype) for name, dtype in columns.items()}
    for part in cell.answered:  # where memory ran out, some episodes were evaluated twice: the same
        here = part.known.cpu().numpy()
        place = (starts[part.ids.cpu().numpy() - first, None] + here.cumsum(1) - 1)[here]
        for name, column in found.items():
            column[place] = getattr(part, name).float().cpu().numpy()[here]
    episode = np.repeat(np.arange(len(counts)), counts)
    way, classes = drawn.targets.numpy()[known], drawn.classes.numpy()
    cut = slice(int(starts[new.start]), None)
    return Predictions(
        counts=counts[new].astype(np.int32), rows=drawn.query.numpy()[known][cut],
        targets=classes[episode, way][cut].astype(np.int32),
        predicted=classes[episode, found["predicted"]][cut].astype(np.int32),
        confidence=found["confidence"][cut], log_likelihood=found["log_likelihood"][cut],
        class_names=tuple(map(str, cell.source.class_names)),
    )  # fmt: skip
