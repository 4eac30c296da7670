"""Contact sheets show what training is fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import TensorSource
from fewshot import contact_sheet, load_encoder
from fewshot.cli import main
from fewshot.encoders import ModuleEncoder
from fewshot.encoders.preprocess import Preprocess
from fewshot.transfer.inspection.contact_sheet import _GAP, _HEAD, _LABEL
from fewshot.transfer.inspection.pictures import normalisation, visible

SIDE = 32


def photographs() -> TensorSource:
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (6, 4, 4, 3), dtype=np.uint8)
    large = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in small])
    return TensorSource(torch.from_numpy(large).permute(0, 3, 1, 2), [0, 0, 0, 1, 1, 1], ["cat", "dog"], kind="images")


def network(transform: Preprocess | None = None) -> ModuleEncoder:
    return ModuleEncoder(
        torch.nn.Sequential(torch.nn.Flatten()), transform or Preprocess(SIDE, None, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    )


def cell(sheet: Image.Image, row: int, column: int) -> np.ndarray:
    left, top = _LABEL + column * (SIDE + _GAP), _HEAD + row * (SIDE + _GAP)
    return np.asarray(sheet.crop((left, top, left + SIDE, top + SIDE)))


def test_plain_pictures_come_back_from_their_normalisation() -> None:
    source = photographs()
    sheet = contact_sheet(source, network(), rows=4, views=3, side=SIDE)  # no augmentation: no views
    assert sheet.size == (_LABEL + SIDE + _GAP, _HEAD + 4 * (SIDE + _GAP))
    for place, row in enumerate([0, 3, 1, 4]):  # the first of each class in turn
        np.testing.assert_array_equal(cell(sheet, place, 0), source.features[row].permute(1, 2, 0).numpy())


def test_views_are_what_a_function_makes_of_the_network_s_inputs() -> None:
    seen = []

    def augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append((batch.clone(), torch.rand(1, generator=generator)))
        return batch.flip(3)

    source, encoder = photographs(), network()
    sheet = contact_sheet(source, encoder, augment, rows=2, views=2, seed=7, side=SIDE)
    given = torch.stack(
        [encoder.transform(Image.fromarray(source.features[row].permute(1, 2, 0).numpy())) for row in (0, 3)]
    )
    for number, (batch, drawn) in enumerate(seen):  # as the updates number 0 and 1 of a training with this seed
        torch.testing.assert_close(batch, given)
        assert drawn == torch.rand(1, generator=torch.Generator().manual_seed(7 + number))
    np.testing.assert_array_equal(cell(sheet, 0, 2), cell(sheet, 0, 0)[:, ::-1])


def test_specs_are_those_of_fine_tune_and_depend_on_the_seed() -> None:
    pytest.importorskip("fewshot.augmentation", reason="specs are those of fewshot.augmentation")
    first, again, other = (
        np.asarray(
            contact_sheet(photographs(), network(), "flip(1.0) | crop(0.5)", rows=2, views=2, seed=seed, side=SIDE)
        )
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    mirrored = contact_sheet(photographs(), network(), "flip(1.0)", rows=1, views=1, side=SIDE)
    np.testing.assert_array_equal(cell(mirrored, 0, 1), cell(mirrored, 0, 0)[:, ::-1])


def test_normalisation_is_found_or_values_are_stretched() -> None:
    assert normalisation(Preprocess(8, None, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert normalisation(lambda picture: picture) is None
    grey = np.asarray(visible(torch.tensor([[[-2.0, 2.0]]]), lambda picture: picture))
    assert grey.shape == (1, 2, 3) and grey[0, :, 0].tolist() == [0, 255]


def test_what_has_no_sheet_is_said() -> None:
    with pytest.raises(ValueError, match=r"rows=0, views=6, side=112"):
        contact_sheet(photographs(), network(), rows=0)
    uneven = [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"a transform that makes one size"):
        contact_sheet(uneven, load_encoder("pixels"))


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fewshot.augmentation", reason="specs are those of fewshot.augmentation")
    line = ["inspect", "scenes:size", "--encoder", "fewshot:tiny-clip", "--augment", "flip", "--sheet"]
    assert main([*line, str(tmp_path / "fed.png")]) == 0
    with Image.open(tmp_path / "fed.png") as sheet:
        assert sheet.size == (_LABEL + 7 * (112 + _GAP), _HEAD + 8 * (112 + _GAP))
    assert main([*line, str(tmp_path / "fed.gif")]) == 2
    assert "a contact sheet is a .png or .jpg file" in capsys.readouterr().err
