"""SetFit: an encoder tuned on pairs of a few labelled rows, then a logistic regression on its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.inputs import check_whole
from fewshot.transfer.objective import Objective
from fewshot.transfer.stages import Stage
from fewshot.transfer.strategy import Strategy

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder
    from fewshot.transfer.settings import Settings
    from fewshot.transfer.tuning import Tuning


class SetFit(Strategy):
    """The whole network, on pairs of rows; then the head, fitted to the features of the tuned network.

    Each row has, `iterations` times, one partner of its own class and one of another: ``2 R M`` pairs of M rows, drawn
    anew in each epoch. A step minimises ``mean (cos(f(x), f(x')) - [y = y'])²`` over a batch of pairs. The head is
    then the multinomial logistic regression of ``fewshot.learners.Logistic`` (C by the spread of the features).

    Args:
        iterations: R. Pairs grow with it: for many rows take fewer.
        epochs: passes over the pairs; None: what `fine_tune` is given, or 1.
        lr: rate of the network; None: what `fine_tune` is given, or 2e-5.
        head_lr: unused, as no step trains the head.

    Reference: Tunstall, Reimers, Jo, Bates, Korat, Wasserblat, Pereg, "Efficient few-shot learning without prompts",
    2022, arXiv:2209.11055.
    """

    name = "setfit"
    rates = (2e-5, 1e-3)
    own_epochs = 1

    def __init__(
        self, iterations: int = 20, epochs: int | None = None, lr: float | None = None, head_lr: float | None = None
    ) -> None:
        super().__init__(epochs, lr, head_lr)
        self.iterations = check_whole("setfit: iterations", iterations)

    def check(self, how: Settings) -> None:
        """Refuse what is of labels rather than pairs."""
        if how.mixup or how.label_smoothing:
            raise ValueError(
                "'setfit' compares pairs of rows; mixup and label_smoothing are of labels: leave them out."
            )
        if how.views:
            raise ValueError("'setfit' fits its head to rows as they are, of which views are none; leave views out.")

    def draws(self, rows: int) -> int:
        """Pairs of an epoch."""
        return 2 * self.iterations * rows

    def on_top(self, width: int, classes: int, encoder: Encoder) -> tuple[str, int, int]:
        """The head, which no step trains."""
        return "head (fitted)", width * classes + classes, 0

    def trained(self, network: nn.Module, parts: Sequence[Stage], epoch: int) -> set[str]:
        """All parameters."""
        return {name for part in parts for name in part.parameters}

    def objective(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, encoder: Encoder, names: Sequence[str]
    ) -> Objective:
        """The pairs."""
        return PairObjective(how, rows, labels, device, self.iterations, len(names))


class PairObjective(Objective):
    """Mean squared difference of cosines from 1 (pairs of one class) or 0; a batch is ``[2 B]``, left rows first.

    A row that stands in several pairs of a batch is computed once.

    Args:
        how: the settings; their batch size is of pairs.
        rows: as for `Objective`, like what follows.
        labels: ``[M]``.
        device: of network and head.
        iterations: R of `SetFit`.
        classes: C.
    """

    def __init__(
        self, how: Settings, rows: Any, labels: Tensor, device: torch.device, iterations: int, classes: int
    ) -> None:
        super().__init__(how, rows, labels, device)
        self._labels, self._iterations, self._classes = labels.cpu(), iterations, classes
        self.count = 2 * iterations * len(labels)

    def parts(self, epoch: int, batches: int) -> tuple[Tensor, ...]:
        """The pairs of an epoch."""
        random = np.random.Generator(np.random.Philox(key=[self.how.seed, epoch]))
        left, right = pairs_of(self._labels.numpy(), self._iterations, random)
        order = random.permutation(self.count)
        split = torch.from_numpy(np.stack([left[order], right[order]])).tensor_split(batches, dim=1)
        return tuple(part.flatten() for part in split)

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss, and the share of pairs whose cosine is on the right side of a half."""
        distinct, place = chosen.unique(return_inverse=True)
        left, right = tuning.features(self.taken(distinct, step)).float()[place.to(self.device)].chunk(2)  # [B, D]
        first, second = self._answers[chosen.to(self.device)].chunk(2)
        cosine, same = F.cosine_similarity(left, right, dim=-1), (first == second).float()
        return F.mse_loss(cosine, same), ((cosine > 0.5) == (same > 0.5)).float().mean()

    @torch.no_grad()
    def settle(self, tuning: Tuning) -> None:
        """Fit the head to what the network now makes of the rows."""
        from episodes.episode import Support
        from fewshot.learners.logistic import Logistic

        tuning.eval()
        index = torch.arange(len(self._labels)).split(self.how.batch_size)
        rows = torch.cat([tuning.features(self.rows.take(part, self.device)).float() for part in index])  # [M, D]
        state = Logistic().adapt(Support(rows.unsqueeze(0), self._answers.unsqueeze(0), way=self._classes))
        bias = state.bias - (state.weight @ state.offset.expand(1, 1, rows.shape[1]).mT).squeeze(-1)
        tuning.head.load_state_dict({"weight": state.weight[0], "bias": bias[0]})
        tuning.head.unit = False


def pairs_of(labels: np.ndarray, iterations: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the left and right rows of ``2 R M`` pairs: first those of one class, then those of two.

    A row that is alone in its class is its own partner, which teaches nothing and costs nothing.

    Args:
        labels: of two classes at least ``[M]``.
        iterations: R.
        random: decides the partners.
    """
    order = np.argsort(labels, kind="stable")  # rows by class
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    left = np.tile(np.arange(len(labels)), iterations)
    own, begin = counts[labels[left]], starts[labels[left]]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))  # of each row in that order
    step = random.integers(1, np.maximum(own, 2))  # 1 .. n - 1 places on, around the class
    same = order[begin + (place[left] - begin + step) % own]
    skip = random.integers(0, len(labels) - own)  # among the rows of other classes
    other = order[np.where(skip < begin, skip, skip + own)]
    return np.concatenate([left, left]), np.concatenate([same, other])
