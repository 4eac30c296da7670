"""Adversarial terms: the reversed gradient, and who is trained in which direction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from alignment_examples import pair
from torch.nn import functional as F

from fewshot.transfer.alignment import Alignment, load_alignment
from fewshot.transfer.alignment.adversarial import reversal_strength, reverse_gradient


def begun(spec: str) -> Alignment:
    made = load_alignment(spec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made.begin(4)
    return made.double()


def test_gradient_reversal_is_exact() -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse_gradient(x, 0.3), x)
    plain = torch.autograd.grad(x.sin().sum(), x)[0]
    assert torch.equal(torch.autograd.grad(reverse_gradient(x, 0.3).sin().sum(), x)[0], -0.3 * plain)
    first = torch.autograd.grad(reverse_gradient(x, 0.3).sin().sum(), x, create_graph=True)[0]
    assert torch.allclose(torch.autograd.grad(first.sum(), x)[0], -0.3 * 0.3 * x.sin())  # of second order as well


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_schedule_of_the_reversal(p: float) -> None:
    assert reversal_strength(p) == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1, abs=1e-15)
    assert reversal_strength(0.0) == 0.0


def test_dann_trains_its_head_forwards_and_the_features_backwards() -> None:
    term, (s, t) = begun("dann(weight=0.7)"), pair()
    first, second = term.head[0], term.head[2]
    found = term(s, t, 0.25)
    x, w = torch.cat([s, t]).detach().requires_grad_(), np.array([1.0] * 6 + [0.0] * 9)
    logits = second(first(x).relu()).squeeze(1)
    p_source = 1 / (1 + np.exp(logits.detach().numpy()))
    loss = -np.log(np.where(w == 1, p_source, 1 - p_source))
    assert float(found.detach()) == pytest.approx((loss[w == 1].mean() + loss[w == 0].mean()) / 2, rel=1e-12)
    share = torch.from_numpy(np.where(w == 1, 1 / 6, 1 / 9) / 2)
    plain = (F.binary_cross_entropy_with_logits(logits, torch.from_numpy(1 - w), reduction="none") * share).sum()
    head = list(term.parameters())
    wanted = torch.autograd.grad(plain, [x, *head])
    got = torch.autograd.grad(found, [s, t, *head])
    strength = 0.7 * reversal_strength(0.25)
    torch.testing.assert_close(torch.cat(got[:2]), -strength * wanted[0])
    for one, other in zip(got[2:], wanted[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_confusion_draws_answers_to_one_half_and_its_head_to_the_domains() -> None:
    term, (s, t) = begun("confusion(weight=0.7)"), pair()
    own = torch.cat([s, t])
    guess = (term.head(own)).log_softmax(1)
    value = guess.detach().numpy()
    head_loss = -(value[:6, 0].mean() + value[6:, 1].mean()) / 2
    unsure = -value.mean(1)
    found = term(s, t, 0.5)
    assert float(found.detach()) == pytest.approx(
        head_loss + 0.7 * (unsure[:6].mean() + unsure[6:].mean()) / 2, rel=1e-12
    )
    of_head = -(guess[:6, 0].mean() + guess[6:, 1].mean()) / 2
    of_rows = 0.7 * -(guess[:6].mean() + guess[6:].mean()) / 2
    head = list(term.parameters())
    for one, other in zip(torch.autograd.grad(found, head, retain_graph=True),
                          torch.autograd.grad(of_head, head, retain_graph=True), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other)
    for one, other in zip(torch.autograd.grad(found, [s, t]), torch.autograd.grad(of_rows, [s, t]), strict=True):
        torch.testing.assert_close(one, other)
