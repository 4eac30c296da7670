"""A learner that has adapted to one task, and answers queries in steps of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.classifier.folds import held_out_folds, some_rows
from fewshot.learner import Learner
from fewshot.maths.held_out import without_rows
from fewshot.maths.precision import readable

# Numbers held by one step: 64 MB in float32, more than any processor cache and less than any memory.
_STEP_NUMBERS = 2**24
_GAP_ROWS = 128  # whose mean tells how sure of its own examples a learner is
_FOLD_ROWS = 512  # of a fold that are asked about, where not all have to be


class HeldOut(NamedTuple):
    """Examples that were held out of their fold."""

    logits: Tensor  # [R, N]
    labels: Tensor  # [R]
    gap: Tensor  # [R], the `own_gap` of the learner that was asked; 1 where it is transductive, or all were asked
    rows: Tensor  # [R], their places among the examples


class Adapted:
    """A learner and its state for one task.

    Args:
        learner: moved to the device and precision of the episodes, so it must be a copy of its own.
        episode: the task: examples, labels and class text ``[E, S, *x]``, without queries. E is 1, or the number
            of classes where each is a task of its own (class against not that class).

    Raises:
        ValueError: the learner needs something that the episode lacks.
    """

    def __init__(self, learner: Learner, episode: Support) -> None:
        self.learner = learner.to(episode.support.device).eval()
        with torch.no_grad():
            self.learner.check(episode)
            self.episode = readable(episode, self.learner)
            self.learner.to(self.episode.support.dtype)
            self.state = self.learner.adapt(self.episode)
        self.asked: tuple[Tensor, Tensor] | None = None  # logits and classes of labelled rows that were not fitted
        self.folds: Any = None  # copies that have not seen some examples, made when sets of classes are asked for

    def logits(self, rows: np.ndarray, step: int | None = None) -> Iterator[Tensor]:
        """Logits of all rows ``[n, N]`` (``[n, E, N]`` for several tasks), some at a time, in host memory.

        Args:
            rows: ``[n, *x]``; a transductive learner takes all of them as the queries of one episode.
            step: how many rows at a time; None bounds the memory instead.

        Raises:
            ValueError: the learner answers NaN.
        """
        tasks, support, way = len(self.episode), self.episode.support, self.episode.way
        if self.learner.transductive:
            step = len(rows)
        elif step is None:
            step = max(1, _STEP_NUMBERS // (tasks * (way * rows[0].size + support.shape[1])))
        for start in range(0, len(rows), step):
            query = on_device(rows[start : start + step], support.device).to(support.dtype)
            with torch.no_grad():
                logits = self.learner.predict(self.state, query.expand(tasks, *query.shape)).cpu()  # [E, n, N]
            if logits.isnan().any():
                raise ValueError(f"{self.learner!r} answers NaN; look at the range of X, or choose another learner.")
            yield logits[0] if tasks == 1 else logits.transpose(0, 1)

    def held_out(self, *, whole: bool = False) -> HeldOut:
        """Examples, each asked of the learner adapted without it (`Learner.adapt_without`).

        Examples are held out one of each class at a time (see `held_out_folds`), and the folds are episodes of
        one batch. A transductive learner is asked about all rows of a fold together, and of five folds at most: with
        more queries its answers are more like those it will give, and with more examples, too.

        With thousands of classes a fold has thousands of rows, all of which are left out; 512 of them are asked about.

        Args:
            whole: every example is asked about, however many there are.

        Returns:
            R = 0 where every class has one example only.
        """
        episode, learner = self.episode, self.learner
        labels = episode.labels[0]  # [S]
        none = torch.zeros(0, dtype=torch.int64)
        logits, classes, gaps, places = [torch.zeros(0, episode.way)], [none], [torch.zeros(0)], [none]
        folds = held_out_folds(labels, 5 if learner.transductive else 10, whole=whole)
        for size in sorted({len(rows) for rows in folds}):  # folds of one size are one batch, without padding
            alike = torch.stack([rows for rows in folds if len(rows) == size])  # [F, R]
            some = some_rows(size, size if whole or learner.transductive else _FOLD_ROWS).to(labels.device)
            # Products of rows, or of features where those are fewer, and answers of the rows that are held out.
            wide = len(labels) if learner.transductive else min(len(labels), episode.support[0, 0].numel())
            cost = episode.support.numel() + len(labels) * wide + size * (episode.way + len(labels))
            for left in alike.split(max(1, _STEP_NUMBERS // cost)):
                many, asked = len(left), left[:, some]
                out = marked(left, len(labels))  # [F, S]
                with torch.no_grad():
                    state = learner.adapt_without(self.state, episode, out)
                    answers = learner.predict(state, episode.support[0][asked])  # [F, R, N]
                    gap = torch.ones(many)
                    if not whole and not learner.transductive:
                        gap = own_gap(learner, state, without_rows(episode, out)).cpu()  # [F]
                gaps.append(gap.repeat_interleave(len(some)))
                logits.append(answers.flatten(0, 1).cpu())
                classes.append(labels[asked].flatten().cpu())
                places.append(asked.flatten().cpu())
        return HeldOut(torch.cat(logits), torch.cat(classes), torch.cat(gaps), torch.cat(places))


def own_gap(learner: Learner, state: Any, episode: Support) -> Tensor:
    """By how much the logit of an example's own class lies above the mean of the others ``[E]``, over 128 examples."""
    some = some_rows(episode.labels.shape[1], _GAP_ROWS).to(episode.labels.device)
    present = (episode.shots > 0).unsqueeze(1)  # [E, 1, N]
    episode = episode.replace(
        support=episode.support[:, some],
        labels=episode.labels[:, some],
        weights=None if episode.weights is None else episode.weights[:, some],
    )
    logits, own = learner.predict(state, episode.support), episode.one_hot.bool()  # [E, R, N]
    known = own.any(-1, keepdim=True)  # [E, R, 1]
    other = known & ~own & present
    mean = torch.where(own, logits, 0).sum((1, 2)) / own.sum((1, 2)).clamp(min=1)
    return mean - torch.where(other, logits, 0).sum((1, 2)) / other.sum((1, 2)).clamp(min=1)


def task(
    support: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    way: int,
    device: torch.device,
    text: Tensor | None = None,
    weights: np.ndarray | None = None,
) -> Support:
    """Examples ``[S, *x]``, their classes ``[S]`` and weights ``[S]``, and class text ``[N, ...]``, as one episode."""
    rows = on_device(support, device)[None]  # [1, S, *x]
    return Support(
        rows,
        torch.as_tensor(labels, dtype=torch.int64).to(device)[None],
        way=way,
        text=None if text is None else text.to(rows)[None],
        ids=torch.zeros(1, dtype=torch.int64, device=device),
        weights=None if weights is None else on_device(weights, device).to(rows.dtype)[None],
    )


def on_device(rows: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Rows as a tensor there."""
    if isinstance(rows, Tensor):
        return rows.to(device)
    # torch refuses negative strides, and warns about memory that it could write to but must not.
    rows = np.ascontiguousarray(rows)
    tensor = torch.from_numpy(rows if rows.flags.writeable else rows.copy())
    return tensor.to(device, torch.float32 if device.type == "mps" else tensor.dtype)  # mps has no float64


def marked(rows: Tensor, count: int) -> Tensor:
    """Row numbers ``[F, R]`` as masks: True in ``[F, S]`` of `count` rows."""
    return torch.zeros(len(rows), count, dtype=torch.bool, device=rows.device).scatter(1, rows, True)
