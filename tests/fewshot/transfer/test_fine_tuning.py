"""What a strategy trains, what it leaves alone, and what the plan says of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tuning_examples import conv4, dropping, state, tune

from fewshot.transfer.stages import stages


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        ("linear-probe", []),
        ("last(1)", ["layers.12", "layers.13"]),
        ("last(k=2)", ["layers.8", "layers.9", "layers.12", "layers.13"]),
        ("full", [f"layers.{n}" for n in (0, 1, 4, 5, 8, 9, 12, 13)]),
        ("norm", [f"layers.{n}" for n in (1, 5, 9, 13)]),
        ("lora(2)", [f"layers.{n}" for n in (0, 4, 8, 12)]),
        ("lora(2, targets=['12'])", ["layers.12"]),
        ("gradual", ["layers.8", "layers.9", "layers.12", "layers.13"]),
        ("lp-ft", [f"layers.{n}" for n in (0, 1, 4, 5, 8, 9, 12, 13)]),
    ],
)
def test_a_strategy_changes_its_part_and_not_one_bit_of_the_rest(strategy: str, trained: list[str]) -> None:
    encoder = conv4()
    before = state(encoder)
    tuned = tune(encoder, strategy, lr=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in state(encoder).items())  # the user's own
    after = state(tuned)
    assert list(after) == list(before)
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert changed == tuned.changed or sorted(changed) == tuned.changed
    assert sorted({name.rpartition(".")[0] for name in changed}) == sorted(trained)
    assert not any(name.endswith(("mean", "variance")) for name in changed)  # 30 rows are too few for statistics
    assert len(tuned.history) == len(tuned.plan.phases)


def test_biases_alone() -> None:
    encoder = dropping()
    before = state(encoder)
    tuned = tune(encoder, "bias", lr=1e-2, epochs=1)
    changed = {name for name, value in state(tuned).items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.endswith("bias")}


@pytest.mark.parametrize(("choice", "moves"), [("auto", False), ("train", True), ("frozen", False)])
def test_statistics_of_trained_batch_norms(choice: str, moves: bool) -> None:
    encoder = conv4()
    before = state(encoder)
    tuned = tune(encoder, "last(1)", batch_norm=choice)
    moved = {name for name, value in state(tuned).items() if not torch.equal(value, before[name])}
    moved = {name for name in moved if name.endswith(("mean", "variance"))}
    assert moved == ({"layers.13.mean", "layers.13.variance"} if moves else set())


def test_from_scratch_begins_with_weights_of_the_seed_alone() -> None:
    one, other = conv4(), conv4()
    with torch.no_grad():
        other.module.layers[0].weight.zero_()  # type: ignore[index, union-attr, operator]
    tuned = [tune(encoder, "scratch", epochs=1) for encoder in (one, other)]
    assert all(torch.equal(value, state(tuned[1])[name]) for name, value in state(tuned[0]).items())
    assert not torch.equal(state(tuned[0])["layers.13.mean"], state(one)["layers.13.mean"])
    third = tune(one, "scratch", epochs=1, seed=1)
    assert not torch.equal(state(third)["layers.0.weight"], state(tuned[0])["layers.0.weight"])


def test_the_plan_says_before_what_will_train(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "fewshot"):
        tuned = tune(conv4(), "linear-probe | last(1, lr=1e-3)", epochs=1)
    text = str(tuned.plan)
    assert text in caplog.text
    probe, last = tuned.plan.phases
    assert [line.trained for line in probe.lines] == [0, 0, 0, 0, 32 * 3 + 3]
    weights = 8 * 8 * 9 + 2 * 8 + (8 if "bias" in "".join(stages(conv4().module)[-1].parameters[:2]) else 0)
    assert [line.trained for line in last.lines] == [0, 0, 0, weights, 32 * 3 + 3]
    assert [line.shape for line in last.lines[:4]] == [(8, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)]
    assert (last.epochs, last.steps, last.rates["layers.12.weight"]) == (1, 3, 1e-3)
    assert "last(k=1, lr=0.001): 1 epochs, 3 steps; batch norms: running statistics" in text
    assert "stages before 'layers.12' are computed once" in text
    assert [line.split()[0] for line in text.splitlines()[-4:]] == ["layers.4", "layers.8", "layers.12", "head"]


@pytest.mark.parametrize("strategy", ["linear-probe", "last(1)"])
def test_without_a_cache_no_batch_size_is_found_by_the_clock(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed training computes the features of its first head again, and they have to be the same bits."""
    import fewshot.embedding

    sizes, embed = [], fewshot.embedding.embed

    def watched(*given: Any, **options: Any) -> Any:
        sizes.append(options.get("batch_size", "auto"))
        return embed(*given, **options)

    monkeypatch.setattr(fewshot.embedding, "embed", watched)
    tune(conv4(), strategy, batch_size=8, epochs=1)
    assert sizes and set(sizes) == {8}
