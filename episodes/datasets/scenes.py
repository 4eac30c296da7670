"""Drawn scenes with six label spaces over the same images: the natural test of P(y | x, T)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from episodes.counter import Stream, uniforms
from episodes.datasets.scene_drawing import BACKGROUNDS, COLOURS, POSITIONS, SHAPES, SIZES, TEXTURES, draw_scenes
from episodes.source import TensorSource

SPACES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "background": BACKGROUNDS,
    "texture": TEXTURES,
    "size": SIZES,
    "position": POSITIONS,
}
PAIRS = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
_BLOCK = 512


def scenes(
    space: str = "shape", *, count: int = 2000, seed: int = 0, pixels: int = 64, pairs: str = "all"
) -> TensorSource:
    """One coloured, textured object on a coloured ground, images ``[count, 3, pixels, pixels]``, 8 bits.

    Scene i is a function of (seed, i) and `pairs`, whatever the label space, so the spaces label the very same
    images. Twenty of the hundred colour-shape pairs, two of each colour and of each shape, are apart: a model
    trained on ``pairs="seen"`` is tested on ``pairs="held-out"``.

    Args:
        space: what the labels are: ``"shape"`` (10), ``"colour"`` of the object (10), ``"background"`` (12),
            ``"texture"`` (4), ``"size"`` (2), ``"position"`` (5), or ``"pair"`` of colour and shape (100).
        count: number of scenes.
        seed: another seed, other scenes.
        pixels: height and width.
        pairs: ``"all"``, ``"seen"`` (80) or ``"held-out"`` (20).

    Raises:
        ValueError: unknown label space or choice of pairs.
    """
    if space not in (*SPACES, "pair"):
        raise ValueError(f"scenes have no label space {space!r}; they have {', '.join(SPACES)}, pair.")
    if pairs not in ("all", "seen", "held-out"):
        raise ValueError(f"pairs={pairs!r}; it must be 'all', 'seen' or 'held-out'.")
    if count < 1 or pixels < 8:
        raise ValueError(f"count={count}, pixels={pixels}; at least 1 scene of at least 8 pixels.")
    what = attributes(seed, 0, count, pairs)  # [M, 6]
    blocks = [draw_scenes(what[start : start + _BLOCK], seed, start, pixels) for start in range(0, count, _BLOCK)]
    names = PAIRS if space == "pair" else SPACES[space]
    labels = what[:, 0] * len(COLOURS) + what[:, 1] if space == "pair" else what[:, list(SPACES).index(space)]
    return TensorSource(np.concatenate(blocks), labels, list(names), name=f"scenes:{space}")


def attributes(seed: int, first: int, count: int, pairs: str = "all") -> NDArray[np.int64]:
    """The attributes of scenes ``first .. first + count - 1``, a column per label space, ``[count, 6]``.

    Each is uniform over its values; only the ground never has the colour of the object.
    """
    free = uniforms(seed, Stream.SCENE, first, count, 6)
    pair = np.array([number for number in range(100) if pairs == "all" or held_out(number) == (pairs == "held-out")])
    shape, colour = np.divmod(pair[(free[:, 0] * len(pair)).astype(np.int64)], len(COLOURS))
    ground = (free[:, 1] * (len(BACKGROUNDS) - 1)).astype(np.int64)
    columns = [shape, colour, ground + (ground >= colour)]
    columns += [(free[:, 2 + i] * len(names)).astype(np.int64) for i, names in enumerate((TEXTURES, SIZES, POSITIONS))]
    return np.stack(columns, 1)


def held_out(pair: int) -> bool:
    """Whether a colour-shape pair is one of the twenty kept apart: two diagonals of the square of pairs."""
    shape, colour = divmod(pair, len(COLOURS))
    return (colour - shape) % 5 == 2
