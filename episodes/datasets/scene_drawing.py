"""A vectorised renderer of one-object scenes: signed distances, two colours, a texture, soft edges, grain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.counter import Stream, uniforms

Field = NDArray[np.floating[Any]]

_COLOURS = {
    "red": (208, 36, 40), "green": (44, 150, 62), "blue": (40, 76, 208), "yellow": (240, 214, 44),
    "orange": (244, 134, 28), "purple": (128, 50, 168), "pink": (248, 142, 188), "brown": (122, 76, 40),
    "white": (244, 244, 242), "black": (26, 26, 28), "grey": (136, 138, 140), "turquoise": (50, 192, 188),
}  # fmt: skip
BACKGROUNDS = tuple(_COLOURS)
COLOURS = BACKGROUNDS[:10]  # grey and turquoise are backgrounds only
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "hexagon", "heart", "moon")
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = ("small", "large")
POSITIONS = ("left", "right", "top", "bottom", "centre")
PALETTE = np.array(list(_COLOURS.values()), np.float32) / 255  # [12, 3]

_RADII = ((0.34, 0.42), (0.60, 0.74))  # of the half side, by size
_PLACES = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5), (0, 0)], np.float32)
_NUISANCES = 16


def draw_scenes(what: NDArray[np.int64], seed: int, first: int, side: int) -> NDArray[np.uint8]:
    """Pictures ``[B, 3, side, side]`` of scenes whose six attributes are given, 8 bits.

    What the attributes leave open (angle up to 15 degrees, jitter of place, radius and colours, a gradient of
    light, grain) is a function of the seed and the scene's number ``first + i``.

    Args:
        what: positions in `SHAPES`, `COLOURS`, `BACKGROUNDS`, `TEXTURES`, `SIZES`, `POSITIONS`, ``[B, 6]``.
        seed: of the nuisances.
        first: the number of the first scene.
        side: height and width in pixels.
    """
    shape, colour, background, texture, size, position = what.T
    free = uniforms(seed, Stream.SCENE_NUISANCE, first, len(what), _NUISANCES).astype(np.float32)  # [B, 16]
    low, high = np.array(_RADII, np.float32)[size].T
    radius = low + free[:, 0] * (high - low)
    spread = np.where(size == 1, 0.30, 0.50).astype(np.float32)[:, None] / 0.5  # a large one stays in the picture
    place = _PLACES[position] * spread + (free[:, 1:3] - 0.5) * 0.12  # [B, 2]
    angle = (free[:, 3] - 0.5) * np.float32(np.pi / 6)

    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1)[None]  # pixel centres in -1..1
    x, y = (axis - place[:, :1])[:, None, :], (axis - place[:, 1:])[:, :, None]  # [B, 1, side], [B, side, 1]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    scale = (1 / radius)[:, None, None]
    u, v = (cos * x + sin * y) * scale, (cos * y - sin * x) * scale  # [B, side, side], in radii
    distance = np.empty_like(u)
    for number, name in enumerate(SHAPES):
        chosen = shape == number
        distance[chosen] = _DISTANCES[name](u[chosen], v[chosen])
    sharp = side / 2 * radius[:, None, None]  # radii -> pixels
    inside = np.clip(0.5 - distance * sharp, 0, 1)[:, None]  # [B, 1, side, side]

    jitter = (free[:, 4:10] - 0.5) * 0.10
    paint = np.clip(PALETTE[colour] + jitter[:, :3], 0, 1)[:, :, None, None]
    ground = np.clip(PALETTE[background] + jitter[:, 3:], 0, 1)[:, :, None, None]
    dark = np.where(paint.mean(1, keepdims=True) > 0.3, paint * 0.45, paint * 0.5 + 0.5)  # the texture's second colour
    pattern = _pattern(texture, u, v, free[:, 10])[:, None]
    picture = ground + inside * (paint + pattern * (dark - paint) - ground)  # [B, 3, side, side]
    slope = (free[:, 11:13] - 0.5) * 0.16
    picture += (slope[:, :1] * axis)[:, None, None, :] + (slope[:, 1:] * axis)[:, None, :, None]
    picture += _grain(seed, side)[(free[:, 13] * 64).astype(np.int64)]
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _pattern(texture: NDArray[np.int64], u: Field, v: Field, phase: Field) -> Field:
    """Where the second colour goes, 0..1."""
    pattern = np.zeros_like(u)
    shift = phase[:, None, None]
    waves: dict[str, Callable[[Field, Field, Field], Field]] = {
        "striped": lambda u, v, s: np.sin((u + v) * 7.0 + s * 6.3),
        "dotted": lambda u, v, s: np.cos(u * 8.0 + s) * np.cos(v * 8.0 + s) * 2.2 - 0.7,
        "checkered": lambda u, v, s: np.sin(u * 5.5 + s) * np.sin(v * 5.5 + s) * 4.0,
    }
    for name, wave in waves.items():
        chosen = texture == TEXTURES.index(name)
        pattern[chosen] = np.clip(wave(u[chosen], v[chosen], shift[chosen]) * 2 + 0.5, 0, 1)
    return pattern


def _grain(seed: int, side: int) -> Field:
    """64 fields of noise ``[64, 1, side, side]``, one of which each picture wears."""
    numbers = uniforms(seed, Stream.SCENE_GRAIN, 0, 64, side * side)
    return ((numbers.astype(np.float32) - 0.5) * 0.08).reshape(64, 1, side, side)


def _box(u: Field, v: Field, a: float, b: float) -> Field:
    x, y = np.abs(u) - a, np.abs(v) - b
    return np.maximum(x, y)


def _polygon(u: Field, v: Field, sides: int, apothem: float) -> Field:
    angle = np.arctan2(u, -v)
    step = 2 * np.pi / sides
    return np.hypot(u, v) * np.cos(angle - step * np.round(angle / step)) - apothem


def _star(u: Field, v: Field) -> Field:
    angle, radius = np.arctan2(u, -v), np.hypot(u, v)
    folded = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)  # 0 at a tip, pi/5 in a notch
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    tip, notch = np.float32(1.05), np.float32(0.42)
    a, b = notch * np.cos(np.pi / 5) - tip, notch * np.sin(np.pi / 5)  # from tip to notch
    return ((x - tip) * b - y * a) / np.float32(np.hypot(a, b))


def _heart(u: Field, v: Field) -> Field:
    lobes = np.hypot(np.abs(u) - 0.46, v + 0.32) - 0.54
    point = (np.abs(u) + v * 0.92 - 0.86) / 1.36
    return np.minimum(lobes, np.maximum(point, -v - 0.32))


_DISTANCES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": lambda u, v: np.hypot(u, v) - 0.88,
    "square": lambda u, v: _box(u, v, 0.76, 0.76),
    "triangle": lambda u, v: _polygon(u, 0.15 - v, 3, 0.52),
    "star": _star,
    "cross": lambda u, v: np.minimum(_box(u, v, 0.94, 0.30), _box(u, v, 0.30, 0.94)),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.70) - 0.23,
    "diamond": lambda u, v: (np.abs(u) * 1.35 + np.abs(v) - 0.98) / 1.68,
    "hexagon": lambda u, v: _polygon(u, v, 6, 0.82),
    "heart": _heart,
    "moon": lambda u, v: np.maximum(np.hypot(u, v) - 0.92, 0.74 - np.hypot(u - 0.42, v)),
}
