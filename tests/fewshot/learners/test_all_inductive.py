"""All inductive learners: degenerate episodes, wrong arguments, large shapes, and easyfsl."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_episodes import make, padded
from torch import nn
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource
from fewshot import ConvergenceWarning, load_learner


@pytest.mark.parametrize("spec", ["simpleshot", "logistic(C='cv')"])
def test_batch_and_padding_change_nothing(spec: str) -> None:
    learner = load_learner(spec)
    episode, _ = make([2, 3, 1, 4])
    logits = learner(episode)
    torch.testing.assert_close(torch.cat([learner(one) for one in episode]), logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(learner(padded(episode)), logits, rtol=1e-6, atol=1e-6)


DEGENERATE: dict[str, Callable[[Episode], Episode]] = {
    "constant features": lambda e: e.replace(support=torch.ones_like(e.support), query=torch.ones_like(e.query)),
    "zero rows": lambda e: e.replace(support=torch.zeros_like(e.support), query=torch.zeros_like(e.query)),
    "equal support rows": lambda e: e.replace(support=e.support[:, :1].expand_as(e.support).contiguous()),
    "negative features": lambda e: e.replace(support=-e.support.abs(), query=-e.query.abs()),
    "one query": lambda e: e.replace(query=e.query[:, :1]),
    "large values": lambda e: e.replace(support=1e4 * e.support, query=1e4 * e.query),
}
NAMES = ["matching", "fine-tune", "fine-tune(head='cosine')", "baseline++", "lda", "lda(shrinkage='oas')", "subspace",
         "mahalanobis", "svm", "simpleshot", "logistic(C='cv')", "ridge", "logistic", "prototypes", "nearest"]  # fmt: skip


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("spec", NAMES)
@pytest.mark.parametrize("shots", [[1, 1, 1], [2, 0, 3]], ids=str)
def test_degenerate_episodes_give_no_nan(spec: str, case: str, shots: list[int]) -> None:
    if case == "large values" and spec == "fine-tune":
        pytest.skip("gradient descent at a fixed rate diverges on features of this size")
    episode, _ = make(shots, dtype=torch.float32)
    with warnings.catch_warnings():
        if case == "large values" and spec in ("svm", "logistic(C='cv')"):  # these say that they have not converged
            warnings.simplefilter("ignore", ConvergenceWarning)
        logits = load_learner(spec)(DEGENERATE[case](episode))
    absent = torch.tensor([count == 0 for count in shots])
    assert logits[..., ~absent].isfinite().all()
    assert (logits[..., absent] == -torch.inf).all()


@pytest.mark.parametrize(
    "spec",
    ["matching(scale=0)", "fine-tune(head='mlp')", "fine-tune(optimizer='lbfgs')", "fine-tune(steps=0)",
     "baseline++(lr=0)", "lda(shrinkage=0)", "lda(shrinkage='best')", "lda(prior='flat')", "subspace(dimensions=0)",
     "mahalanobis(regularisation=0)", "svm(C=0)", "simpleshot(normalisation='l2')", "logistic(C='best')",
     "logistic(folds=1)"],
)  # fmt: skip
def test_wrong_arguments_are_named(spec: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        load_learner(spec)


@pytest.mark.parametrize(
    ("spec", "way", "shot", "width"),
    [(name, *sizes) for name in ("lda", "mahalanobis", "subspace", "svm", "fine-tune", "ridge", "logistic")
     for sizes in ((20, 5, 640), (100, 1, 640), (5, 100, 64), (5, 5, 2048))],
)  # fmt: skip
def test_large_shapes_run(spec: str, way: int, shot: int, width: int) -> None:
    episode, targets = make([shot] * way, dim=width, episodes=1, query=1, dtype=torch.float32)
    logits = load_learner(spec)(episode)
    assert logits.isfinite().all()
    assert (logits.argmax(-1) == targets).float().mean() > 0.6


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Episode:
    """60 5-way 5-shot episodes of MobileNetV2 features of garments."""
    with np.load(shared_data / "mobilenet_features" / "clothing_testval.npz") as file:
        names = sorted(file.files)
        features = np.concatenate([file[name] for name in names if name.endswith("X")]).astype(np.float32)
        labels = np.concatenate([file[name] for name in names if name.endswith("y")])
    labels = np.unique(labels, return_inverse=True)[1]
    source = TensorSource(torch.from_numpy(features), torch.from_numpy(labels))
    drawn = EpisodeSampler(source.labels, way=5, shot=5, query=12).draw(0, 60)
    return Episode(source[drawn.support], drawn.labels, source[drawn.query], way=5)


@pytest.mark.parametrize(
    ("spec", "peer", "options", "transform"),
    [
        ("fine-tune(head='cosine', steps=200, lr=1e-4, optimizer='adam', weight_decay=0.0, scale=1.0)", "Finetune", {}, None),
        ("fine-tune(head='cosine', steps=30, lr=0.01, optimizer='adam', weight_decay=0.0, scale=10.0)", "Finetune",
         {"fine_tuning_steps": 30, "fine_tuning_lr": 0.01, "temperature": 10.0}, None),
        # Its SimpleShot compares by the cosine, the paper's by the distance.
        ("prototypes(distance='cosine')", "SimpleShot", {}, "l2"),
        ("simpleshot(normalisation='l2n')", "PrototypicalNetworks", {}, "l2"),
    ],
)  # fmt: skip
def test_agrees_with_easyfsl(
    real: Episode, spec: str, peer: str, options: dict[str, Any], transform: str | None
) -> None:
    methods = pytest.importorskip("easyfsl.methods")
    if transform:
        real = real.replace(support=normalize(real.support, dim=-1), query=normalize(real.query, dim=-1))
    ours = load_learner(spec)(real).argmax(-1)
    same = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for e, one in enumerate(real):
            classifier = getattr(methods, peer)(nn.Identity(), **options)
            classifier.process_support_set(one.support[0].clone(), one.labels[0])
            same.append(classifier(one.query[0].clone()).argmax(-1) == ours[e])
    assert torch.stack(same).float().mean() >= 0.995
