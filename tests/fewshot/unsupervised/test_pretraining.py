"""Encoders from unlabelled pictures: losses against plain NumPy, resuming, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes import EpisodeSampler, TensorSource, TextSource, evaluate
from fewshot import embed, fine_tune, load_encoder, pretrain_unlabelled
from fewshot.encoders import ModuleEncoder
from fewshot.transfer.tuned_folder import save_with_encoder
from fewshot.unsupervised import load_method
from fewshot.unsupervised.barlow_twins import BarlowTwins, barlow_loss
from fewshot.unsupervised.method import matched_views
from fewshot.unsupervised.rotation import all_turns
from fewshot.unsupervised.simsiam import SimSiam, simsiam_loss

NET = "net:conv4(item_shape=(1, 12, 12), channels=6)"
COARSE = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(0))  # enlarged: their parts are alike
ROWS = TensorSource(torch.nn.functional.interpolate(COARSE, size=(12, 12), mode="bilinear"), torch.arange(40) % 4)


def learned(method: Any = "simsiam(16, 4)", encoder: Any = NET, source: Any = ROWS, **options: Any) -> Any:
    return pretrain_unlabelled(encoder, source, method, **{"epochs": 2, "batch": 16, "progress": False, **options})


def state(encoder: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.module.state_dict().items()}


# Losses


def test_simsiam_equals_numpy_and_no_gradient_goes_through_what_is_predicted() -> None:
    random = np.random.default_rng(0)
    p1, p2, z1, z2 = (random.normal(size=(7, 5)) for _ in range(4))
    cosine = lambda a, b: (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)  # noqa: E731
    expected = -0.5 * (cosine(p1, z2).mean() + cosine(p2, z1).mean())
    given = [torch.from_numpy(part).float().requires_grad_() for part in (p1, p2, z1, z2)]
    loss = simsiam_loss(*given)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert given[0].grad is not None and given[1].grad is not None
    assert given[2].grad is None and given[3].grad is None


def test_barlow_twins_equals_numpy() -> None:
    random = np.random.default_rng(1)
    first = random.normal(size=(9, 4)) @ random.normal(size=(4, 4)) + 3
    second = first + random.normal(size=(9, 4))
    scaled = [(part - part.mean(0)) / part.std(0) for part in (first, second)]
    expected = 0.0
    for i in range(4):
        for j in range(4):
            correlation = sum(scaled[0][b, i] * scaled[1][b, j] for b in range(9)) / 9
            expected += (1 - correlation) ** 2 if i == j else 0.05 * correlation**2
    loss = barlow_loss(torch.from_numpy(first).float(), torch.from_numpy(second).float(), 0.05)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_rotation_turns_each_picture_four_ways() -> None:
    pictures = torch.arange(2 * 1 * 3 * 3, dtype=torch.float32).view(2, 1, 3, 3)
    turned, wanted = all_turns(pictures)
    assert wanted.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for place, turns in enumerate(wanted.tolist()):
        expected = np.rot90(pictures[place % 2, 0].numpy(), turns)
        np.testing.assert_array_equal(turned[place, 0], expected)


def test_rows_find_their_other_view() -> None:
    rows = torch.eye(4)
    assert float(matched_views(rows, 3 * rows)) == 1
    assert float(matched_views(rows, rows.roll(1, 0))) == 0
    assert float(matched_views(torch.ones(4, 4), torch.ones(4, 4))) == 0.25  # collapsed


# Training


@pytest.mark.parametrize("method", ["simsiam(16, 4)", "barlow-twins(16)", "rotation"])
def test_the_network_learns_and_is_an_encoder_with_an_identity_of_its_own(method: str) -> None:
    given = load_encoder(NET)
    before = state(given)
    found = learned(method, given, epochs=10, lr=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in state(given).items())
    assert found.fingerprint != given.fingerprint and found.class_names == []
    losses = [report["loss"] for report in found.history[0]]
    assert min(losses[-3:]) < losses[0] - 0.1 * abs(losses[0])
    features = embed(ROWS, found, cache=False, progress=False)
    assert features.features.shape == (40, 6)
    sampler = EpisodeSampler(features.labels, 3, 2, 4)
    assert evaluate(["prototypes"], features, sampler, episodes=4, progress=False)
    tuned = fine_tune(found, ROWS, "linear-probe", epochs=1, progress=False, cache=False)
    assert tuned.fingerprint == found.fingerprint


def test_labels_are_not_looked_at() -> None:
    other = TensorSource(ROWS.features, torch.zeros(40, dtype=torch.long))
    one, two = learned(), learned(source=other)
    assert all(torch.equal(value, state(two)[name]) for name, value in state(one).items())
    three = learned(seed=1)
    assert not all(torch.equal(value, state(three)[name]) for name, value in state(one).items())


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", [SimSiam, BarlowTwins])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = f"{kind.name}(16)"  # type: ignore[attr-defined]
    whole = learned(method, epochs=3)
    step, calls = kind.forward, []  # type: ignore[attr-defined]

    def dying(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # in the middle of the second epoch
            raise Killed
        return step(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(kind, "forward", dying)
        learned(method, epochs=3, out=tmp_path)
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 2
    resumed = learned(method, epochs=3, out=tmp_path)
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(whole).items())
    kept = load_encoder(f"net:conv4@{tmp_path / 'last.safetensors'}(item_shape=(1, 12, 12), channels=6)")
    assert kept.fingerprint == resumed.fingerprint
    with pytest.raises(ValueError, match="another method"):
        learned("rotation", epochs=3, out=tmp_path, augment="crop(0.4)")
    with pytest.raises(ValueError, match="another augment"):
        learned(method, epochs=3, out=tmp_path, augment="crop(0.9)")


def test_validation_chooses_the_best_weights() -> None:
    sampler = EpisodeSampler(ROWS.labels, 3, 1, 4)
    found = learned(epochs=3, validation=(ROWS, sampler), validation_episodes=20)
    reports = [report["validation"] for report in found.history[0]]
    features = embed(ROWS, found, cache=False, progress=False)
    own = evaluate(["prototypes"], features, sampler, episodes=20, progress=False)["prototypes"].mean
    assert float(own) == pytest.approx(max(reports))


def test_of_an_encoder_with_two_towers_that_of_pictures_trains() -> None:
    given = load_encoder("fewshot:tiny-clip")
    pictures = TensorSource(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)), [0] * 4)
    found = learned("rotation", given, pictures, epochs=1, batch=4)
    assert found.changed and all(name.startswith("visual.") for name in found.changed)
    texts = ["a red circle"]
    assert torch.equal(found.encode_texts(texts), given.encode_texts(texts))


def test_saving_and_reading_back(tmp_path: Path) -> None:
    found = learned()
    save_with_encoder(found, NET, tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "moved")
    again = load_encoder(tmp_path / "moved")
    assert again.fingerprint == found.fingerprint and again.setting == "self-taught"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "simsam"}, "did you mean 'simsiam'"),
        ({"method": "simsiam(1)"}, "at least 2"),
        ({"method": "barlow-twins(8, -1)"}, "not negative"),
        ({"epochs": 0}, "at least 1"),
        ({"batch": 1}, "batches of at least 2"),
        ({"source": TensorSource(ROWS.features[:1], [0])}, "1 rows"),
        ({"encoder": "pixels"}, "no network to train"),
        ({"augment": "flop"}, "did you mean 'flip'"),
        ({"patience": 2}, "validation"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learned(**options)


def test_rows_that_a_method_cannot_use_are_refused() -> None:
    with pytest.raises(ValueError, match="holds texts"):
        learned(encoder="fewshot:tiny-clip", source=TextSource(["a", "b"], ["a", "b"]))
    wide = ModuleEncoder(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12 * 6, 4)))
    with pytest.raises(ValueError, match="square pictures"):
        learned("rotation", wide, TensorSource(torch.rand(8, 1, 12, 6), [0] * 8))
    assert load_method(load_method("simsiam(8)")).dim == 8  # type: ignore[attr-defined]
