"""Cached augmented views: decided by content, number and seed; the same losses as the whole network; one identity each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from episodes import ImageSource, TensorSource, TextSource
from fewshot import fine_tune, load_learner
from fewshot.augmentation import load_augmentation
from fewshot.augmentation.in_pixels import InPixels
from fewshot.augmentation.views import Views
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.transfer import planning
from fewshot.transfer.prefix import PrefixEncoder

AUGMENT = "flip | crop(0.5) | color(0.2)"
CLASSES = ["ant", "bee", "cow"]


def pictures(rows: int = 18, seed: int = 0) -> TensorSource:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    means = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    return TensorSource(
        0.4 * means[labels] + 0.6 * torch.rand(rows, 3, 16, 16, generator=random), labels, CLASSES
    )  # fmt: skip


def small(transform: Any = None) -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(width, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
                  for width in (3, 4)]  # fmt: skip
        return ModuleEncoder(nn.Sequential(*blocks, nn.Flatten()), transform)


def tune(strategy: str = "last(1)", source: Any = None, encoder: Any = None, **options: Any) -> Any:
    options = {"epochs": 5, "batch_size": 6, "lr": 1e-2, "augment": AUGMENT, "views": 2, "cache": False, **options}
    rows = pictures() if source is None else source
    return fine_tune(encoder or small(), rows, strategy, progress=False, **options)


def losses(tuned: Any) -> list[float]:
    return [report["loss"] for phase in tuned.history for report in phase]


def noise(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows + 0.1 * torch.randn(rows.shape, generator=generator)


def kinds() -> dict[str, Any]:
    from torchvision.transforms import v2

    operations = load_augmentation(AUGMENT)
    assert operations is not None
    return {
        "operations": operations, "normalised": InPixels(operations, (0.5,) * 3, (0.25,) * 3),  # type: ignore[arg-type]
        "torchvision": load_augmentation(v2.RandomErasing(1.0)), "function": noise,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["operations", "normalised", "torchvision", "function"])
def test_a_view_is_decided_by_content_number_and_seed(kind: str) -> None:
    change, images, numbers = kinds()[kind], pictures().features, [0, 1, 2] * 6
    made = Views(change, 7)(images, numbers)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Views(change, 7)(images[order], [numbers[n] for n in order]), made[order])
    for row in (0, 5):
        torch.testing.assert_close(Views(change, 7)(images[row : row + 1], [numbers[row]])[0], made[row])
    for other in (Views(change, 8)(images, numbers), Views(change, 7)(images, [n + 1 for n in numbers])):
        assert (other - made).abs().amax((1, 2, 3)).gt(1e-3).sum() >= 16
    same = Views(change, 7)(images[:1].expand(2, -1, -1, -1), [0, 0])
    assert torch.equal(same[0], same[1])
    assert torch.equal(images, pictures().features)


@pytest.mark.parametrize("change", [{}, {"swa": 0.5}, {"batch_norm": "train", "swa": 0.4}, {"augment": noise}])
def test_losses_are_those_of_the_whole_network_on_the_same_views(change: dict[str, Any]) -> None:
    options = {"validation": None if "swa" in change else pictures(9, seed=3), "views": 3, **change}
    cached, whole = (tune("linear-probe(epochs=3) | last(1)", prefix=prefix, **options) for prefix in (True, False))
    assert [phase.cut for phase in cached.plan.phases] == [2, 1]
    assert whole.plan.phases[1].cut is None
    assert losses(cached) == pytest.approx(losses(whole), abs=1e-5)
    for name, value in cached.module.state_dict().items():
        torch.testing.assert_close(value, whole.module.state_dict()[name], rtol=0, atol=1e-5)
    assert "3 views of each image" in str(cached.plan)


def test_epochs_see_the_views_in_turn() -> None:
    change = load_augmentation(AUGMENT)
    assert change is not None
    rows = pictures()
    seen = [rows._with(Views(change, 0)(rows.features, [view] * 18)) for view in range(2)]
    options = {"head": "zero", "lr": 1e-9, "head_lr": 1e-9, "schedule": "constant", "warm_up": 0.0, "l2_sp": (0.0, 0.0)}
    both = losses(tune("full", **options, epochs=4))
    alone = [losses(tune("full", source, **options, epochs=4, augment=None, views=0)) for source in seen]
    for epoch in range(4):
        assert both[epoch] == pytest.approx(alone[epoch % 2][epoch], abs=1e-7)
    one = losses(tune("last(1)", head="zero", views=1))  # and trained on: one view is a set of pictures like any other
    assert one == pytest.approx(losses(tune("last(1)", seen[0], head="zero", augment=None, views=0)), abs=1e-5)
    assert one != pytest.approx(losses(tune("last(1)", head="zero", views=2)), abs=1e-5)


def test_each_view_is_computed_once_and_another_augmentation_or_seed_anew(tmp_path: Path) -> None:
    computed: list[int] = []
    original = PrefixEncoder.encode_images

    def counting(self: PrefixEncoder, batch: Tensor) -> Tensor:
        computed.append(len(batch))
        return original(self, batch)

    def rows(**options: Any) -> int:
        computed.clear()
        tune(cache=tmp_path, **options)
        return sum(count for count in computed if count > 4)  # canaries aside

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrefixEncoder, "encode_images", counting)
        assert rows() == 2 * 18
        assert rows() == 0
        assert rows(views=3) == 18  # the first two are there
        assert rows(seed=1) == rows(augment="flip | crop(0.6)") == rows(augment=noise) == 2 * 18
        assert rows(augment=None, views=0) == 18


def test_pictures_in_files_go_through_the_transform_first(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.fromarray(random.integers(0, 256, (24, 20, 3), np.uint8)).save(tmp_path / name / f"{number}.png")
    source = ImageSource.from_folder(tmp_path)
    encoder = small(Preprocess(16, 18, (0.5,) * 3, (0.25,) * 3))
    runs = [tune(source=source, encoder=encoder, prefix=prefix) for prefix in (True, False)]
    assert losses(runs[0]) == pytest.approx(losses(runs[1]), abs=1e-5)


def test_as_a_learner() -> None:
    learner: Any = load_learner(f"tuned(encoder='pixels', epochs=2, augment={AUGMENT!r}, views=2)")
    assert learner.views == 2 and "views=2" in repr(learner)


def test_more_than_is_kept_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(planning, "_PREFIX_BYTES", 4 * 18 * 4 * 7 * 7)
    assert tune(augment=None, views=0, epochs=1).plan.phases[0].cut == 1
    assert "anew" not in caplog.text
    assert tune(epochs=1).plan.phases[0].cut is None
    assert "activations of 2 views before '1' would take 0.0 GB" in caplog.text and "prefix=True" in caplog.text
    assert tune(epochs=1, prefix=True).plan.phases[0].cut == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": None}, "views=2 without augment: .* such as augment='flip"),
        ({"mixup": 0.2}, "views=2 with mixup=0.2: .* leave one of them out"),
        ({"views": -1}, "views=-1; it must be a number of views, or 0"),
        ({"views": 2.5}, "views=2.5"),
        ({"source": TextSource(["a", "b"], [0, 1]), "encoder": "fewshot:tiny-clip"}, "augment and mixup are of images"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tune(**options)


def test_without_views_a_run_has_the_identity_that_it_had() -> None:
    from fewshot.transfer.candidates import _settings

    assert "views" not in _settings(None).identity()
