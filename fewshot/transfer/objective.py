"""What a step of fine-tuning minimises: cross-entropy, smoothed or mixed, and the pull to the pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


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
