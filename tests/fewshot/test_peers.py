"""Other libraries, on identical episodes, answer the same."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource
from fewshot import load_learner


@pytest.fixture(scope="module")
def episodes() -> Episode:
    """500 5-way 3-shot episodes of overlapping classes."""
    generator = torch.Generator().manual_seed(0)
    rows = (0.4 * torch.randn(20, 64, generator=generator)).repeat_interleave(40, 0)
    source = TensorSource(rows + torch.randn(800, 64, generator=generator), torch.arange(20).repeat_interleave(40))
    drawn = EpisodeSampler(source.labels, way=5, shot=3, query=15).draw(0, 500)
    return Episode(source[drawn.support], drawn.labels, source[drawn.query], way=5)


def learn2learn_classifier():  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependency gym complains about NumPy 2
        try:
            from learn2learn.nn import PrototypicalClassifier
        except ImportError:
            pytest.skip("needs learn2learn (see the README for its install line)")
    return PrototypicalClassifier


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_prototypes_equal_learn2learn(episodes: Episode, distance: str) -> None:
    classifier = learn2learn_classifier()
    logits = load_learner(f"prototypes(distance={distance!r})")(episodes)
    for e, one in enumerate(episodes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            support = one.support[0] if distance == "euclidean" else normalize(one.support[0], dim=-1)
            theirs = classifier(support, one.labels[0], distance=distance)(one.query[0])
        if distance == "euclidean":  # theirs are full squared distances, ours leave |q|² out
            torch.testing.assert_close(logits[e].softmax(-1), theirs.softmax(-1), atol=1e-4, rtol=1e-3)
        assert torch.equal(logits[e].argmax(-1), theirs.argmax(-1))
