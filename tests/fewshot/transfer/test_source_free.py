"""Source-free adaptation: by hand on a tiny network, without a target label, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alignment_examples import Secret
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import TensorSource
from episodes.identity import digest
from fewshot import fine_tune, load_tuned
from fewshot.adaptation import AdaptationWarning
from fewshot.encoders import ModuleEncoder
from fewshot.transfer import TunedEncoder, adapt_to
from fewshot.transfer.source_free import list_methods, load_method
from fewshot.transfer.source_free.shares import harm, information
from fewshot.transfer.source_free.shot import pseudo_labels

CLASSES = 3
SPECS = ["adabn", "tent(epochs=3)", "shot(epochs=3)"]


def rows(count: int = 24, shift: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    means = 4 * torch.randn(CLASSES, 4, generator=torch.Generator().manual_seed(9))
    return means[labels] + torch.randn(count, 4, generator=g) + shift, labels


def net(norm: bool = True) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6) if norm else nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5)
        )


@pytest.fixture(scope="module")
def tuned() -> TunedEncoder:
    return fine_tune(ModuleEncoder(net()), TensorSource(*rows(60)), "scratch", epochs=40, cache=False, progress=False)


TARGET = rows(40, 1.5, 1)[0]


def adapted(tuned: TunedEncoder, spec: str, target: Any = TARGET, **options: Any) -> TunedEncoder:
    return adapt_to(tuned, target, spec, progress=False, **options)


def weights(encoder: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in encoder.module.state_dict().items()}


def test_adabn_by_hand(tuned: TunedEncoder) -> None:
    before, after = weights(tuned), weights(adapted(tuned, "adabn"))
    x = (TARGET @ before["0.weight"].T + before["0.bias"]).numpy()
    np.testing.assert_allclose(after["1.running_mean"], x.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["1.running_var"], x.var(0, ddof=1), rtol=1e-4)
    same = [name for name in before if torch.equal(before[name], after[name])]
    assert sorted(same) == ["0.bias", "0.weight", "1.bias", "1.weight", "3.bias", "3.weight"]
    assert torch.equal(tuned.module.state_dict()["1.running_mean"], before["1.running_mean"]), "the given is unchanged"


def test_statistics_over_several_batches_count_them_alike(tuned: TunedEncoder) -> None:
    after = weights(adapted(tuned, "adabn", batch_size=10))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    x = (TARGET[order] @ after["0.weight"].T + after["0.bias"]).view(4, 10, 6).numpy()
    np.testing.assert_allclose(after["1.running_mean"], x.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["1.running_var"], x.var(1, ddof=1).mean(0), rtol=1e-4)


def one_step(tuned: TunedEncoder, loss_of: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network with statistics of the batch, and gradients of a loss of its logits."""
    network = net()
    network.load_state_dict(tuned.module.state_dict())
    network.train()
    features = network(TARGET)
    head = tuned.head.weight.detach(), tuned.head.bias.detach()
    loss_of(F.linear(features, *head)).backward()
    return network, {name: value.grad for name, value in network.named_parameters()}


def test_a_step_of_tent_by_hand(tuned: TunedEncoder) -> None:
    found = adapted(tuned, "tent(lr=0.5)", optimizer="sgd")
    _, gradients = one_step(tuned, lambda z: -(z.softmax(1) * z.log_softmax(1)).sum(1).mean())
    before, after = weights(tuned), weights(found)
    for name in ("1.weight", "1.bias"):
        torch.testing.assert_close(after[name], before[name] - 0.5 * gradients[name], rtol=1e-4, atol=1e-5)
        assert not torch.equal(after[name], before[name])
    for name in ("0.weight", "0.bias", "3.weight", "3.bias"):
        assert torch.equal(after[name], before[name])
    assert torch.equal(found.head.weight, tuned.head.weight)
    x = TARGET @ before["0.weight"].T + before["0.bias"]
    torch.testing.assert_close(after["1.running_mean"], x.mean(0), rtol=1e-4, atol=1e-5)


def guesses_by_hand(features: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    for _ in range(2):
        centroids = [
            sum(p * f for p, f in zip(probabilities[:, c], features, strict=True))
            / max(probabilities[:, c].sum(), 1e-12)
            for c in range(probabilities.shape[1])
        ]
        guesses = []
        for f in features:
            cosines = [
                f @ c / np.linalg.norm(f) / np.linalg.norm(c) if np.linalg.norm(c) > 0 else -np.inf for c in centroids
            ]
            guesses.append(int(np.argmax(cosines)))
        probabilities = np.eye(probabilities.shape[1])[guesses]
    return np.array(guesses)


def test_pseudo_labels_by_hand() -> None:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(30, 4, generator=g, dtype=torch.float64)
    probabilities = (3 * torch.randn(30, 5, generator=g, dtype=torch.float64)).softmax(1)
    wanted = guesses_by_hand(features.numpy(), probabilities.numpy())
    assert pseudo_labels(features, probabilities).tolist() == wanted.tolist()
    assert set(wanted) != set(probabilities.argmax(1).tolist()) or (wanted != probabilities.argmax(1).numpy()).any()


def test_a_step_of_shot_by_hand(tuned: TunedEncoder) -> None:
    found = adapted(tuned, "shot(pseudo=0.3, epochs=1, lr=0.1)", optimizer="sgd")
    network = net().eval()
    network.load_state_dict(tuned.module.state_dict())
    with torch.no_grad():
        features = network(TARGET)
        guesses = guesses_by_hand(features.numpy(), tuned.head(features).softmax(1).numpy())

    def loss(z: Tensor) -> Tensor:
        p = z.softmax(1)
        mean = p.mean(0)
        varied = -(mean * mean.log()).sum()
        return -(p * p.log()).sum(1).mean() - varied + 0.3 * F.cross_entropy(z, torch.from_numpy(guesses))

    _, gradients = one_step(tuned, loss)
    before, after = weights(tuned), weights(found)
    for name, gradient in gradients.items():
        torch.testing.assert_close(after[name], before[name] - 0.1 * gradient, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.head.weight, tuned.head.weight) and torch.equal(found.head.bias, tuned.head.bias)


@pytest.mark.parametrize("spec", SPECS)
def test_target_labels_can_be_reached_by_no_method(tuned: TunedEncoder, spec: str) -> None:
    hidden = adapted(tuned, spec, Secret(TARGET, torch.arange(40) % CLASSES))
    shown = adapted(tuned, spec, TensorSource(TARGET, torch.arange(40) // 20))
    for name, value in weights(hidden).items():
        assert torch.equal(value, weights(shown)[name])


def test_the_methods_of_the_registry_are_those_tested() -> None:
    assert list_methods() == sorted(spec.partition("(")[0] for spec in SPECS)
    assert [repr(load_method(spec)) for spec in [*SPECS, "tent"]] == [*SPECS, "tent"]


@pytest.mark.parametrize("spec", SPECS)
def test_the_result_is_a_tuned_encoder_of_its_own(tuned: TunedEncoder, spec: str, tmp_path: Path) -> None:
    found = adapted(tuned, spec)
    assert digest(found.fingerprint) != digest(tuned.fingerprint)
    assert found.name.endswith(f"scratch | {spec}") and spec in str(found.plan)
    whole = found.logits(TensorSource(TARGET, [0] * 40), cache=False)
    single = found.logits(TensorSource(TARGET[:1], [0]), cache=False)
    torch.testing.assert_close(whole[:1], single, rtol=1e-4, atol=1e-4)  # answers do not depend on the batch
    read = load_tuned(found.save(tmp_path), ModuleEncoder(net()))
    assert (tuned.setting, found.setting, read.setting) == ("inductive", "source-free", "source-free")
    assert all(torch.equal(value, weights(read)[name]) for name, value in weights(found).items())


def test_a_shift_is_overcome(tuned: TunedEncoder) -> None:
    x, labels = rows(90, 8.0, 2)
    scores = {spec: float((one.logits(TensorSource(x, labels), cache=False).argmax(1) == labels).float().mean())
              for spec, one in {"": tuned, **{spec: adapted(tuned, spec, x) for spec in SPECS}}.items()}  # fmt: skip
    assert min(scores[spec] for spec in SPECS) > scores[""] + 0.1, scores


def test_a_run_that_was_stopped_ends_with_the_same_weights(tuned: TunedEncoder, tmp_path: Path) -> None:
    def stop(report: dict[str, Any]) -> None:
        if report["step"] >= 6:
            raise KeyboardInterrupt

    spec = "shot(epochs=4)"
    whole = adapted(tuned, spec, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        adapted(tuned, spec, batch_size=16, out=tmp_path, callbacks=[stop])
    resumed = adapted(tuned, spec, batch_size=16, out=tmp_path)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    with pytest.raises(ValueError, match="strategy"):
        adapted(tuned, "shot(epochs=4, pseudo=0.1)", batch_size=16, out=tmp_path)


@pytest.mark.parametrize("spec", ["adabn", "tent"])
def test_networks_without_batch_norms_are_refused_by_what_adapts_these(spec: str) -> None:
    other = fine_tune(ModuleEncoder(net(False)), TensorSource(*rows()), "full", epochs=1, cache=False, progress=False)
    with pytest.raises(ValueError, match=f"{spec} adapts batch norms, but Sequential .* has none; use 'shot'"):
        adapted(other, spec)
    assert adapted(other, "shot(epochs=1)").strategy == "full | shot(epochs=1)"


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("tents", {}, "unknown source-free method 'tents'; did you mean 'tent'"),
        ("shot(pseudo=-1)", {}, "must not be negative"),
        ("tent(epochs=0)", {}, "must be positive"),
        ("adabn(1)", {}, r"'adabn' takes \(\)"),
        ("adabn", {"batch_size": 1}, "statistics need at least 2"),
        ("adabn", {"target": torch.zeros(1, 4)}, "has 1 rows"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(tuned: TunedEncoder, spec: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        adapted(tuned, spec, **options)


def answers(*shares: float) -> Tensor:
    counts = [round(100 * share) for share in shares]
    return 0.97 * torch.eye(len(shares)).repeat_interleave(torch.tensor(counts), 0) + 0.01


def test_harm_in_words() -> None:
    even = answers(0.3, 0.3, 0.2, 0.2)
    assert harm(even, even, "abcd") == "" and harm(answers(0.7, 0.1, 0.1, 0.1), even, "abcd") == ""
    assert "1 of 4 classes changed their share of the answers more than threefold ('d' from 20% to 1%)" in harm(
        even, answers(0.4, 0.3, 0.29, 0.01), "abcd"
    )
    assert "('a' from 10% to 85%)" in harm(answers(0.1, 0.3, 0.3, 0.3), answers(0.85, 0.05, 0.05, 0.05), "abcd")
    assert "hold less information than before" in harm(even, 0.5 * even + 0.125, "abcd")
    assert information(torch.full((5, 4), 0.25)) == pytest.approx(0, abs=1e-12)


def test_harm_is_a_warning(tuned: TunedEncoder) -> None:
    with pytest.warns(AdaptationWarning, match="tent.* may have done harm: .* Compare with the encoder as it was"):
        adapted(tuned, "tent(epochs=40, lr=0.5)", rows(60, 0.0, 1)[0], batch_size=8)
