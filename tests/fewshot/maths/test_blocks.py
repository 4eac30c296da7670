"""Work on some episodes at a time gives what it gives on all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fewshot.maths import blocks


def test_blocks_give_what_the_whole_gives_in_pieces_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right, seen = torch.rand(7, 3, 4), torch.rand(7, 5, 4), []

    def work(a: Tensor, b: Tensor) -> Tensor:
        seen.append(len(a))
        return torch.einsum("eid,ejd->eij", a, b)

    whole = torch.einsum("eid,ejd->eij", left, right)
    assert torch.equal(blocks.in_blocks(work, left, right), whole) and seen == [7]
    seen.clear()
    monkeypatch.setattr(blocks, "_CACHED", 2 * 4 * (12 + 20))
    torch.testing.assert_close(blocks.in_blocks(work, left, right), whole)
    assert seen == [2, 2, 2, 1]
