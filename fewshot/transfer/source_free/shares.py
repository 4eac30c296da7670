"""Whether an adaptation looks like harm, by answers before and after, without a label."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fewshot.transfer.source_free.method import entropy

_FACTOR = 3.0  # by which the share of a class may grow or shrink
_FEWEST = 3  # rows below which a share says nothing
_LEAST = 0.02  # losses of information below it are chance


def harm(before: Tensor, after: Tensor, names: Sequence[str]) -> str:
    """What speaks for harm, in words; empty where nothing does.

    A class whose share of the answers more than triples, to more than three even shares, has swallowed others; one that
    falls to less than a third of what it was and of an even share has vanished; and answers that hold less information
    than before ``(H(mean p) - mean H(p)) / log C`` are less sure or less varied.

    Args:
        before: probabilities of target rows ``[M, C]``.
        after: the same after the adaptation.
        names: of the classes.
    """
    said = []
    first, second = (torch.bincount(part.argmax(1), minlength=len(names)).double() for part in (before, after))
    total = float(first.sum())
    least, even = first.clamp(min=_FEWEST), total / len(names)
    grown = second > _FACTOR * least.clamp(min=even)
    odd = grown | (second.clamp(min=_FEWEST) < first.clamp(max=even) / _FACTOR)
    if odd.any():
        worst = int(torch.where(odd, (second - first).abs(), -1).argmax())
        said.append(
            f"{int(odd.sum())} of {len(names)} classes changed their share of the answers more than threefold "
            f"({names[worst]!r} from {first[worst] / total:.0%} to {second[worst] / total:.0%})"
        )
    lost = information(before) - information(after)
    if lost > _LEAST:
        said.append(f"the answers hold less information than before ({information(after):.2f}, not "
                    f"{information(before):.2f})")  # fmt: skip
    return f"{'; '.join(said)}. Compare with the encoder as it was, on a few labelled target rows." if said else ""


def information(probabilities: Tensor) -> float:
    """``(H(mean p) - mean H(p)) / log C``, 0..1."""
    p = probabilities.double()
    return float(entropy(p.mean(0)) - entropy(p).mean()) / math.log(max(p.shape[1], 2))
