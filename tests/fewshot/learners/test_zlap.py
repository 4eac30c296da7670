"""ZLaP: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import references.text as references
import torch
from learner_checks import WITH_TEXT, equals_with_text
from torch import Tensor

from episodes import Episode
from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "zlap(words=0.0)": references.zlap,
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", WITH_TEXT, ids=str)
def test_equals_the_reference(spec: str, shots: list[int]) -> None:
    equals_with_text(spec, REFERENCES[spec], shots)


def _with_a_gap(shot: int) -> tuple[Episode, Tensor]:
    """Images lie nearer to one another than to any text, as CLIP's do: cosines near 0.8 and 0.3."""
    random = torch.Generator().manual_seed(0)
    way, dim, asked, most = 20, 128, 10, 8

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, dim, generator=random) / dim**0.5

    common, classes, rows = noise(2), noise(way), noise(way, asked + most)
    text = 0.5 * common[0] + common[1] + 0.9 * classes
    images = 1.6 * common[0] + 0.5 * classes.unsqueeze(1) + rows
    targets = torch.arange(way).repeat_interleave(asked)[None]
    labels = torch.arange(way).repeat_interleave(shot)[None]
    episode = Episode(
        images[:, asked : asked + shot].reshape(1, -1, dim), labels, images[:, :asked].reshape(1, -1, dim),
        way=way, text=text[None],
    )  # fmt: skip
    return episode, targets


def test_zlap_loses_nothing_by_examples() -> None:
    accuracy = []
    for shot in (0, 1, 4, 8):
        episode, targets = _with_a_gap(shot)
        accuracy.append(float((load_learner("zlap(words=0.0)")(episode).argmax(-1) == targets).double().mean()))
    assert accuracy[0] > 0.9
    assert min(accuracy) > accuracy[0] - 0.01, accuracy
