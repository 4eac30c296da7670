"""Rotation prediction: which way is up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewshot.unsupervised.method import Method


class Rotation(Method):
    """Each picture is shown turned by 0, 90, 180 and 270 degrees, and a linear classifier says by which.

    It teaches what has an upper side; pictures that look the same when turned teach nothing.

    Reference: Gidaris, Singh, Komodakis, "Unsupervised representation learning by predicting image rotations", ICLR
    2018, arXiv:1803.07728.
    """

    name, least = "rotation", 1

    def begin(self, features: int, picture: tuple[int, ...]) -> None:
        """A classifier of four turns."""
        if len(picture) != 3 or picture[1] != picture[2]:
            raise ValueError(f"'rotation' turns square pictures [C, H, H], but rows are {list(picture)}.")
        self.classifier = nn.Linear(features, 4)

    def forward(
        self, network: Callable[[Tensor], Tensor], pictures: Tensor, change: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy over all four turns of each picture, and accuracy."""
        turned, wanted = all_turns(change(pictures))
        logits = self.classifier(network(turned)).float()
        return F.cross_entropy(logits, wanted), (logits.argmax(1) == wanted).float().mean()


def all_turns(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures ``[B, C, H, H]`` turned by 0, 1, 2 and 3 right angles ``[4B, C, H, H]``, and these numbers ``[4B]``."""
    turned = torch.cat([pictures.rot90(turns, (2, 3)) for turns in range(4)])
    return turned, torch.arange(4, device=pictures.device).repeat_interleave(len(pictures))
