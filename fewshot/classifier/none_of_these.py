"""Rows that fit no class of a zero-shot task: words for "anything", and how well a class must fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.encoders.encoder import Encoder
from fewshot.prompts.prompts import encode_strings

ANYTHING = {
    "images": ("a photo of something", "a picture", "an image", "something"),
    "texts": ("This is a text.", "a sentence", "some words", "something"),
}
UNKNOWN_FIT = (-1.0, 0.0)  # any cosine will do, but a class must fit better than the words for none
_SHARE = 0.02  # of typical rows that may be refused


def encode_anything(words: Any, encoder: Encoder, **embedding: Any) -> Tensor:
    """Unit vectors of sentences that name none of the classes ``[W, D]``.

    Args:
        words: True for sentences that fit any image or text, or sentences of one's own.
        encoder: with a tower for texts.
        **embedding: arguments of `fewshot.embed`.

    Raises:
        ValueError: no sentence, or an empty one.
    """
    if words is True:
        words = ANYTHING["images" if encoder.encodes("images") else "texts"]
    texts = [words] if isinstance(words, str) else list(words)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"none={words!r}; it must be True, a sentence, or a list of sentences.")
    return normalize(encode_strings(texts, encoder, **embedding), dim=-1)


def fit_of(rows: Tensor, text: Tensor, anything: Tensor) -> Tensor:
    """The cosine with the best class, and how much better that is than the best sentence for none ``[n, 2]``."""
    units = normalize(rows, dim=-1)
    best = (units @ normalize(text, dim=-1).to(units).T).amax(1)
    return torch.stack([best, best - (units @ anything.to(units).T).amax(1)], dim=1)


def least_fit(typical: Tensor) -> tuple[float, float]:
    """What all but 2 % of typical rows reach in each of both, estimated from theirs ``[M, 2]``."""
    best, better = torch.quantile(typical.double(), _SHARE, dim=0).tolist()
    return best, better
