"""All transductive learners: unlabelled rows, degenerate episodes, wrong arguments, and easyfsl."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references.transductive as references
import torch
from learner_episodes import make
from torch import Tensor, nn
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource
from fewshot import load_learner


@pytest.mark.parametrize(
    "spec",
    [
        "label-propagation",
        "soft-kmeans(scale=1.0, validated=False, limit=None)",
        "soft-kmeans(scale=1.0, queries=False, distractors=True, validated=False, limit=None)",
    ],
)
def test_unlabelled_rows_are_used(spec: str) -> None:
    episode, _ = make([2, 2, 2], dim=5, episodes=3)
    more = episode.query + 0.1
    found = load_learner(spec)(episode.replace(unlabelled=more))
    options = {"queries": False, "distractors": True} if "distractors" in spec else {}
    reference = references.label_propagation if spec.startswith("label") else references.soft_kmeans
    for e in range(3):
        expected = reference(
            episode.support[e].numpy(), episode.labels[e].numpy(), episode.query[e].numpy(), 3,
            unlabelled=more[e].numpy(), **options,
        )  # fmt: skip
        torch.testing.assert_close(found[e], torch.from_numpy(expected), rtol=1e-6, atol=1e-6)


DEGENERATE: dict[str, Callable[[Episode], Episode]] = {
    "constant features": lambda e: e.replace(support=torch.ones_like(e.support), query=torch.ones_like(e.query)),
    "zero rows": lambda e: e.replace(support=torch.zeros_like(e.support), query=torch.zeros_like(e.query)),
    "equal support rows": lambda e: e.replace(support=e.support[:, :1].expand_as(e.support).contiguous()),
    "negative features": lambda e: e.replace(support=-e.support.abs(), query=-e.query.abs()),
    "queries of one class": lambda e: e.replace(query=e.query[:, :1].expand_as(e.query).contiguous()),
    "one query": lambda e: e.replace(query=e.query[:, :1]),
    "large values": lambda e: e.replace(support=1e4 * e.support, query=1e4 * e.query),
}
NAMES = [
    "bd-cspn", "laplacian-shot", "label-propagation", "soft-kmeans", "soft-kmeans(distractors=True)",
    "tim(steps=20)", "tim(steps=20, metric='cosine')", "tim(steps=20, metric='euclidean')", "alpha-tim(steps=20)",
    "transductive-finetune", "tim-adm", "pt-map", "pt-map(query_prior='free')",
]  # fmt: skip


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("spec", NAMES)
@pytest.mark.parametrize("shots", [[1, 1, 1], [2, 0, 3]], ids=str)
def test_degenerate_episodes_give_no_nan(spec: str, case: str, shots: list[int]) -> None:
    episode, _ = make(shots, dtype=torch.float32)
    logits = load_learner(spec)(DEGENERATE[case](episode))
    absent = torch.tensor([count == 0 for count in shots])
    assert logits[..., ~absent].isfinite().all()
    assert (logits[..., absent] == -torch.inf).all()


@pytest.mark.parametrize(
    "spec",
    ["laplacian-shot(steps=0)", "label-propagation(spread=1.0)", "soft-kmeans(steps=0)", "soft-kmeans(limit=0.0)",
     "tim(metric='l2')", "alpha-tim(alpha=1.0)", "alpha-tim(alpha='few')", "tim-adm(momentum=0.0)", "pt-map(query_prior='balanced')",
     "pt-map(lr=2.0)", "pt-map(tightness=0.0)", "pt-map(means=-1.0)", "transductive-finetune(steps=0)", "tim(steps=0)"],
)  # fmt: skip
def test_wrong_arguments_are_named(spec: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        load_learner(spec)


# The peer


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Episode:
    """60 5-way 5-shot episodes of MobileNetV2 features of garments, as they are: non-negative, not normalised."""
    with np.load(shared_data / "mobilenet_features" / "clothing_testval.npz") as file:
        names = sorted(file.files)
        features = np.concatenate([file[name] for name in names if name.endswith("X")]).astype(np.float32)
        labels = np.concatenate([file[name] for name in names if name.endswith("y")])
    labels = np.unique(labels, return_inverse=True)[1]
    source = TensorSource(torch.from_numpy(features), torch.from_numpy(labels))
    drawn = EpisodeSampler(source.labels, way=5, shot=5, query=12).draw(0, 60)
    return Episode(source[drawn.support], drawn.labels, source[drawn.query], way=5)


def easyfsl(name: str, episode: Episode, **options: Any) -> Tensor:
    """Predictions of the peer, episode by episode ``[E, Q]``."""
    methods = pytest.importorskip("easyfsl.methods")
    answers = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in episode:
            classifier = getattr(methods, name)(nn.Identity(), **options)
            classifier.process_support_set(one.support[0].clone(), one.labels[0])
            answers.append(classifier(one.query[0].clone()).argmax(-1))
    return torch.stack(answers)


@pytest.mark.parametrize(
    ("spec", "peer", "options", "unit"),
    [
        # It scores the queries as they came; the paper moves them.
        ("bd-cspn(sharpness=1.0, shift_logits=False)", "BDCSPN", {}, False),
        # Its k counts a query as its own neighbour; its weights have no sharpness.
        ("laplacian-shot(sharpness=1.0, neighbours=2, regularisation=0.7, rectify=True)", "LaplacianShot", {"knn": 3}, True),
        ("laplacian-shot(sharpness=1.0, neighbours=2, regularisation=0.1, rectify=True)", "LaplacianShot",
         {"knn": 3, "lambda_regularization": 0.1}, True),
        ("tim(steps=50, lr=1e-4, scale=10.0, cross_entropy=1.0, metric='cosine')", "TIM", {}, False),
        ("tim(steps=50, lr=0.01, scale=10.0, cross_entropy=1.0, metric='cosine')", "TIM",
         {"fine_tuning_lr": 0.01}, True),
        ("transductive-finetune(steps=25, lr=5e-5, scale=1.0, entropy=1.0, metric='euclidean')", "TransductiveFinetuning", {}, False),
        ("transductive-finetune(steps=25, lr=0.01, scale=5.0, entropy=1.0, metric='euclidean')", "TransductiveFinetuning",
         {"fine_tuning_lr": 0.01, "temperature": 5.0}, True),
        # At its sharpness of 10, exp(-10 d²) of these features is below what its float32 can hold.
        ("pt-map(lr=0.2, normalise=False, sharpness=1.0, tightness=None, means=0.0)", "PTMAP", {"lambda_regularization": 1.0}, True),
    ],
)  # fmt: skip
def test_agrees_with_easyfsl(real: Episode, spec: str, peer: str, options: dict[str, Any], unit: bool) -> None:
    if unit:
        real = real.replace(support=normalize(real.support, dim=-1), query=normalize(real.query, dim=-1))
    ours = load_learner(spec)(real).argmax(-1)
    assert (ours == easyfsl(peer, real, **options)).float().mean() >= 0.995
