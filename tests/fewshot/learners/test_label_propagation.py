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
from torch.nn.functional import normalize

from fewshot import load_learner

REFERENCES: dict[str, Callable[..., Any]] = {
    "label-propagation": references.label_propagation,
    "label-propagation(shrinkage=0.65)": partial(references.towards_means, references.label_propagation, 0.65),
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
    ours = load_learner("label-propagation(neighbours=1000, power=2.0, spread=0.6, centred=False)")(episode)
    for e in range(len(episode)):
        rows = normalize(torch.cat([episode.support[e], episode.query[e]]), dim=-1).numpy()
        known = episode.labels[e].numpy()
        theirs = LabelSpreading(
            kernel=lambda a, b: np.maximum(a @ b.T, 0) ** 2, alpha=0.6, max_iter=3000, tol=1e-12
        ).fit(rows, np.concatenate([known, np.full(len(rows) - len(known), -1)]))
        assert (theirs.transduction_[len(known) :] == ours[e].argmax(-1).numpy()).all()
