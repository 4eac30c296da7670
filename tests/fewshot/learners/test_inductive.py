"""Inductive learners: against plain numpy, scikit-learn and easyfsl."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references.inductive as references
import torch
from learner_episodes import expect, make, padded, up_to_a_constant
from torch import nn
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource
from fewshot import ConvergenceWarning, load_learner
from fewshot.learners import SimpleShot
from fewshot.learners.logistic import _GRID, _folds
from fewshot.maths.linalg import rows_of_classes
from fewshot.maths.simplex import onto_simplex

LEARNERS: dict[str, Callable[..., Any]] = {
    "matching(scale=10.0, centred=False)": references.matching,
    "matching(scale=1.0, centred=False)": partial(references.matching, scale=1.0),
    "matching": partial(references.rescaled, references.matching, size=False, scale=5.0),
    "fine-tune(steps=5)": partial(references.rescaled, references.fine_tune, steps=5, rate=3.0),
    "fine-tune(steps=5, lr=0.1)": partial(references.fine_tune, steps=5, rate=0.1),
    "fine-tune(steps=4, lr=0.1, optimizer='adam', weight_decay=0.0)": partial(
        references.fine_tune, steps=4, rate=0.1, optimiser="adam", decay=0.0
    ),
    "fine-tune(head='cosine', steps=4, lr=0.01, scale=2.0)": partial(
        references.fine_tune, head="cosine", steps=4, scale=2.0
    ),
    "fine-tune(head='squared', steps=4, lr=0.01, scale=0.5)": partial(
        references.fine_tune, head="squared", steps=4, scale=0.5
    ),
    "baseline++(steps=4, lr=0.01, scale=10.0)": partial(references.baseline_plus_plus, steps=4),
    "lda": partial(references.lda, shrinkage="auto"),
    "lda(shrinkage='ledoit-wolf')": references.lda,
    "lda(shrinkage='oas', prior='empirical')": partial(references.lda, shrinkage="oas", prior="empirical"),
    "lda(shrinkage=0.3)": partial(references.lda, shrinkage=0.3),
    "subspace": references.subspace,
    "subspace(dimensions=1)": partial(references.subspace, dimensions=1),
    "mahalanobis": partial(references.rescaled, references.mahalanobis, regularisation=0.3),
    "mahalanobis(regularisation=1.0)": references.mahalanobis,
    "mahalanobis(regularisation=0.05)": partial(references.mahalanobis, regularisation=0.05),
    "svm(C=0.1, gap=1e-10)": references.svm,
    "svm(gap=1e-10)": partial(references.rescaled, references.svm, C=1.0),
}


@pytest.mark.parametrize("spec", LEARNERS)
@pytest.mark.parametrize(
    ("shots", "dim"),
    [([1, 1, 1], 5), ([3, 3, 3], 5), ([1, 4, 2], 5), ([2, 0, 3], 12), ([9, 8, 9], 2)],
    ids=str,
)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    episode, _ = make(shots, dim=dim, episodes=2)
    if spec.startswith("svm") and dim == 2:
        pytest.skip("the reference's coordinate descent needs many thousand sweeps of 26 rows in a plane")
    if "adam" in spec and len(set(shots)) == 1:
        pytest.skip("gradients of biases are zero at first, and Adam makes a whole step of their numerical error")
    tolerance = 1e-4 if "adam" in spec else 1e-6
    logits, expected = load_learner(spec)(episode), expect(LEARNERS[spec], episode)
    if "squared" in spec:  # |q|² is left out
        logits, expected = up_to_a_constant(logits), up_to_a_constant(expected)
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spec", [*LEARNERS, "simpleshot", "logistic(C='cv')"])
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


# Other libraries


@pytest.mark.parametrize(("shrinkage", "theirs"), [(0.2, 0.2), (0.9, 0.9)])
def test_lda_equals_scikit_learn(shrinkage: float, theirs: float) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    episode, _ = make([4, 6, 5], dim=7, episodes=4)
    ours = load_learner(f"lda(shrinkage={shrinkage}, prior='empirical')")(episode)
    for e in range(len(episode)):
        peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=theirs)
        peer.fit(episode.support[e].numpy(), episode.labels[e].numpy())
        expected = torch.from_numpy(peer.decision_function(episode.query[e].numpy()))
        torch.testing.assert_close(ours[e], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["ledoit-wolf", "oas"])
@pytest.mark.parametrize("dim", [3, 30])
def test_shrinkage_equals_scikit_learn(kind: str, dim: int) -> None:
    from sklearn.covariance import ledoit_wolf, oas

    episode, _ = make([4, 6, 5], dim=dim, episodes=3)
    for e in range(3):
        rows, labels = episode.support[e].numpy(), episode.labels[e].numpy()
        centred = np.array([x - rows[labels == n].mean(0) for x, n in zip(rows, labels, strict=True)])
        covariance, _ = (ledoit_wolf if kind == "ledoit-wolf" else oas)(centred, assume_centered=True)
        inverse = np.linalg.inv(covariance)
        centres = np.array([rows[labels == n].mean(0) for n in range(3)])
        expected = episode.query[e].numpy() @ inverse @ centres.T - 0.5 * np.einsum(
            "nd,de,ne->n", centres, inverse, centres
        )
        found = load_learner(f"lda(shrinkage={kind!r})")(episode[e])[0]
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_svm_equals_scikit_learn(C: float) -> None:
    from sklearn.svm import LinearSVC

    episode, _ = make([4, 6, 5], dim=7, episodes=4)
    ours = load_learner(f"svm(C={C})")(episode)
    for e in range(len(episode)):
        peer = LinearSVC(C=C, multi_class="crammer_singer", fit_intercept=False, tol=1e-8, max_iter=1_000_000)
        peer.fit(episode.support[e].numpy(), episode.labels[e].numpy())
        expected = torch.from_numpy(peer.decision_function(episode.query[e].numpy()))
        torch.testing.assert_close(ours[e], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("shots", "dim", "C"), [([3, 3, 3], 12, 0.1), ([2, 0, 3], 12, 1.0), ([9, 8, 9], 2, 0.1)], ids=str
)
def test_svms_derivative_is_that_of_its_solution(shots: list[int], dim: int, C: float) -> None:
    episode = padded(make(shots, dim=dim, episodes=2)[0])
    classes = [n for n, count in enumerate(shots) if count]
    learner = load_learner(f"metaoptnet(C={C}, scale=1.0)").double()

    def logits(support: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return learner(episode.replace(support=support, query=query))[..., classes]

    rows = episode.support.clone().requires_grad_(), episode.query.clone().requires_grad_()
    assert torch.autograd.gradcheck(logits, rows, eps=1e-6, atol=1e-5, rtol=1e-3, fast_mode=True)
    plain = load_learner(f"svm(C={C}, gap=1e-10)")
    torch.testing.assert_close(learner(episode).detach(), plain(episode))


def test_svm_with_equal_rows_has_a_finite_derivative() -> None:
    episode = Episode(torch.ones(1, 4, 3, requires_grad=True), torch.tensor([[0, 1, 0, 1]]), torch.ones(1, 2, 3), 2)
    (gradient,) = torch.autograd.grad(load_learner("metaoptnet")(episode)[..., 0].sum(), episode.support)
    assert bool(gradient.isfinite().all())


def test_cross_validation_takes_what_scikit_learn_takes() -> None:
    from sklearn.linear_model import LogisticRegression

    episode, _ = make([6, 6, 6], dim=8, episodes=6, spread=0.5)
    folds = _folds(episode, 3)
    assert all(
        sorted(folds[e][episode.labels[e] == n].tolist()) == [0, 0, 1, 1, 2, 2] for e in range(6) for n in range(3)
    )
    learner = load_learner("logistic(C='cv', folds=3)")
    chosen = learner._cross_validated(episode)
    for e in range(len(episode)):
        rows, labels, fold = episode.support[e].numpy(), episode.labels[e].numpy(), folds[e].numpy()
        totals = []
        for C in _GRID:
            total = 0.0
            for number in range(3):
                out = fold == number
                model = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(rows[~out], labels[~out])
                total += np.log(model.predict_proba(rows[out])[np.arange(out.sum()), labels[out]]).sum()
            totals.append(total)
        assert chosen[e] == pytest.approx(_GRID[int(np.argmax(totals))])
        same = load_learner(f"logistic(C={float(chosen[e])})")(episode[e])
        torch.testing.assert_close(learner(episode[e]), same, rtol=1e-6, atol=1e-6)
    assert len(chosen.unique()) > 1, "the episodes do not tell one C from another"


def test_simpleshot_is_a_chain() -> None:
    episode, _ = make([3, 3, 3])
    for normalisation, chain in (("un", "prototypes"), ("l2n", "l2 | prototypes"), ("cl2n", "cl2n | prototypes")):
        found = load_learner(f"simpleshot(normalisation={normalisation!r})")(episode)
        torch.testing.assert_close(found, load_learner(chain)(episode))
    base = 3 + torch.randn(50, episode.support.shape[-1], generator=torch.Generator().manual_seed(0))
    fitted = SimpleShot().fit(base)(episode)
    chain_fitted = load_learner("cl2n | prototypes").fit(base)(episode)  # type: ignore[operator]
    torch.testing.assert_close(fitted, chain_fitted)
    assert not torch.allclose(fitted, SimpleShot()(episode))


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


# Shared maths


def test_rows_are_sorted_by_class() -> None:
    episode, _ = make([2, 3, 0, 1])
    rows, real = rows_of_classes(padded(episode))
    assert real.sum(-1).tolist() == [[2, 3, 0, 1]] * len(episode)
    for e in range(len(episode)):
        for n in range(4):
            torch.testing.assert_close(rows[e, n][real[e, n]], episode.support[e][episode.labels[e] == n])
    assert (rows[~real] == 0).all()


def test_projection_onto_a_simplex() -> None:
    values = torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0, 2] = -torch.inf
    found = onto_simplex(values, 0.7)
    assert (found >= 0).all() and found[0, 2] == 0
    torch.testing.assert_close(found.sum(-1), torch.full((200,), 0.7, dtype=torch.float64))
    # Of the nearest point, values - found is constant where found > 0 and no larger elsewhere.
    level = (values - found).where(found > 0, -torch.inf).amax(-1, keepdim=True)
    assert ((values - found).where(found > 0, level) - level).abs().max() < 1e-12
    assert (values - found <= level + 1e-12).all()
