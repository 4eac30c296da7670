"""`AlignedObjective`: cross-entropy of labelled source rows, and a term that makes target rows look like them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.randomness import seeded
from fewshot.transfer.alignment.alignment import Alignment
from fewshot.transfer.norms import statistics_kept
from fewshot.transfer.objective import Objective

if TYPE_CHECKING:
    from fewshot.transfer.settings import Settings
    from fewshot.transfer.tuning import Tuning

_TARGET = 2**32  # passes over target rows are numbered from here, so that their order is not that of source rows


class AlignedObjective(Objective):
    """``cross-entropy(source) + term(features of source, features of target)``.

    The domains run through the network one after the other: a batch norm that trains with statistics of the batch
    takes those of each domain by itself, and its running ones are of the target, for which the encoder is meant. Frozen
    batch norms use the running statistics that they have for both, and keep them.

    Args:
        how: the settings.
        rows: of the source.
        labels: of the source.
        device: of network and head.
        alignment: the term; it is copied.
        target: gives batches of target rows by index, with ``take(index, device)``.
        count: how many these are U.
        width: features D.
        steps: updates of the phase.
    """

    def __init__(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, alignment: Alignment, target: Any,
        count: int, width: int, steps: int,
    ) -> None:  # fmt: skip
        super().__init__(how, rows, labels, device)
        self.alignment = copy.deepcopy(alignment)
        with seeded(device, how.seed):
            self.alignment.begin(width)
        self.target, self.steps, self._target_count = target, steps, count
        self._size = min(how.batch_size, self.count)  # target rows of an update

    def target_part(self, number: int) -> Tensor:
        """The target rows of an update: passes over all of them, each in an order of its own."""
        places = np.arange(number * self._size, (number + 1) * self._size)
        rounds = places // self._target_count
        found = np.empty_like(places)
        for one in np.unique(rounds):
            random = np.random.Generator(np.random.Philox(key=[self.how.seed, _TARGET + int(one)]))
            here = rounds == one
            found[here] = random.permutation(self._target_count)[places[here] % self._target_count]
        return torch.from_numpy(found)

    def inputs(self, epoch: int, batches: int) -> Iterator[Any]:
        """Batches of target rows, of which running statistics are taken."""
        random = np.random.Generator(np.random.Philox(key=[self.how.seed, _TARGET + epoch]))
        order = torch.from_numpy(random.permutation(self._target_count))
        for part in order.tensor_split(-(-self._target_count // self._size)):
            yield self.target.take(part, self.device)

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss, and accuracy on the source."""
        batch, wanted = self.rows.take(chosen, self.device), self._answers[chosen.to(self.device)]
        other = self.target.take(self.target_part(step), self.device)
        if self.how.augment is not None:
            draw = torch.Generator().manual_seed(self.how.seed + step)
            batch, other = self.how.augment(batch, draw), self.how.augment(other, draw)
        moved = tuning.features(other)  # [U, D]
        with statistics_kept(tuning):
            features = tuning.features(batch)  # [B, D]
        logits = tuning.head(features).float()  # [B, C]
        loss = F.cross_entropy(logits, wanted, label_smoothing=self.how.label_smoothing)
        loss = loss + self.alignment(features.float(), moved.float(), step / self.steps)
        return loss, (logits.argmax(-1) == wanted).float().mean()


def align(
    objective: Objective, alignment: Alignment, target: Any, count: int, width: int, steps: int
) -> AlignedObjective:
    """The objective of a phase with an alignment; arguments as `AlignedObjective` takes them.

    Raises:
        ValueError: the phase minimises something else than the cross-entropy of labelled rows.
    """
    if type(objective) is not Objective:
        raise ValueError(
            f"alignment={alignment!r} with a strategy that minimises {type(objective).__name__}; it is added to the "
            "cross-entropy of labelled rows, so take a strategy such as 'full' or 'last(2)'."
        )
    labels = objective._answers
    return AlignedObjective(
        objective.how, objective.rows, labels, objective.device, alignment, target, count, width, steps
    )
