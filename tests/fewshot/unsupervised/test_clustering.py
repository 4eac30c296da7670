"""Clusters, and how well they match classes: against all matchings, one by one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from episodes import TensorSource
from fewshot import cluster
from fewshot.unsupervised import matched_accuracy


@pytest.mark.parametrize(("classes", "groups"), [(4, 4), (3, 5), (5, 3)])
def test_matched_accuracy_is_the_best_of_all_matchings(classes: int, groups: int) -> None:
    random = np.random.default_rng(classes)
    labels, clusters = random.integers(0, classes, 40), random.integers(0, groups, 40)
    most = max(classes, groups)
    best = max(np.mean(np.array(order)[clusters] == labels) for order in permutations(range(most)))
    found, matches = matched_accuracy(labels.tolist(), torch.from_numpy(clusters), classes, groups)
    assert found == pytest.approx(best)
    assert len(matches) == groups
    known = [match for match in matches if match is not None]
    assert len(known) == min(classes, groups) == len(set(known))
    by_match = np.array([-1 if match is None else match for match in matches])[clusters]
    assert np.mean(by_match == labels) == pytest.approx(best)


def blobs() -> TensorSource:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    return TensorSource(
        4 * torch.eye(3)[labels] + 0.3 * torch.randn(60, 3, generator=generator), labels, ["a", "b", "c"]
    )


def test_separate_classes_are_found_and_reported() -> None:
    found = cluster("pixels", blobs(), cache=False, progress=False)
    assert (found.accuracy, found.nmi, found.ari) == (1.0, pytest.approx(1.0), pytest.approx(1.0))
    assert [found.matches[group] for group in found.labels.tolist()] == [  # type: ignore[index]
        blobs().class_names[label] for label in blobs().labels.tolist()
    ]
    assert "60 rows in 3 groups: matched accuracy 100.0 %, NMI 1.000, ARI 1.000" in str(found)
    assert found.setting == "unsupervised"
    again = cluster("pixels", blobs(), cache=False, progress=False)
    assert torch.equal(found.labels, again.labels)
    for group in range(3):
        rows = torch.nn.functional.normalize(blobs().features[found.labels == group].double(), dim=1)
        torch.testing.assert_close(found.centres[group], rows.mean(0))


def test_other_numbers_of_groups_and_rows_without_classes() -> None:
    more = cluster("pixels", blobs(), 5, cache=False, progress=False)
    assert more.matches is not None and more.matches.count(None) == 2 and 0.4 < (more.accuracy or 0) < 1
    assert 0 < (more.ari or 0) < 1
    plain = cluster("pixels", blobs().features, 3, unit=False, cache=False, progress=False)
    assert plain.accuracy is plain.nmi is plain.matches is None and str(plain) == "60 rows in 3 groups"
    assert plain.labels.bincount().tolist() == [20, 20, 20]


def test_what_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(ValueError, match="give clusters="):
        cluster("pixels", blobs().features, cache=False, progress=False)
    with pytest.raises(ValueError, match="60 rows cannot make 61"):
        cluster("pixels", blobs(), 61, cache=False, progress=False)
    with pytest.raises(ValueError, match=r"must be \[M\]"):
        matched_accuracy([0, 1], [0])
