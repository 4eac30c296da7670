"""From what a user gives as `augment` to a function of rows and generator."""

from __future__ import annotations

from typing import Any

from fewshot.augmentation.augmentation import Augment, Augmentation, Operation
from fewshot.registry import Registry, load_one

ENTRIES = {
    "color": "fewshot.augmentation.colour:Color",
    "crop": "fewshot.augmentation.geometry:Crop",
    "erase": "fewshot.augmentation.colour:Erase",
    "flip": "fewshot.augmentation.geometry:Flip",
    "grey": "fewshot.augmentation.colour:Grey",
    "rotate": "fewshot.augmentation.geometry:Rotate",
    "shift": "fewshot.augmentation.geometry:Shift",
}
OPERATIONS = Registry("augmentation", ENTRIES, "fewshot.augmentations")


def list_augmentations() -> list[str]:
    """Names of all operations, built-in and installed."""
    return OPERATIONS.names()


def load_augmentation(augment: Any) -> Augment | None:
    """What `augment` may be, as a function.

    Args:
        augment: a spec string; a transform of torchvision, which is applied to one image after the other; a function
            (rows ``[..., *x]``, generator) -> rows, which is returned as it is; or None.

    Raises:
        ValueError: an unknown operation or argument (the message suggests near ones), or one out of range.
        TypeError: it is nothing of all this.

    >>> load_augmentation("flip | crop(0.5) | color(0.4)")
    flip | crop(scale=0.5) | color(strength=0.4)
    """
    if isinstance(augment, str):
        return Augmentation([load_one(OPERATIONS, part, Operation, "augment", "flip") for part in augment.split("|")])
    if type(augment).__module__.startswith("torchvision.transforms"):
        from fewshot.augmentation.each_image import EachImage

        return EachImage(augment)
    if augment is not None and not callable(augment):
        raise TypeError(
            f"augment={augment!r}; give a spec such as 'flip | crop(0.8)', a transform of torchvision, or a function "
            "(rows, generator) -> rows."
        )
    known: Augment | None = augment
    return known
