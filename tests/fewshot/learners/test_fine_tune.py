"""Fine-tuning: against slow references and the claims of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import references.inductive as references
import torch
from learner_checks import INDUCTIVE, equals_inductive, same_alone_and_padded
from learner_episodes import make, padded

from fewshot.learners import FineTune, fine_tune

REFERENCES: dict[str, Callable[..., Any]] = {
    "fine-tune(steps=5)": partial(references.rescaled, references.fine_tune_beside_means, steps=5, rate=3.0),
    "fine-tune(steps=5, lr=0.1, means=2.0)": partial(references.fine_tune_beside_means, steps=5, rate=0.1, before=2.0),
    "fine-tune(steps=5, means=0.0)": partial(references.rescaled, references.fine_tune, steps=5, rate=3.0),
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
}


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize(("shots", "dim"), INDUCTIVE, ids=str)
def test_equals_the_numpy_reference(spec: str, shots: list[int], dim: int) -> None:
    equals_inductive(spec, REFERENCES[spec], shots, dim)


@pytest.mark.parametrize("spec", REFERENCES)
def test_batch_and_padding_change_nothing(spec: str) -> None:
    same_alone_and_padded(spec, 1e-6)


def test_class_means_stand_beside_the_linear_head_only() -> None:
    with pytest.raises(ValueError, match=r"means=1.0 with head='cosine'; class means stand beside head='linear'"):
        FineTune(head="cosine", means=1.0)
    with pytest.raises(ValueError, match=r"means=-1\.0; it must be 'auto', or at least 0 and finite"):
        FineTune(means=-1.0)


def test_folds_are_held_out_until_enough_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tune, "_ENOUGH", 4)
    few, many = make([2, 3, 3], episodes=2)[0], make([6, 5, 5], episodes=2)[0]
    mixed = padded(few, rows=4)
    both = many.replace(
        **{
            name: torch.cat([getattr(mixed, name), getattr(many, name)])
            for name in ("support", "labels", "query", "ids")
        }
    )
    tuned: list[int] = []
    tune = fine_tune.tune_linear

    def watched(rows: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        tuned.append(rows.shape[1])
        return tune(rows, *rest)

    monkeypatch.setattr(fine_tune, "tune_linear", watched)
    learner = FineTune(steps=5)
    apart = [learner(few), learner(many)]
    assert tuned == [8, 5, 5, 16, 10]  # 3 and 3 rows; 6 rows
    torch.testing.assert_close(learner(both), torch.cat(apart))
