"""Data augmentation as a spec: ``"flip | crop(0.8)"``. A new operation is a class, and its line in `ENTRIES`.

====================  =====================================================  ===========================
spec                  what it does to each image by itself                   torchvision.transforms.v2
====================  =====================================================  ===========================
``flip(p)``           mirrored with probability p                            ``RandomHorizontalFlip``
``crop(scale)``       a part of at least that share of its area, enlarged    ``RandomResizedCrop``
``shift(share)``      moved by up to that share of its sides, black behind   ``RandomAffine``
``rotate(degrees)``   turned by up to that angle, black behind               ``RandomRotation``
``color(strength)``   brightness, contrast, saturation times 1 ± strength    ``ColorJitter``
``grey(p)``           without colours with probability p                     ``RandomGrayscale``
``erase(p)``          a rectangle blackened with probability p               ``RandomErasing``
====================  =====================================================  ===========================

All images of a batch are changed in one go. Anything else of torchvision is given as an object:
``augment=torchvision.transforms.v2.RandomPerspective()``, and is applied to one image after the other.
"""

from __future__ import annotations

from fewshot.augmentation.augmentation import Augment as Augment
from fewshot.augmentation.augmentation import Augmentation as Augmentation
from fewshot.augmentation.loading import ENTRIES as ENTRIES
from fewshot.augmentation.loading import list_augmentations as list_augmentations
from fewshot.augmentation.loading import load_augmentation as load_augmentation

__all__ = ["ENTRIES", "Augment", "Augmentation", "list_augmentations", "load_augmentation"]
