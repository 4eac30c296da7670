"""Defaults that hold on features of any size: "auto" is a number for rescaled features, and large supports are no trouble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from learner_episodes import make, padded, up_to_a_constant
from torch import Tensor
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource, compare, evaluate
from fewshot import load_learner
from fewshot.learners.mahalanobis import MahalanobisState
from fewshot.maths.crammer_singer import Gram
from fewshot.maths.simplex import onto_simplex
from fewshot.maths.spread import spread

AUTO = {
    "logistic": "logistic(C=3.0)",
    "ridge": "ridge(alpha=3.0, means=0.1)",  # three shots
    "svm": "svm(C=1.0)",
    "fine-tune": "fine-tune(lr=3.0, means=0.1)",
    "fine-tune(head='cosine')": "fine-tune(head='cosine', lr=0.1)",
    "mahalanobis": "mahalanobis(regularisation=0.3)",
    "soft-kmeans": "soft-kmeans(scale=10.0)",
    "tim": "tim(scale=10.0)",
    "alpha-tim": "alpha-tim(scale=15.0)",
    "tim-adm(steps=20)": "tim-adm(steps=20, scale=10.0)",
    "transductive-finetune": "transductive-finetune(lr=1e-4)",
}


@pytest.mark.parametrize("spec", AUTO)
def test_auto_is_a_number_for_rescaled_features(spec: str) -> None:
    episode = padded(make([3, 3, 3])[0])
    found, expected = load_learner(spec)(episode), load_learner(f"rescale | {AUTO[spec]}")(episode)
    torch.testing.assert_close(up_to_a_constant(found), up_to_a_constant(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", [*AUTO, "label-propagation", "matching", "lda"])
@pytest.mark.parametrize(("size", "offset"), [(1e-3, 0.0), (40.0, 0.0), (1.0, 5.0)])
def test_size_and_offset_of_the_features_change_no_prediction(spec: str, size: float, offset: float) -> None:
    episode, _ = make([3, 3, 3])
    other = episode.replace(support=size * episode.support + offset, query=size * episode.query + offset)
    learner = load_learner(spec)
    same = (learner(other).argmax(-1) == learner(episode).argmax(-1)).float().mean()
    assert same >= 0.99


@pytest.mark.parametrize("value", ["'best'", "0", "-1.0", "inf"])
@pytest.mark.parametrize("spec", ["ridge(alpha={})", "svm(C={})", "fine-tune(lr={})", "soft-kmeans(scale={})",
                                  "tim(scale={})", "mahalanobis(regularisation={})", "proker(beta={})"])  # fmt: skip
def test_what_is_neither_auto_nor_positive_is_refused(spec: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"must be 'auto' .* or positive and finite"):
        load_learner(spec.format(value))


def test_adam_has_no_automatic_rate() -> None:
    with pytest.raises(ValueError, match="is a rate of SGD"):
        load_learner("fine-tune(optimizer='adam')")


def test_spread_is_one_where_all_rows_are_the_same() -> None:
    rows = torch.full((2, 4, 3), 0.1)
    size = spread(rows, torch.ones(2, 4, dtype=torch.bool))
    assert torch.equal(size.root, torch.ones(2, 1, 1))


def test_the_bound_of_the_largest_eigenvalue_is_one() -> None:
    rows = torch.randn(5, 30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[1] *= 1e4
    rows[2] *= 1e-4
    rows[3] = 0
    rows[4, 1:] = 0
    gram = rows @ rows.mT
    largest = torch.linalg.eigvalsh(gram)[:, -1].view(-1, 1, 1)
    for bound in (Gram(rows).largest(), Gram(gram, True).largest()):
        assert (bound >= largest * (1 - 1e-9)).all() and (bound <= 1.6 * largest + 1e-9).all()


def test_projections_of_many_numbers_are_those_of_a_sort() -> None:
    values = torch.randn(50, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0, 3:] = -torch.inf
    values[1] = 1.0
    ordered = values.sort(-1, descending=True).values
    excess = (ordered.clamp(min=-1e30).cumsum(-1) - 0.7) / torch.arange(1, 201)
    place = ((ordered - excess) > 0).sum(-1, keepdim=True) - 1
    expected = (values - excess.gather(-1, place)).clamp(min=0)
    torch.testing.assert_close(onto_simplex(values, 0.7), expected, rtol=1e-12, atol=1e-12)


def numbers(state: object) -> int:
    return sum(map(numbers, state)) if isinstance(state, tuple) else state.numel() if isinstance(state, Tensor) else 0


def crowd(ways: int, shots: int, width: int) -> Episode:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(ways, width, generator=generator)
    labels, asked = torch.arange(ways).repeat_interleave(shots), torch.arange(ways)
    rows, query = (
        normalize(centres[index] + torch.randn(len(index), width, generator=generator), dim=-1)
        for index in (labels, asked)
    )
    return Episode(rows[None], labels[None], query[None], way=ways)


def test_mahalanobis_keeps_no_matrix_for_each_class() -> None:
    episode = crowd(60, 8, 32)
    state = load_learner("mahalanobis").adapt(episode)
    assert isinstance(state, MahalanobisState)
    assert numbers(state) < 2 * episode.support.numel() + 10_000


@pytest.mark.parametrize("spec", ["svm", "distribution-calibration", "logistic(C='cv')", "mahalanobis", "tim"])
def test_many_classes_are_told_apart(spec: str) -> None:
    episode = crowd(60, 8, 64)
    with torch.no_grad():
        found = load_learner(spec)(episode).argmax(-1)[0]
    assert (found == torch.arange(60)).float().mean() > 0.9


@pytest.mark.parametrize("name", ["dtd"])
def test_no_default_falls_behind_class_means_on_real_features(shared_data: Path, name: str) -> None:
    with np.load(shared_data / "clip_vitb32" / f"{name}.npz") as file:
        source = TensorSource(file["test_X"].astype(np.float32), file["test_y"], name=name)
    specs = ["transductive-finetune", "label-propagation", "soft-kmeans", "svm", "logistic", "tim", "alpha-tim", "lda"]
    for shot in (1, 5):
        sampler = EpisodeSampler(source.labels, 5, shot, 10)
        results = evaluate(["l2 | prototypes", *(f"l2 | {spec}" for spec in specs)], source, sampler, episodes=40)
        for spec in specs:
            found = compare(results[f"l2 | {spec}"], results["l2 | prototypes"])
            assert found.difference > -0.01, (spec, shot, str(found))
