"""Unlabelled rows, and distractors of other classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from episodes import EpisodeSampler, SemiSupervisedSampler, TensorSource, evaluate


def test_unlabelled_rows_are_of_the_episodes_classes_and_in_no_other_part() -> None:
    labels = np.repeat(np.arange(9), 40)
    sampler = SemiSupervisedSampler(labels, way=4, shot=2, query=5, seed=1, unlabelled=6)
    drawn = sampler.draw(0, 200)
    plain = EpisodeSampler(labels, way=4, shot=2, query=5, seed=1).draw(0, 200)
    for field in ("support", "labels", "query", "targets", "classes"):
        assert torch.equal(getattr(drawn, field), getattr(plain, field)), field
    assert drawn.unlabelled is not None and drawn.unlabelled.shape == (200, 24)
    classes = torch.from_numpy(labels)[drawn.unlabelled].view(200, 4, 6)
    assert torch.equal(classes, drawn.classes[:, :, None].expand(-1, -1, 6))
    everything = drawn.rows.sort(1).values
    assert (everything[:, 1:] != everything[:, :-1]).all()
    assert torch.equal(sampler.draw(50, 7).unlabelled, drawn.unlabelled[50:57])


def test_distractors_are_of_other_classes() -> None:
    labels = torch.arange(12).repeat_interleave(20)
    drawn = SemiSupervisedSampler(labels, way=5, shot=1, query=5, unlabelled=4, distractors=3).draw(0, 300)
    assert drawn.unlabelled is not None
    strange = labels[drawn.unlabelled[:, 20:]]  # [E, 12]
    assert not (strange[:, :, None] == drawn.classes[:, None, :]).any()
    assert all(len(set(row.tolist())) == 3 for row in strange)
    with pytest.raises(ValueError, match="distractors=8"):
        SemiSupervisedSampler(labels, way=5, shot=1, query=5, unlabelled=4, distractors=8)
    with pytest.raises(ValueError, match="at least 1"):
        SemiSupervisedSampler(labels, unlabelled=0)


def test_unlabelled_rows_help_a_learner_that_uses_them() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 16, generator=generator).repeat_interleave(60, 0)
    source = TensorSource(
        centres + 1.6 * torch.randn(600, 16, generator=generator), torch.arange(10).repeat_interleave(60)
    )
    learner = "soft-kmeans(queries=False)"
    scores = []
    for sampler in (
        EpisodeSampler(source.labels, way=5, shot=1, query=10),
        SemiSupervisedSampler(source.labels, way=5, shot=1, query=10, unlabelled=20),
    ):
        scores.append(evaluate(learner, source, sampler, episodes=300, progress=False)[learner].mean)
    assert scores[1] > scores[0] + 0.03
