"""Rows that fit no class of a zero-shot task: words for "anything", and how much better a class must fit."""

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


def advantage(rows: Tensor, text: Tensor, anything: Tensor) -> Tensor:
    """How much better the best class fits than the best sentence for none of them, in cosines ``[n]``."""
    units = normalize(rows, dim=-1)
    text = normalize(text, dim=-1)
    return (units @ text.to(units).T).amax(1) - (units @ anything.to(units).T).amax(1)


def least_advantage(typical: Tensor) -> float:
    """The advantage that all but 2 % of typical rows have, told from theirs ``[M]``."""
    return float(torch.quantile(typical.double(), _SHARE))
