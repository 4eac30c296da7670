"""Transductive learners: against plain numpy, easyfsl and their own claims."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references.transductive as references
import torch
from learner_episodes import expect, make, padded, up_to_a_constant
from torch import Tensor, nn
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource
from fewshot import load_learner
from fewshot.maths.transport import transport

GENTLE = {"steps": 3, "rate": 0.05, "scale": 2.0}
TUNED = partial(references.tuned, **GENTLE)
TIM = {"weights": (0.1, 1.0, 0.1), "alpha": None}
LEARNERS: dict[str, Callable[..., Any]] = {
    "bd-cspn": references.bd_cspn,
    "bd-cspn(sharpness=1.0, scale=3.0)": partial(references.bd_cspn, sharpness=1.0, scale=3.0),
    "laplacian-shot": references.laplacian_shot,
    "laplacian-shot(rectify=True, neighbours=3, regularisation=0.2, steps=5)": partial(
        references.laplacian_shot, rectify=True, neighbours=3, regularisation=0.2, steps=5
    ),
    "label-propagation": references.label_propagation,
    "label-propagation(neighbours=3, power=1.0, spread=0.5)": partial(
        references.label_propagation, neighbours=3, power=1.0, spread=0.5
    ),
    "label-propagation(centred=False, power=3.0)": partial(references.label_propagation, centred=False, power=3.0),
    "soft-kmeans": partial(references.rescaled, references.soft_kmeans, scale=10.0),
    "soft-kmeans(scale=1.0)": references.soft_kmeans,
    "soft-kmeans(steps=4, scale=0.2)": partial(references.soft_kmeans, steps=4, scale=0.2),
    "soft-kmeans(distractors=True, scale=0.1, steps=2)": partial(
        references.soft_kmeans, distractors=True, scale=0.1, steps=2
    ),
    "soft-kmeans(queries=False, scale=1.0)": partial(references.soft_kmeans, queries=False),
    "tim(steps=3, lr=0.02)": partial(
        references.rescaled, references.tuned, **TIM, steps=3, rate=0.02, scale=10.0, metric="squared"
    ),
    "transductive-finetune(steps=3)": partial(
        references.rescaled,
        references.tuned,
        weights=(1.0, 0.0, 0.1),
        alpha=None,
        steps=3,
        rate=1e-4,
        scale=10.0,
        metric="cosine",
    ),
    "tim-adm(steps=2)": partial(references.rescaled, references.tim_adm, steps=2, scale=10.0),
    "tim(steps=3, lr=0.05, scale=2.0)": partial(TUNED, **TIM, metric="squared"),
    "tim(steps=3, lr=0.05, scale=2.0, metric='cosine')": partial(TUNED, **TIM, metric="cosine"),
    "tim(steps=3, lr=0.05, scale=2.0, metric='euclidean')": partial(TUNED, **TIM, metric="euclidean"),
    "alpha-tim(steps=3, lr=0.05, scale=2.0, alpha=3.0)": partial(
        TUNED, weights=(1.0, 1.0, 1.0), alpha=3.0, metric="squared"
    ),
    "transductive-finetune(steps=3, lr=0.05, scale=2.0, entropy=1.0)": partial(
        TUNED, weights=(1.0, 0.0, 1.0), alpha=None, metric="cosine"
    ),
    "tim-adm(steps=12, scale=1.0, momentum=1.0)": partial(references.tim_adm, steps=12, scale=1.0, momentum=1.0),
    "pt-map(marginal_tolerance=1e-12, steps=5)": partial(references.pt_map, steps=5),
    "pt-map(query_prior='free', power=1.0)": partial(references.pt_map, query_prior="free", power=1.0),
}


@pytest.mark.parametrize("spec", LEARNERS)
@pytest.mark.parametrize("shots", [[1, 1, 1], [3, 3, 3], [1, 4, 2, 3], [2, 0, 3]], ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int]) -> None:
    if "tim(" in spec and "adm" not in spec and len(shots) > 3:
        pytest.skip("numerical derivatives: three classes say as much")
    episode, _ = make(shots, dim=5, episodes=2)
    logits, expected = load_learner(spec)(episode), expect(LEARNERS[spec], episode)
    if "squared" in str(LEARNERS[spec]) or spec.startswith("tim-adm"):  # |q|² is left out
        logits, expected = up_to_a_constant(logits), up_to_a_constant(expected)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", LEARNERS)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    learner = load_learner(spec)
    episode, _ = make([2, 3, 1, 4], dtype=torch.float64)
    logits = learner(episode)
    torch.testing.assert_close(torch.cat([learner(one) for one in episode]), logits, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(learner(padded(episode)), logits, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "spec", ["label-propagation", "soft-kmeans(scale=1.0)", "soft-kmeans(scale=1.0, queries=False, distractors=True)"]
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
    ["laplacian-shot(steps=0)", "label-propagation(spread=1.0)", "soft-kmeans(steps=0)", "tim(metric='l2')",
     "alpha-tim(alpha=1.0)", "alpha-tim(alpha='few')", "tim-adm(momentum=0.0)", "pt-map(query_prior='balanced')",
     "pt-map(lr=2.0)", "transductive-finetune(steps=0)", "tim(steps=0)"],
)  # fmt: skip
def test_wrong_arguments_are_named(spec: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        load_learner(spec)


def test_alpha_follows_the_shots_of_each_episode() -> None:
    few, _ = make([4, 4, 4], dtype=torch.float32, episodes=2)
    many, _ = make([5, 5, 5], dtype=torch.float32, episodes=2)
    arguments = "steps=5, lr=0.01, scale=1.0"
    for episode, alpha in ((few, 2.0), (many, 7.0)):
        automatic = load_learner(f"alpha-tim(alpha='auto', {arguments})")(episode)
        torch.testing.assert_close(automatic, load_learner(f"alpha-tim(alpha={alpha}, {arguments})")(episode))


def test_transport_plans_have_their_marginals() -> None:
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(5, 12, 3, generator=generator)
    cost[0, :, 1] = torch.inf
    columns = torch.tensor([[6.0, 0, 6], [4, 4, 4], [1, 1, 10], [2, 9, 1], [4, 4, 4]])
    plan, _ = transport(cost.mT, columns, 10.0, 1e-9)
    plan = plan.mT
    torch.testing.assert_close(plan.sum(-1), torch.ones(5, 12, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(1), columns.double(), atol=1e-7, rtol=0)
    alone = torch.cat([transport(cost[e : e + 1].mT, columns[e : e + 1], 10.0, 1e-9)[0].mT for e in range(5)])
    assert torch.equal(plan, alone)


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
        ("pt-map(steps=10, normalise=False, sharpness=1.0)", "PTMAP", {"lambda_regularization": 1.0}, True),
    ],
)  # fmt: skip
def test_agrees_with_easyfsl(real: Episode, spec: str, peer: str, options: dict[str, Any], unit: bool) -> None:
    if unit:
        real = real.replace(support=normalize(real.support, dim=-1), query=normalize(real.query, dim=-1))
    ours = load_learner(spec)(real).argmax(-1)
    assert (ours == easyfsl(peer, real, **options)).float().mean() >= 0.995


def test_tim_adm_does_not_let_rounding_decide_among_many_classes(shared_data: Path) -> None:
    """37 textures; with whole steps assignments swing, and noise of 1e-6 moves an episode by 5 points."""
    with np.load(shared_data / "clip_vitb32" / "dtd.npz") as file:
        source = TensorSource(file["test_X"].astype(np.float32), file["test_y"])
    drawn = EpisodeSampler(source.labels, way=37, shot=5, query=10, seed=0).draw(0, 4)
    rows, cut = source[drawn.rows], drawn.support.shape[1]
    episode = Episode(rows[:, :cut], drawn.labels, rows[:, cut:], way=37)
    noise = 1e-6 * torch.randn(episode.query.shape, generator=torch.Generator().manual_seed(0))

    def accuracy(spec: str, of: Episode) -> Tensor:
        return 100 * (load_learner(spec)(of).argmax(-1) == drawn.targets).double().mean(1)

    steady = accuracy("tim-adm", episode)
    moved = accuracy("tim-adm", episode.replace(query=episode.query + noise)) - steady
    assert moved.abs().max() < 0.5
    assert steady.mean() > accuracy("prototypes", episode).mean() + 2
