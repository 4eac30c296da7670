"""Texts longer than a tower's context: truncated with a warning, or encoded in parts; never truncated silently."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

CHOICES = ("warn", "average", "truncate")


def check_long_text(choice: str) -> None:
    """Refuse an unknown choice."""
    if choice not in CHOICES:
        raise ValueError(
            f"long_text={choice!r}; it must be 'warn' (truncate, with a warning), 'average' (encode in parts and "
            "average their unit vectors) or 'truncate' (truncate, without one)."
        )


def encode_long(
    texts: Sequence[str],
    encode: Callable[[list[str]], Tensor],
    count: Callable[[str], int],
    capacity: int,
    choice: str,
    name: str,
) -> Tensor:
    """Vectors ``[B, D]`` of texts of which some may be longer than the context.

    Args:
        texts: any strings.
        encode: the tower, which truncates what is too long.
        count: tokens of a string, without the start and end tokens.
        capacity: tokens that the context holds, without those.
        choice: one of `CHOICES`.
        name: of the encoder, for the warning.
    """
    if choice == "truncate":
        return encode(list(texts))
    lengths = [count(text) for text in texts]
    long = [row for row, length in enumerate(lengths) if length > capacity]
    if not long:
        return encode(list(texts))
    if choice == "warn":
        first = texts[long[0]]
        shown = first if len(first) <= 60 else first[:60] + "..."
        warnings.warn(
            f"{len(long)} of {len(texts)} texts exceed the {capacity} tokens that {name!r} reads, and are truncated: "
            f"{shown!r} has {lengths[long[0]]}. long_text='average' encodes them in parts.",
            stacklevel=2,
        )
        return encode(list(texts))
    parts, owners = [], []
    for row, text in enumerate(texts):
        pieces = _split(text, count, capacity) if lengths[row] > capacity else [text]
        parts += pieces
        owners += [row] * len(pieces)
    rows = encode(parts)
    owner = torch.tensor(owners, device=rows.device)
    share = torch.bincount(owner, minlength=len(texts)).to(rows.dtype)
    whole = torch.zeros(len(texts), rows.shape[1], dtype=rows.dtype, device=rows.device)
    # One part keeps its length, as towers give it; several are directions of one text.
    units = torch.where((share[owner] > 1).unsqueeze(1), normalize(rows, dim=-1), rows)
    return whole.index_add_(0, owner, units) / share.unsqueeze(1)


def _split(text: str, count: Callable[[str], int], capacity: int) -> list[str]:
    """Parts that fit, cut between words; a word that alone does not fit is cut by letters."""
    pieces: list[str] = []
    line = ""
    for word in text.split():
        if count(f"{line} {word}".strip()) <= capacity:
            line = f"{line} {word}".strip()
            continue
        if line:
            pieces.append(line)
        while count(word) > capacity:
            cut = max(1, len(word) * capacity // count(word))
            while cut > 1 and count(word[:cut]) > capacity:
                cut -= 1
            pieces.append(word[:cut])
            word = word[cut:]
        line = word
    return [*pieces, line] if line else pieces
