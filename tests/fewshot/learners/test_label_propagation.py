"""Label propagation: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import references.transductive as references
import torch
from learner_checks import TRANSDUCTIVE, equals_transductive, same_alone_and_padded
from learner_episodes import make
from torch import Tensor
from torch.nn.functional import normalize

from episodes import Episode
from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "label-propagation": references.label_propagation,
    "label-propagation(means=0.0)": partial(references.label_propagation, believed=0.0),
    "label-propagation(neighbours=3, power=1.0, spread=0.5)": partial(
        references.label_propagation, neighbours=3, power=1.0, spread=0.5
    ),
    "label-propagation(centred=False, power=3.0)": partial(references.label_propagation, centred=False, power=3.0),
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("shots", TRANSDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    equals_transductive(spec, REFERENCES[spec], shots)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-7)


def test_label_propagation_agrees_with_scikit_learn() -> None:
    from sklearn.semi_supervised import LabelSpreading

    episode, _ = make([2, 3, 2], dim=6, episodes=4)
    # Their graph of all pairs, by a kernel of one's own; ours joins every pair when there are enough neighbours.
    ours = load_learner("label-propagation(neighbours=1000, power=2.0, spread=0.6, centred=False, means=0.0)")(episode)
    for e in range(len(episode)):
        rows = normalize(torch.cat([episode.support[e], episode.query[e]]), dim=-1).numpy()
        known = episode.labels[e].numpy()
        theirs = LabelSpreading(
            kernel=lambda a, b: np.maximum(a @ b.T, 0) ** 2, alpha=0.6, max_iter=3000, tol=1e-12
        ).fit(rows, np.concatenate([known, np.full(len(rows) - len(known), -1)]))
        assert (theirs.transduction_[len(known) :] == ours[e].argmax(-1).numpy()).all()


def shared_ground(shots: int) -> tuple[Episode, Tensor]:
    """Two classes that overlap much in many dimensions, where neighbours are of either; and the queries' classes."""
    random = torch.Generator().manual_seed(0)
    labels, asked = torch.arange(2).repeat_interleave(shots), torch.arange(2).repeat_interleave(50)
    shift = torch.zeros(2, 60)
    shift[1, :] = 0.3
    support = shift[labels] + torch.randn(20, 2 * shots, 60, generator=random)
    query = shift[asked] + torch.randn(20, 100, 60, generator=random)
    return Episode(support, labels.expand(20, -1), query, way=2), asked


def test_where_classes_overlap_class_means_are_believed() -> None:
    episode, asked = shared_ground(10)
    right = {
        spec: float((load_learner(spec)(episode).argmax(-1) == asked).float().mean())
        for spec in ("prototypes", "label-propagation", "label-propagation(means=0.0)")
    }
    assert right["label-propagation(means=0.0)"] < right["prototypes"] - 0.03
    assert right["label-propagation"] > right["prototypes"] - 0.01


def test_where_classes_are_no_clusters_the_graph_is_believed() -> None:
    """Two half moons, whose means tell little."""
    from sklearn.datasets import make_moons

    rows, labels = make_moons(240, noise=0.05, random_state=0)
    rows, labels = torch.from_numpy(rows), torch.from_numpy(labels)
    support = torch.cat([(labels == n).nonzero()[:10, 0] for n in (0, 1)])
    directions = torch.randn(2, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lifted = torch.cos(2 * rows @ directions)
    episode = Episode(lifted[support][None], labels[support][None], lifted[None], way=2)
    right = {
        spec: float((load_learner(spec)(episode).argmax(-1)[0] == labels).float().mean())
        for spec in ("prototypes", "label-propagation", "label-propagation(means=0.0)")
    }
    assert right["prototypes"] < right["label-propagation(means=0.0)"] - 0.04
    assert right["label-propagation"] > right["label-propagation(means=0.0)"] - 0.02
