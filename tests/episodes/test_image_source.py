"""`ImageSource`: labels without decoding, parallel decoding, and errors that name the picture."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_examples import noise, save
from PIL import Image

from episodes import EpisodeSampler, ImageSource, evaluate
from episodes.pictures import CentreCrop, decode_picture


def whole(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def test_rows_equal_the_pictures_one_by_one() -> None:
    pictures = [noise() for _ in range(7)]
    source = ImageSource(pictures, [0, 1, 2, 0, 1, 2, 0], transform=whole, workers=3)
    index = torch.tensor([[[6, 0], [0, 3]], [[2, 2], [5, 1]]])
    rows = source[index]
    assert rows.shape == (2, 2, 2, 3, 30, 40)
    for place in np.ndindex(2, 2, 2):
        expected = pictures[int(index[place])].transpose(2, 0, 1).astype(np.float32) / 255
        np.testing.assert_array_equal(rows[place].numpy(), expected)


@pytest.mark.parametrize("index", [3, [3], [[1, 2, 0]], np.array([2, 0]), torch.tensor([True, False, True, True])])
def test_index_of_any_kind(index: object) -> None:
    source = ImageSource([noise() for _ in range(4)], [0, 1, 0, 1], size=8)
    everything = source[torch.arange(4)]
    torch.testing.assert_close(source[index], everything[torch.as_tensor(index)], rtol=0, atol=0)


def test_empty_index_keeps_the_shape() -> None:
    source = ImageSource([noise()], [0], size=8)
    assert source[torch.zeros(3, 0, dtype=torch.int64)].shape == (3, 0, 3, 8, 8)


def test_row_out_of_range() -> None:
    source = ImageSource([noise(), noise()], [0, 1], size=8, name="two")
    with pytest.raises(IndexError, match=r"rows 1\.\.2 of 'two'; it has 0\.\.1"):
        source[[1, 2]]
    assert len(list(source)) == 2  # the sequence protocol stops at IndexError


def test_a_repeated_picture_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource([noise(), noise()], [0, 1], size=8, workers=1)
    decoded = []
    real = source.decode
    monkeypatch.setattr(source, "decode", lambda row: decoded.append(row) or real(row))
    source[torch.zeros(50, dtype=torch.int64)]
    assert decoded == [0]


def test_labels_do_not_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(b"no picture at all")
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a picture was opened"))
    assert ImageSource.from_folder(tmp_path).labels.tolist() == [0, 1]


def test_same_pictures_from_file_pil_and_array(tmp_path: Path) -> None:
    pixels = noise()
    items = [save(tmp_path / "a.png", pixels), str(tmp_path / "a.png"), Image.fromarray(pixels), pixels]
    rows = ImageSource(items, [0, 1, 2, 3], size=16)[torch.arange(4)]
    for row in rows[1:]:
        torch.testing.assert_close(row, rows[0], rtol=0, atol=0)


def test_grey_arrays_become_rgb() -> None:
    grey = noise()[:, :, 0]
    rows = ImageSource([grey], [0], transform=whole)[[0]]
    for channel in range(3):
        np.testing.assert_array_equal(rows[0, channel].numpy(), grey.astype(np.float32) / 255)


def test_read_is_the_file_and_decode_takes_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg")
    source = ImageSource([path, noise()], [0, 1])
    assert source.read(0) == path.read_bytes()
    for row in (0, 1):
        np.testing.assert_array_equal(np.asarray(source.decode(source.read(row))), np.asarray(source.decode(row)))
        assert source.decode(row).mode == "RGB"


# Bad input.


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def bomb(data: bytes) -> bytes:
    """A PNG that claims 100,000 x 100,000 pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return data[:8] + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[33:]


@pytest.mark.parametrize("damage", [truncated, bomb, lambda _: b"", lambda _: b"hello", lambda data: data[:20]])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_corrupt_picture_is_named(tmp_path: Path, damage: object, workers: int) -> None:
    paths = [save(tmp_path / f"{number}.png") for number in range(5)]
    paths[3].write_bytes(damage(paths[3].read_bytes()))  # type: ignore[operator]
    source = ImageSource(paths, [0, 1, 0, 1, 0], size=8, workers=workers, name="birds")
    assert source[[0, 1, 2, 4]].shape == (4, 3, 8, 8)
    with pytest.raises(
        ValueError, match=r"cannot decode picture '.*3\.png' \(row 3 of 'birds'\).*drop that row"
    ) as caught:
        source[torch.arange(5)]
    assert "0x" not in str(caught.value)
    with pytest.raises(ValueError, match=r"3\.png"):
        source.decode(source.read(3), 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    source = ImageSource([save(tmp_path / "a.png"), tmp_path / "gone.png"], ["a", "b"], size=8, name="birds")
    with pytest.raises(
        FileNotFoundError, match=r"^cannot read picture '.*gone\.png' \(row 1 of 'birds'\): No such file"
    ):
        source[[0, 1]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((4, 4, 3), np.int64), "array of int64; pixels must be uint8"),
        (np.full((4, 4, 3), 7.0), r"float64 from 7\.0 to 7\.0; give uint8 0\.\.255 or floats 0\.\.1"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \[4, 4, 2\], which is no image; it must be \[H, W, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (17, "is a int; give a file name"),
    ],
)
def test_what_is_no_picture_is_named(item: object, message: str) -> None:
    source = ImageSource([noise(), item], [0, 1], size=8, name="birds")
    with pytest.raises(ValueError, match=rf"\(row 1 of 'birds'\).*{message}"):
        source[[0, 1]]


def test_unequal_shapes_are_named() -> None:
    source = ImageSource([noise(), noise(20, 20)], [0, 1], transform=whole)
    with pytest.raises(ValueError, match=r"\[3, 30, 40\] of picture \(row 0 .*\[3, 20, 20\] of picture \(row 1 "):
        source[[0, 1]]


def test_labels_of_the_wrong_length() -> None:
    with pytest.raises(ValueError, match=r"'images' has 2 rows but labels of shape \[3\]"):
        ImageSource([noise(), noise()], [0, 1, 2])


# Folders.


# Tables.


# Identity.


def test_fingerprint_is_of_content_not_place(photos: Path, tmp_path: Path) -> None:
    first = ImageSource.from_folder(photos).fingerprint()
    os.rename(photos, tmp_path / "elsewhere")
    moved = ImageSource.from_folder(tmp_path / "elsewhere")
    assert moved.fingerprint() == first
    assert pickle.loads(pickle.dumps(moved)).fingerprint() == first
    assert ImageSource.from_folder(tmp_path / "elsewhere", size=8).fingerprint() != first
    save(tmp_path / "elsewhere" / "owl" / "0.png")
    assert ImageSource.from_folder(tmp_path / "elsewhere").fingerprint() != first


def test_fingerprint_of_labels_order_and_transform() -> None:
    pictures = [noise() for _ in range(3)]
    make = [
        ImageSource(pictures, [0, 1, 1]),
        ImageSource(pictures, [0, 0, 1]),
        ImageSource(pictures[::-1], [0, 1, 1]),
        ImageSource(pictures, [0, 1, 1], transform=lambda image: CentreCrop()(image) * 2),
    ]
    assert len({source.fingerprint() for source in make}) == 4
    assert ImageSource(pictures, [0, 1, 1], workers=2).fingerprint() == make[0].fingerprint()


def test_pictures_that_changed_are_others(photos: Path) -> None:
    pixels = noise()
    held = ImageSource([pixels, pixels.copy()], [0, 1], size=8)
    before = held.fingerprint()
    pixels[0, 0] ^= 255
    assert held.fingerprint() != before
    filed = ImageSource.from_folder(photos, size=8)
    before = filed.fingerprint()
    assert filed.fingerprint() == before
    Image.fromarray(noise()[::-1]).save(filed.items[0])
    assert filed.fingerprint() != before
    before = filed.fingerprint()
    filed.transform.size = 9
    assert filed.fingerprint() != before


def test_select(photos: Path) -> None:
    source = ImageSource.from_folder(photos, size=8)
    digests = source.digests()
    part = source.select(source.labels == 1, name="owls")
    assert (len(part), part.name, part.class_names, part.labels.tolist()) == (
        4,
        "owls",
        source.class_names,
        [1] * 4,
    )
    torch.testing.assert_close(part[torch.arange(4)], source[torch.arange(4, 8)], rtol=0, atol=0)
    assert part.digests() == digests[4:8]
    assert len(source) == 12
    assert source.select(torch.tensor([5, 2])).digests() == [digests[5], digests[2]]


def test_inputs_are_left_alone() -> None:
    pixels, labels = noise(), np.array([3, 5])
    image = Image.fromarray(pixels[:, :, 0])
    before = pixels.copy()
    ImageSource([pixels, image], labels, size=8)[[0, 1]]
    assert (image.mode, labels.tolist()) == ("L", [3, 5])
    np.testing.assert_array_equal(pixels, before)


def test_an_evaluation_on_files(photos: Path) -> None:
    source = ImageSource.from_folder(photos, size=8)
    sampler = EpisodeSampler(source.labels, way=3, shot=1, query=2)
    guess = lambda episode: torch.zeros(*episode.query.shape[:2], episode.way)  # noqa: E731
    results = evaluate({"first": guess}, source, sampler, episodes=3, progress=False)
    assert results["first"].mean == pytest.approx(1 / 3)


def test_decode_of_real_photographs(shared_data: Path) -> None:
    source = ImageSource.from_folder(shared_data / "clothing_small_224" / "test")
    assert (len(source), len(source.class_names)) == (372, 10)
    rows = source[torch.tensor([[0, 100], [200, 371]])]
    assert rows.shape == (2, 2, 3, 84, 84)
    assert rows.std(dim=(2, 3, 4)).min() > 0.02


def test_decode_needs_no_file() -> None:
    stored = io.BytesIO()
    Image.fromarray(noise()).save(stored, "PNG")
    assert decode_picture(stored.getvalue()).size == (40, 30)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.symlink("/dev/zero", tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with pytest.raises(ValueError, match=rf"cannot read picture '.*{name}' \(row 0 .*it is a pipe, socket or"):
            ImageSource([tmp_path / name], [0]).read(0)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    for item, message in (
        (tmp_path, "it is a folder"),
        ("s3://b/x.png", "it is a URL"),
        ("~/x.png", "not expanded"),
    ):
        with pytest.raises(ValueError, match=rf"\(row 0 of 'images'\): .*{message}"):
            ImageSource([item], [0]).read(0)
