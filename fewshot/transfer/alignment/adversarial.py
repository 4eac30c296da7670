"""`dann` and `confusion`: features from which a classifier cannot tell the domain."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from episodes.inputs import check_whole
from fewshot.transfer.alignment.alignment import Alignment


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """The same rows, whose gradient is multiplied by ``-strength`` on the way back.

    Reference: Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand, Lempitsky, "Domain-adversarial
    training of neural networks", JMLR 17 (2016), arXiv:1505.07818.
    """
    reversed_: Tensor = _Reverse.apply(x, strength)
    return reversed_


def reversal_strength(progress: float) -> float:
    """``2 / (1 + exp(-10 p)) - 1``: 0 in the beginning, where the domain head knows nothing yet, and 1 in the end."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _Adversarial(Alignment):
    """What both have: a domain head ``D -> hidden -> outputs``, and a loss in which both domains count alike."""

    outputs = 1

    def __init__(self, weight: float = 1.0, hidden: int = 100) -> None:
        super().__init__(weight)
        self.hidden = check_whole("hidden", hidden)

    def begin(self, width: int) -> None:
        """Make the domain head."""
        self.head = nn.Sequential(nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self.outputs))


class DANN(_Adversarial):
    """Trains a domain head on the features, and the network against it, by a reversed gradient.

    The domain head minimises its cross-entropy L; the network receives ``-weight lambda_p dL/df`` with
    ``lambda_p = 2 / (1 + exp(-10 p)) - 1``, p the share of updates done.

    Args:
        weight: of the reversed gradient in the end.
        hidden: units of the domain head's hidden layer.

    Reference: Ganin et al., "Domain-adversarial training of neural networks", JMLR 17 (2016), arXiv:1505.07818.
    """

    name = "dann"

    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """Cross-entropy of the domain head; its gradient is reversed at the features."""
        strength = self.weight * reversal_strength(progress)
        logits = self.head(reverse_gradient(torch.cat([source, target]), strength)).squeeze(1)
        return (F.softplus(logits[: len(source)]).mean() + F.softplus(-logits[len(source) :]).mean()) / 2


class Confusion(_Adversarial):
    """Trains a domain head on the features, and the network until that head answers one half for every row.

    The domain head minimises its cross-entropy with the features as they are; the network minimises
    ``weight (-1/2 sum_d log q_d)``, the cross-entropy of the head's answer q to the uniform, with the head as it is.

    Args:
        weight: of the confusion.
        hidden: units of the domain head's hidden layer.

    Reference: Tzeng, Hoffman, Darrell, Saenko, "Simultaneous deep transfer across domains and tasks", ICCV 2015,
    arXiv:1510.02192 (its soft labels need target labels and are left out).
    """

    name, outputs = "confusion", 2

    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """Both losses; neither reaches what the other trains."""
        rows, count = torch.cat([source, target]), len(source)
        guess = F.log_softmax(self.head(rows.detach()), 1)  # [B + U, 2]
        own = -(guess[:count, 0].mean() + guess[count:, 1].mean()) / 2
        fixed = {name: value.detach() for name, value in self.head.named_parameters()}
        unsure = -F.log_softmax(functional_call(self.head, fixed, rows), 1).mean(1)  # [B + U]
        return own + self.weight * (unsure[:count].mean() + unsure[count:].mean()) / 2
