"""`shot`: a network that is trained on target rows until the head of the source fits them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.transfer.source_free.method import SourceFree, TargetObjective, entropy
from fewshot.transfer.strategies import Full
from fewshot.transfer.tuning import Tuning

if TYPE_CHECKING:
    from fewshot.transfer.settings import Settings

_ROUNDS = 1  # in which centroids are taken from labels, after the first ones from probabilities


class SHOT(Full, SourceFree):
    """The network below the head minimises ``mean_i H(p_i) - H(mean_i p_i) + pseudo CE(pseudo-labels)``.

    Answers become sure, each by itself, and varied over the batch; the head is fixed. A pseudo-label is the class whose
    centroid has the largest cosine with the row's features: centroids are means of features weighted by the
    probabilities, then once more means of the rows so labelled. They are guessed anew for every pass, by all rows.

    Varied answers are right where the classes are about as frequent as one another; where the target has a few of
    them, or very uneven ones, it does harm.

    Args:
        pseudo: weight of the pseudo-labels.
        epochs: passes over the target rows.
        lr: rate of Adam.

    Raises:
        ValueError: `pseudo` is negative.

    Reference: Liang, Hu, Feng, "Do we really need to access the source data? Source hypothesis transfer for
    unsupervised domain adaptation", ICML 2020, arXiv:2002.08546.
    """

    name, statistics, schedule = "shot", False, "cosine"

    def __init__(self, pseudo: float = 0.3, epochs: int = 15, lr: float = 3e-4) -> None:
        super().__init__(epochs, lr)
        if not pseudo >= 0:
            raise ValueError(f"shot(pseudo={pseudo!r}); it must not be negative.")
        self.pseudo = pseudo

    def minimised(self, how: Settings, rows: Any, labels: Tensor, device: torch.device) -> TargetObjective:
        """Information maximisation and pseudo-labels."""
        return _Hypothesis(how, rows, labels, device, self.pseudo)


class _Hypothesis(TargetObjective):
    """Keeps the pseudo-labels of the present pass, which follow from the weights where it began."""

    def __init__(self, how: Settings, rows: Any, labels: Tensor, device: torch.device, pseudo: float) -> None:
        super().__init__(how, rows, labels, device)
        self.pseudo, self.guesses = pseudo, torch.empty(0, dtype=torch.int64)

    def parts(self, epoch: int, batches: int) -> tuple[Tensor, ...]:
        """The rows of a pass; pseudo-labels of the one before are forgotten."""
        self.guesses = torch.empty(0, dtype=torch.int64)
        return super().parts(epoch, batches)

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss, and how sure the answers are."""
        if self.pseudo and not len(self.guesses):
            self.guesses = self._guess(tuning)
        return super().forward(tuning, chosen, step)

    def loss(self, logits: Tensor, chosen: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        loss = entropy(probabilities).mean() - entropy(probabilities.mean(0))
        if self.pseudo:
            loss = loss + self.pseudo * F.cross_entropy(logits, self.guesses[chosen.to(self.guesses.device)])
        return loss

    @torch.no_grad()
    def _guess(self, tuning: Tuning) -> Tensor:
        tuning.eval()
        found = [tuning.features(self.rows.take(part, self.device)).float()
                 for part in torch.arange(self.count).split(self.how.batch_size)]  # fmt: skip
        features = torch.cat(found)  # [M, D]
        guesses = pseudo_labels(features, tuning.head(features).softmax(-1))
        tuning.train()
        return guesses


def pseudo_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """The class of the nearest centroid of each row, by cosine ``[M]``.

    Args:
        features: ``[M, D]``.
        probabilities: of the classes ``[M, C]``.
    """
    rows, weights = F.normalize(features, dim=1), probabilities
    guesses = weights.argmax(1)
    for _ in range(1 + _ROUNDS):
        centroids = F.normalize(weights.mT @ features, dim=1)  # [C, D]; their length does not matter
        likeness = (rows @ centroids.mT).masked_fill(~weights.any(0), -torch.inf)  # a class without rows has none
        guesses = likeness.argmax(1)
        weights = F.one_hot(guesses, weights.shape[1]).to(features.dtype)
    return guesses
