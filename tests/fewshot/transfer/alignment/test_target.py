"""What may be a target, and how its rows are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alignment_examples import Hidden, perceptron, rows, tune
from picture_examples import save
from PIL import Image
from torch import nn

from episodes import ImageSource, TensorSource, TextSource
from fewshot import fine_tune
from fewshot.encoders import ModuleEncoder, Preprocess, load_encoder
from fewshot.nets import make_net
from fewshot.transfer.alignment.target import without_labels


def test_target_rows_go_through_a_frozen_prefix_once(tmp_path: Path) -> None:
    def pictures(seed: int) -> TensorSource:
        return TensorSource(
            torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), torch.arange(12) % 3
        )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ModuleEncoder(make_net("conv4(channels=4, blocks=2)", (1, 8, 8)))
    seen: list[int] = []
    options: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 6,
        "progress": False,
        "target": pictures(1),
        "alignment": "dann",
    }
    whole = fine_tune(encoder, pictures(0), "last(1)", prefix=False, cache=False, **options)

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(len(inputs[0]))

    count.transient = True  # type: ignore[attr-defined]
    handle = encoder.module.layers[0].register_forward_hook(count)
    kept = fine_tune(encoder, pictures(0), "last(1)", prefix=True, cache=tmp_path, **options)
    handle.remove()
    assert kept.plan.phases[0].cut is not None
    for name, value in whole.module.state_dict().items():
        torch.testing.assert_close(kept.module.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert [one["loss"] for one in kept.history[0]] == pytest.approx(
        [one["loss"] for one in whole.history[0]], rel=1e-5
    )
    again = len(seen)
    fine_tune(encoder, pictures(0), "last(1)", prefix=True, cache=tmp_path, **options)
    assert len(seen) == again, "rows in the cache are not computed again"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alignment": None}, "target= without alignment=; choose one of confusion, dann"),
        ({"alignment": "dan"}, "unknown alignment 'dan'; did you mean 'dann'"),
        ({"alignment": "dann(weight=0)"}, "must be positive"),
        ({"alignment": "mmd(kernels=4)"}, "must be odd"),
        ({"alignment": "dann(1, 2, 3)"}, r"'dann' takes \(weight, hidden\)"),
        ({"alignment": 3}, "give a spec such as"),
        ({"alignment": "mmd", "strategy": "linear-probe"}, "leaves features as they are"),
        ({"alignment": "mmd", "mixup": 0.2}, "mixed rows are of no domain"),
        ({"alignment": "mmd", "target": torch.zeros(1, 5)}, "has 1 rows"),
        ({"alignment": "mmd", "views": 2, "augment": lambda batch, draw: batch}, "views=2 with target"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(**options)


def test_target_of_another_kind_and_no_target() -> None:
    with pytest.raises(ValueError, match=r"without target="):
        fine_tune(perceptron(), TensorSource(*rows()), "full", alignment="mmd", progress=False)
    with pytest.raises(ValueError, match="holds texts"):
        tune("mmd", TextSource(["a", "b"], [0, 1]))


def test_pictures_in_files_as_target(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    encoder = ModuleEncoder(make_net("conv4(channels=4, blocks=2)", (3, 8, 8)), Preprocess(size=8, resize=8))
    files = sorted(tmp_path.glob("*.png"))
    source = ImageSource(files, [0, 1] * 3, ["ant", "bee"])

    class HiddenPictures(Hidden, ImageSource):  # type: ignore[misc]
        pass

    options: dict[str, Any] = {"epochs": 1, "batch_size": 3, "progress": False, "cache": tmp_path / "cache",
                               "alignment": "deep-coral"}  # fmt: skip
    first = fine_tune(encoder, source, "last(1)", target=HiddenPictures(files[::-1], [0, 1] * 3), **options)
    second = fine_tune(encoder, source, "last(1)", target=[str(file) for file in files[::-1]], **options)
    assert first.plan.phases[0].cut is not None
    assert torch.equal(first.head.weight, second.head.weight)
    fine_tune(encoder, source, "full", target=HiddenPictures(files, [0] * 6), augment="flip", **options)


def test_texts_as_target() -> None:
    encoder = load_encoder("fewshot:tiny-clip")
    source = TextSource(["good film", "bad film", "good book", "bad book"], [0, 1, 0, 1])
    tuned = fine_tune(encoder, source, "last(1)", target=TextSource(["a fine meal", "a dull one", "cold"], [0, 1, 1]),
                      alignment="mmd", epochs=1, cache=False, progress=False)  # fmt: skip
    assert np.isfinite(tuned.history[0][0]["loss"])


def test_pictures_of_a_target_folder_need_no_classes(tmp_path: Path) -> None:
    for name in ("a.png", "more/b.png"):
        save(tmp_path / name)
    found = without_labels(f"folder:{tmp_path}", load_encoder("pixels(size=4)"))
    assert len(found) == 2 and found.class_names == ["unlabelled"]
