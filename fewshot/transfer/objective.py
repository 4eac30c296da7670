"""What a step of fine-tuning minimises: cross-entropy, smoothed or mixed, and the pull to the pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from fewshot.transfer.settings import Settings
    from fewshot.transfer.tuning import Tuning


class Objective(nn.Module):
    """What the steps of a phase minimise; this one is the cross-entropy of labelled rows, smoothed or mixed.

    Another kind overrides `forward`, and `parts` where its batches are others. Parameters of its own, such as those of
    a domain head, train at the head's rate and are kept in checkpoints; they are dropped when the phase ends.

    Args:
        how: the settings.
        rows: gives batches by index, with ``take(index, device)``; of V views, row ``v M + m`` is view v of row m.
        labels: of the M rows.
        device: of network and head.
    """

    def __init__(self, how: Settings, rows: Any, labels: Tensor, device: torch.device) -> None:
        super().__init__()
        self.how, self.rows, self.count, self.device = how, rows, len(labels), device
        self._answers = labels.to(device).repeat(max(how.views, 1))

    def parts(self, epoch: int, batches: int) -> tuple[Tensor, ...]:
        """The rows of an epoch, in batches of nearly equal size; of V views, epoch e sees view ``e mod V`` of each."""
        random = np.random.Generator(np.random.Philox(key=[self.how.seed, epoch]))
        first = epoch % max(self.how.views, 1) * self.count
        return (torch.from_numpy(random.permutation(self.count)) + first).tensor_split(batches)

    def inputs(self, epoch: int, batches: int) -> Iterator[Any]:
        """Batches of the rows that batch norms take their running statistics from, where these are taken anew."""
        return (self.rows.take(part, self.device) for part in self.parts(epoch, batches))

    def forward(self, tuning: Tuning, chosen: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of a batch.

        Args:
            tuning: network and head.
            chosen: one of `parts`.
            step: number of the update, from which all that is random is drawn.
        """
        batch, target = self.taken(chosen, step), self._answers[chosen.to(self.device)]
        logits, loss = classification_loss(
            tuning, batch, target, self.how.label_smoothing, self.how.mixup, (self.how.seed, step)
        )
        return loss, (logits.argmax(-1) == target).float().mean()

    def taken(self, chosen: Tensor, step: int) -> Any:
        """The rows of a batch, changed by the augmentation where they are not views already."""
        batch = self.rows.take(chosen, self.device)
        if self.how.augment is None or self.how.views:
            return batch
        return self.how.augment(batch, torch.Generator().manual_seed(self.how.seed + step))

    def settle(self, tuning: Tuning) -> None:
        """Set what no step trains, such as a head that is fitted: before each validation, and in the end."""

    def finish(self) -> None:
        """Undo what it added to a network besides the one that the strategy prepared."""


def l2_sp_penalty(
    network: Mapping[str, Tensor], origin: Mapping[str, Tensor], head: Iterable[Tensor], alpha: float, beta: float
) -> Tensor:
    """``alpha/2 |w - w_0|² + beta/2 |head|²``.

    Args:
        network: weights that train, by name.
        origin: where they began.
        head: new weights.
        alpha: strength of the pull to where the network began.
        beta: strength of the pull of the head to zero.

    Reference: Li, Grandvalet, Davoine, "Explicit inductive bias for transfer learning with convolutional networks",
    ICML 2018, arXiv:1802.01483.
    """
    moved = [(value - origin[name]).square().sum() for name, value in network.items()]
    new = [value.square().sum() for value in head]
    total = beta / 2 * torch.stack(new).sum()
    return total + alpha / 2 * torch.stack(moved).sum() if moved else total


def classification_loss(
    run: Callable[[Tensor], Tensor], batch: Tensor, target: Tensor, smoothing: float, mixup: float, key: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Logits ``[B, C]`` and the mean cross-entropy; with mixup, of ``lam x + (1 - lam) x'`` on both labels.

    Reference: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018,
    arXiv:1710.09412.
    """
    if not mixup:
        logits = run(batch)
        return logits, F.cross_entropy(logits.float(), target, label_smoothing=smoothing)
    random = np.random.Generator(np.random.Philox(key=list(key)))
    share = float(random.beta(mixup, mixup))
    other = torch.from_numpy(random.permutation(len(batch))).to(batch.device)
    logits = run(share * batch + (1 - share) * batch[other])
    losses = [F.cross_entropy(logits.float(), wanted, label_smoothing=smoothing) for wanted in (target, target[other])]
    return logits, share * losses[0] + (1 - share) * losses[1]
