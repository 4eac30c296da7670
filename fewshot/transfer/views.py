"""Augmented views of the rows of a training: a fixed number of each, computed once where nothing before them trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from episodes.identity import digest
from fewshot.augmentation.views import Views
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.inputs import Inputs


class ViewedEncoder(Encoder):
    """An encoder of one view of each image, so that `fewshot.embed` keeps its features under a name of their own.

    Its identity holds the encoder's, the augmentation, the seed and the number of the view.

    Args:
        encoder: of the views.
        views: which random version of an image a number stands for.
        number: of the view.
    """

    def __init__(self, encoder: Encoder, views: Views, number: int) -> None:
        self.encoder, self.views, self.number = encoder, views, number
        self.module, self.transform, self.dim = encoder.module, encoder.transform, encoder.dim
        self.decoding = "full"  # as training reads pictures
        self.name = f"view {number} of {encoder.name}"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Encoder, augmentation, seed and number."""
        return {
            "family": "view", "encoder": self.encoder.fingerprint, "augment": digest(self.views.augment),
            "seed": self.views.seed, "view": self.number,
        }  # fmt: skip

    def encode_images(self, batch: Tensor) -> Tensor:
        """Features of the view of each image ``[B, D]``."""
        return self.encoder.encode_images(self.views(batch, [self.number] * len(batch)))


class ViewedInputs:
    """Views of rows as an encoder takes them, made whenever they are needed; row ``v M + m`` is view v of row m.

    Args:
        inputs: the M rows.
        views: which random version of an image a number stands for.
        count: of rows, M.
    """

    def __init__(self, inputs: Inputs, views: Views, count: int) -> None:
        self.inputs, self.views, self.count = inputs, views, count

    def take(self, index: Tensor, device: torch.device) -> Tensor:
        """Rows ``[B]`` -> ``[B, *x]``."""
        return self.views(self.inputs.take(index % self.count, device), (index // self.count).tolist())


class ViewedActivations:
    """Views of M rows that were computed beforehand; row ``v M + m`` is view v of row m.

    Args:
        parts: a table of all rows for each view.
        count: of rows, M.
    """

    def __init__(self, parts: Sequence[Any], count: int) -> None:
        self.parts, self.count = list(parts), count

    def take(self, index: Tensor, device: torch.device) -> Tensor:
        """Rows ``[B]``, all of one view -> ``[B, *z]``."""
        (view,) = set((index // self.count).tolist())
        return self.parts[view].take(index % self.count, device)
