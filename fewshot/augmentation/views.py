"""`Views`: a fixed number of random versions of every image, so that they can be computed once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from episodes.identity import digest_array
from fewshot.augmentation.augmentation import Augment, Augmentation
from fewshot.augmentation.in_pixels import InPixels


class Views:
    """View v of an image is decided by the image, v and the seed: neither by its batch nor by the order of rows.

    Args:
        augment: (images ``[B, *x]``, generator) -> images. Operations of this library change a batch in one go;
            anything else is given one image after the other.
        seed: of all views.
    """

    def __init__(self, augment: Augment, seed: int) -> None:
        self.augment, self.seed = augment, seed

    def __call__(self, images: Tensor, views: Sequence[int]) -> Tensor:
        """View ``views[b]`` of each image b: ``[B, *x] -> [B, *x]``."""
        streams = [self._stream(image, view) for image, view in zip(images, views, strict=True)]
        change = self.augment
        if isinstance(change, (Augmentation, InPixels)) and change.numbers:
            draws = np.stack([stream.random(change.numbers, np.float32) for stream in streams])
            return change.apply(images, torch.from_numpy(draws).to(images.device))
        parts = [
            change(image.unsqueeze(0), torch.Generator().manual_seed(int(stream.integers(2**62))))
            for image, stream in zip(images, streams, strict=True)
        ]
        return torch.cat(parts) if parts else images

    def _stream(self, image: Tensor, view: int) -> np.random.Generator:
        content = int(digest_array(image), 16)
        words = [content >> shift & 0xFFFFFFFF for shift in range(0, 128, 32)]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, view, *words])))
