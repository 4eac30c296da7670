"""Sums from which rows are taken equal sums over the others."""

from __future__ import annotations

import pytest
import torch

from episodes.episode import Support
from fewshot.maths.held_out import remaining, some_rows, without_rows


def drawn(*, weighted: bool) -> tuple[torch.Tensor, ...]:
    """Rows, labels with classes of one to six rows, weights, and three sets of rows to leave out."""
    random = torch.Generator().manual_seed(0)
    labels = torch.tensor([[0, 3, 1, 1, 3, 2, 0, 3, 1, 3, 3, 2, 3]])
    rows = torch.randn(1, 13, 4, generator=random, dtype=torch.float64)
    weights = torch.rand(1, 13, generator=random, dtype=torch.float64) + 0.1 if weighted else torch.ones(1, 13).double()
    left = torch.zeros(3, 13, dtype=torch.bool)
    left[0, [0, 1, 2, 5]] = True  # one of each class
    left[1, [0, 6, 3, 4, 7]] = True  # a whole class, and more of one than of another
    return rows, labels, weights, left  # the third copy loses none


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_scatter_and_means_without_rows_are_those_of_the_others(weighted: bool, together: bool) -> None:
    rows, labels, weights, left = drawn(weighted=weighted)
    group = torch.zeros_like(labels) if together else labels
    groups = int(group.max()) + 1

    def means(share: torch.Tensor) -> torch.Tensor:
        places = [share * (group[0] == number) for number in range(groups)]
        return torch.stack([(place @ rows[0]) / place.sum().clamp(min=1e-9) for place in places])

    centre = means(weights[0])
    around = rows - centre[group[0]]
    whole = around.mT @ (around * weights.unsqueeze(-1))
    rest = remaining(around, weights, labels, 4, left, together=together)
    scatter = rest.scatter(whole)
    for number, out in enumerate(left):
        share = torch.where(out, 0, weights[0])
        expected = means(share)
        there = torch.tensor([bool((share * (group[0] == g)).any()) for g in range(groups)])
        torch.testing.assert_close((centre + rest.shift[number])[there], expected[there])
        own = rows[0] - expected[group[0]]
        torch.testing.assert_close(scatter[number], own.mT @ (own * share.unsqueeze(-1)))
        lost = torch.stack([((weights[0] * out * (labels[0] == n)) @ around[0]) for n in range(4)])
        torch.testing.assert_close(rest.lost[number], lost)
        torch.testing.assert_close(rest.share[number], share)


def test_copies_lack_their_rows_and_share_the_rest() -> None:
    rows, labels, weights, left = drawn(weighted=True)
    support = Support(rows, labels, way=4, text=torch.ones(1, 4, 2), ids=torch.tensor([7]), weights=weights)
    copies = without_rows(support, left)
    assert copies.ids is not None and copies.ids.tolist() == [0, 1, 2] and copies.way == 4
    assert torch.equal(copies.labels == -1, left) and torch.equal(copies.labels[2], labels[0])
    assert copies.support.shape == (3, 13, 4) and copies.support.data_ptr() == rows.data_ptr()
    assert copies.text is not None and copies.text.shape == (3, 4, 2) and copies.weights is not None


def test_some_rows_are_spread_over_classes_whatever_their_order() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.tensor([2, -1, 0, 0, 2, 0, 0, 1, 0, 2, 0, 0]).expand(2, -1)
    rows = torch.randn(2, 12, 3, generator=random)
    support = Support(rows, labels, way=4, ids=torch.arange(2))
    assert torch.equal(some_rows(support, 12), torch.arange(12).expand(2, -1))
    place = some_rows(support, 7)
    chosen = labels.gather(1, place)
    assert chosen.sort(1).values.tolist() == [[0, 0, 0, 1, 2, 2, 2]] * 2
    order = torch.randperm(12, generator=random)
    again = some_rows(support.replace(support=rows[:, order], labels=labels[:, order]), 7)
    assert torch.equal(order[again], place)
    assert (labels.gather(1, some_rows(support, 11)) >= 0).all()
