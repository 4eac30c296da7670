"""`Answers`: the logits of a learner in a batch of episodes, with the query labels; what metrics are functions of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from episodes.draw import OPEN


@dataclass(frozen=True)
class Answers:
    """Logits and targets of a batch of episodes.

    Attributes:
        logits: of the learner ``[E, Q, N]``.
        targets: class of each query within its episode ``[E, Q]``; ``-1`` is not scored, ``-2`` is of none of the
            episode's classes.
        outliers: how little each query looks like any of the classes ``[E, Q]``, for metrics that need it.
    """

    logits: Tensor
    targets: Tensor
    outliers: Tensor | None = None

    @cached_property
    def known(self) -> Tensor:
        """Queries of the episode's classes, which are scored ``[E, Q]``."""
        return self.targets >= 0

    @cached_property
    def open(self) -> Tensor:
        """Queries of none of the episode's classes ``[E, Q]``."""
        return self.targets == OPEN

    @cached_property
    def best(self) -> torch.return_types.max:
        """The largest logit, ``values``, and its class, ``indices`` ``[E, Q]``."""
        return self.logits.max(-1)

    @property
    def predicted(self) -> Tensor:
        """The class with the largest logit ``[E, Q]``."""
        return self.best.indices

    @cached_property
    def right(self) -> Tensor:
        """Queries that were classified correctly ``[E, Q]``."""
        return (self.predicted == self.targets) & self.known

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Log-softmax of the logits in float32 at least ``[E, Q, N]``."""
        logits = self.logits
        return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))

    @cached_property
    def confidence(self) -> Tensor:
        """Probability of the predicted class ``[E, Q]``."""
        return self.log_probabilities.amax(-1).exp()

    @cached_property
    def log_likelihood(self) -> Tensor:
        """Log-probability of the right class ``[E, Q]``; of class 0 where a query is not scored."""
        return self.log_probabilities.gather(-1, self.targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)

    @cached_property
    def confusion(self) -> Tensor:
        """Scored queries of each class (rows) by predicted class (columns) ``[E, N, N]``."""
        way = self.logits.shape[-1]
        place = self.targets.clamp(min=0) * way + self.predicted  # [E, Q]
        counts = torch.zeros(len(place), way * way, dtype=torch.float64, device=place.device)
        return counts.scatter_add_(1, place, self.known.double()).view(-1, way, way)
