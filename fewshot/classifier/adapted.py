"""A learner that has adapted to one episode, and answers queries in steps of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.learner import Learner
from fewshot.maths.precision import readable

# Numbers held by one step: 64 MB in float32, more than any processor cache and less than any memory.
_STEP_NUMBERS = 2**24


class Adapted:
    """A learner and its state for one episode.

    Args:
        learner: moved to `device` and to the precision of the rows, so it must be a copy of its own.
        support: the examples ``[S, *x]``.
        labels: number of the class of each ``[S]``, ``0..way-1``.
        way: number of classes N; one without examples gets logit ``-inf``.
        device: where to compute.

    Raises:
        ValueError: the learner needs more than examples.
    """

    def __init__(
        self, learner: Learner, support: np.ndarray, labels: np.ndarray, way: int, device: torch.device
    ) -> None:
        self.support = _on_device(support, device)  # [S, *x]
        self.labels = torch.from_numpy(labels).to(device)
        self.way = way
        self.learner = learner.to(device, self.support.dtype).eval()
        episode = self._episode(self.support[None], self.labels[None])
        with torch.no_grad():
            self.learner.check(episode)
            episode = readable(episode, self.learner)
            self.support = episode.support[0]
            self.state = self.learner.adapt(episode)

    def logits(self, rows: np.ndarray, step: int | None = None) -> Iterator[Tensor]:
        """Logits ``[n, N]`` of all rows, some at a time, in host memory.

        Args:
            rows: ``[n, *x]``; a transductive learner takes all of them as the queries of one episode.
            step: how many rows at a time; None bounds the memory instead.

        Raises:
            ValueError: the learner answers NaN.
        """
        if self.learner.transductive:
            step = len(rows)
        elif step is None:
            step = max(1, _STEP_NUMBERS // (self.way * rows[0].size + len(self.support)))
        for start in range(0, len(rows), step):
            query = _on_device(rows[start : start + step], self.support.device)[None]  # [1, n, *x]
            with torch.no_grad():
                logits = self.learner.predict(self.state, query.to(self.support.dtype))[0].cpu()  # [n, N]
            if logits.isnan().any():
                raise ValueError(f"{self.learner!r} answers NaN; look at the range of X, or choose another learner.")
            yield logits

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Logits ``[R, N]`` and classes ``[R]`` of the examples, each asked of all the others.

        Examples that are alone in their class are asked of nobody.

        Raises:
            ValueError: every class has one example only, or the learner is transductive.
        """
        if self.learner.transductive:
            raise ValueError(
                f"{self.learner!r} is transductive: its answers to one example at a time say nothing "
                "about its answers to many; give held-out X and y."
            )
        asked = (self.labels.bincount()[self.labels] > 1).nonzero().squeeze(-1)  # [R]
        if not len(asked):
            raise ValueError("every class has one example only, so none can be left out; give held-out X and y.")
        support, found = self.support, []
        for rows in asked.split(max(1, _STEP_NUMBERS // support.numel())):
            labels = self.labels.repeat(len(rows), 1)  # [E, S]
            labels[torch.arange(len(rows)), rows] = -1  # padding: the example is not there
            with torch.no_grad():
                state = self.learner.adapt(self._episode(support.expand(len(rows), *support.shape), labels))
                found.append(self.learner.predict(state, support[rows].unsqueeze(1))[:, 0].cpu())  # [E, N]
        return torch.cat(found), self.labels[asked].cpu()

    def _episode(self, support: Tensor, labels: Tensor) -> Episode:
        ids = torch.arange(len(support), device=support.device)
        return Episode(support, labels, query=support[:, :0], way=self.way, ids=ids)


def _on_device(rows: np.ndarray, device: torch.device) -> Tensor:
    # torch refuses negative strides, and warns about memory that it could write to but must not.
    rows = np.ascontiguousarray(rows)
    tensor = torch.from_numpy(rows if rows.flags.writeable else rows.copy())
    return tensor.to(device, torch.float32 if device.type == "mps" else tensor.dtype)  # mps has no float64
