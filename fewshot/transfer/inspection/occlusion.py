"""What an answer rests on: parts of the input are hidden, one after the other, and the answer is watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

CELLS = 8  # a picture's side in cells; a window is two by two of them
_BATCH = 16
_WORDS = 60

Score = Callable[[Any], Tensor]  # a batch of inputs -> logits [B, C]


def picture_importance(score: Score, picture: Tensor, chosen: int) -> Tensor:
    """How far the chosen class falls when a window is painted over ``[CELLS, CELLS]``; positive: it rests on it.

    ``m(x) - m(x without window)`` averaged over the windows that cover a cell, where m is the logit of the class minus
    the largest other. The paint is the picture's own mean colour.

    Args:
        score: network and head.
        picture: a network's input ``[3, H, W]``.
        chosen: the class.

    Reference: Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, arXiv:1311.2901.
    """
    height, width = picture.shape[1:]
    rows = [round(height * cell / CELLS) for cell in range(CELLS + 1)]
    columns = [round(width * cell / CELLS) for cell in range(CELLS + 1)]
    colour = picture.mean((1, 2))[:, None, None]
    windows = [(top, left) for top in range(CELLS - 1) for left in range(CELLS - 1)]
    whole = margin(score(picture.unsqueeze(0)), chosen)[0]
    total, covered = torch.zeros(CELLS, CELLS), torch.zeros(CELLS, CELLS)
    for first in range(0, len(windows), _BATCH):
        part = windows[first : first + _BATCH]
        batch = picture.unsqueeze(0).repeat(len(part), 1, 1, 1)
        for one, (top, left) in zip(batch, part, strict=True):
            one[:, rows[top] : rows[top + 2], columns[left] : columns[left + 2]] = colour
        for (top, left), fall in zip(part, (whole - margin(score(batch), chosen)).tolist(), strict=True):
            total[top : top + 2, left : left + 2] += fall
            covered[top : top + 2, left : left + 2] += 1
    return total / covered


def word_importance(score: Score, text: str, chosen: int) -> tuple[list[str], list[float]]:
    """The words of a text (the first 60), and how far the chosen class falls without each.

    Args:
        score: network and head.
        text: one.
        chosen: the class.

    Reference: Li, Monroe, Jurafsky, "Understanding neural networks through representation erasure", 2016,
    arXiv:1612.08220.
    """
    words = text.split()
    shown = words[:_WORDS]
    whole = margin(score([text]), chosen)[0]
    falls: list[float] = []
    for first in range(0, len(shown), _BATCH):
        places = range(first, min(first + _BATCH, len(shown)))
        without = [" ".join(words[:place] + words[place + 1 :]) for place in places]
        falls += (whole - margin(score(without), chosen)).tolist()
    return shown, falls


def margin(logits: Tensor, chosen: int) -> Tensor:
    """Logit of a class minus the largest other ``[B]``."""
    others = logits.clone()
    others[:, chosen] = -torch.inf
    return logits[:, chosen] - others.amax(1)


def examples_to_explain(labels: Tensor, changed: Sequence[int], count: int) -> list[int]:
    """Places of rows worth a closer look: those whose answer changed, then the first of each class in turn.

    Args:
        labels: ``[M]``.
        changed: places, the most telling first.
        count: how many.
    """
    chosen = list(changed[: (count + 1) // 2])
    turns = [(labels == label).nonzero().squeeze(1).tolist() for label in labels.unique().tolist()]
    depth = max(map(len, turns))
    for turn in range(depth):
        for rows in turns:
            if turn < len(rows) and rows[turn] not in chosen and len(chosen) < count:
                chosen.append(rows[turn])
    return chosen
