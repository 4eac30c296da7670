"""What a thing is: files, texts, images; labels; and what pictures may do to a reader."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import EpisodeSampler, ImageSource, TensorSource, TextSource, evaluate, load_dataset
from episodes.inputs import check_whole, item_kind, looks_like_path, rows_of
from episodes.labelled_files import pictures_below
from episodes.labels import label_array, name_list
from episodes.pictures import CentreCrop, decode_picture, encode_picture, is_deep
from episodes.pixels import as_input, to_eight_bits

RANDOM = np.random.default_rng(0)


def noise(height: int = 30, width: int = 40) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "string",
    [
        "typo/heart.jpg", "HEART.PNG", "~/photos", "~/a b.png", "./x", "../x", "/data/x", "C:\\photos\\x", "C:/x.png",
        "\\\\server\\x", "http://example.org/a", "s3://bucket/key", "file:///a b.jpg", "data/table.csv",
    ],
)  # fmt: skip
def test_strings_written_like_paths(string: str) -> None:
    assert looks_like_path(string)


@pytest.mark.parametrize(
    "string",
    [
        "", "/", "~", ".", "...", "and/or", "either/or/both", "see file.txt for more", "look at heart.jpg", "Mr. Smith",
        "example.com", "3.5", "e.g.", "/s that was ironic", "http is a protocol", "a: b", ".txt", "owl", "TCP/IP",
        "24/7", "I was at https://example.org/x.jpg yesterday",
    ],
)  # fmt: skip
def test_strings_that_are_texts(string: str) -> None:
    assert not looks_like_path(string)
    assert item_kind(string, on_disk=False) == "text"


def test_a_file_that_exists_is_a_file_whatever_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "my owl"
    odd.write_bytes(b"")
    assert item_kind(str(odd)) == "file"
    assert item_kind("x" * 10_000) == item_kind("a\0b") == "text"


def test_one_item_is_not_a_collection() -> None:
    for one in ("owl", b"owl", Path("owl"), Image.new("RGB", (4, 4)), np.zeros((64, 48, 3)), torch.zeros(3, 9, 9), 7):
        with pytest.raises(ValueError, match=r"^X is"):
            rows_of(one)
    assert rows_of(word for word in ("a", "b")) == ["a", "b"]
    with pytest.raises(ValueError, match="a single row or number"):
        rows_of(np.zeros(3))


def test_whole_numbers() -> None:
    for wrong in (1.5, 1.0, True, 0, "3", None, float("nan")):
        with pytest.raises(ValueError, match="size="):
            check_whole("size", wrong)
        with pytest.raises(ValueError, match="size="):
            CentreCrop(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"workers=1\.5"):
        ImageSource([noise()], [0], workers=1.5)  # type: ignore[arg-type]


class TestTexts:
    @pytest.mark.parametrize("missing", [None, float("nan"), np.nan])
    def test_a_missing_text_is_named(self, missing: Any) -> None:
        with pytest.raises(ValueError, match="row 1 of 'bank' is missing"):
            TextSource(["a", missing, "b"], [0, 1, 0], name="bank")

    def test_tables(self) -> None:
        pd = pytest.importorskip("pandas")
        texts = pd.Series(["lost card", "late card"], index=[7, 9])
        assert TextSource(texts, [0, 1]).texts == ["lost card", "late card"]
        assert TextSource(texts.to_frame("text"), [0, 1]).texts == ["lost card", "late card"]
        with pytest.raises(ValueError, match="row 1 of 'texts' is missing"):
            TextSource(pd.Series(["a", None], dtype="string"), [0, 1])
        with pytest.raises(ValueError, match=r"a table of 2 columns \('a', 'b'\)"):
            TextSource(pd.DataFrame({"a": ["x"], "b": ["y"]}), [0])


class TestLabels:
    def test_numbers_and_names_are_never_mixed(self) -> None:
        for mixed in (["a", 1], [1, "a"], np.array(["a", 1], dtype=object), ("a", 1.0), [True, "a"], [True, 2]):
            with pytest.raises(ValueError, match=r"mixture of .*row 0.*row 1"):
                TensorSource(torch.eye(2), mixed)
        assert label_array([np.int64(3), 2, np.int32(1)]).tolist() == [3, 2, 1]
        assert label_array([torch.tensor(3), torch.tensor(1)]).tolist() == [3, 1]

    def test_large_labels_do_not_merge(self) -> None:
        source = TensorSource(torch.eye(3), [2**63, 2**63 + 1, 2**63])
        assert source.class_names == [str(2**63), str(2**63 + 1)]
        for wrong in ([1e19, 2e19, 0.0], [float("inf"), 0.0, -float("inf")], [2.0**53, 2.0**53 + 2, 0.0]):
            with pytest.raises(ValueError, match=r"row 0 of labels of 'birds'"):
                TensorSource(torch.eye(3), wrong, name="birds")
            with pytest.raises(ValueError, match=r"row 0"):
                TensorSource(torch.eye(3), torch.tensor(wrong, dtype=torch.float64), name="birds")

    def test_labels_far_apart_need_no_table(self) -> None:
        labels = [500_000_000, 3] * 20
        source = TensorSource(torch.rand(40, 2), labels)
        assert source.class_names == ["3", "500000000"]
        tracemalloc.start()
        try:
            for given in (np.array(labels), source.labels):
                EpisodeSampler(given, way=2, shot=1, query=5).draw(0, 3)
            assert tracemalloc.get_traced_memory()[1] < 100e6
        finally:
            tracemalloc.stop()

    def test_padded_numbers_are_names(self, tmp_path: Path) -> None:
        lines = [f"{name}.png,{label}" for name, label in (("a", "01"), ("b", "1"), ("c", "01"))]
        for name in "abc":
            Image.fromarray(noise()).save(tmp_path / f"{name}.png")
        (tmp_path / "index.csv").write_text("\n".join(lines))
        source = ImageSource.from_csv(tmp_path / "index.csv")
        assert (source.class_names, source.labels.tolist()) == (["01", "1"], [0, 1, 0])

    def test_names(self) -> None:
        assert name_list(np.array(["owl", "crow"])) == ["owl", "crow"]
        for wrong in ("owl", None, ["owl", None], 3):
            with pytest.raises(ValueError, match=r"class_names are|name 1 of class_names is missing"):
                name_list(wrong)
        with pytest.raises(ValueError, match="one string, 'ab'"):
            TensorSource(torch.eye(2), [0, 1], "ab")


class TestFeatures:
    def test_sparse_complex_masked_and_empty_ones(self) -> None:
        sparse = pytest.importorskip("scipy.sparse")
        for wrong, message in (
            (torch.eye(2).to_sparse(), r"sparse.*to_dense\(\)"),
            (sparse.eye(2).tocsr(), r"sparse.*toarray\(\)"),
            (torch.eye(2, dtype=torch.complex64), "complex"),
            (np.eye(2, dtype=np.complex128), "complex"),
            (np.ma.array(np.eye(2), mask=np.eye(2)), "masked"),
            (torch.zeros(2, 0), "holds no numbers"),
            (np.zeros((2, 3, 0)), "holds no numbers"),
        ):
            with pytest.raises(ValueError, match=message):
                TensorSource(wrong, [0, 1])

    def test_arrays_that_torch_refuses(self) -> None:
        rows = np.arange(6.0).reshape(2, 3)
        for odd in (rows.astype(">f4"), rows[::-1][::-1], rows.astype(np.longdouble), rows.astype(np.uint16)):
            assert torch.equal(TensorSource(odd, [0, 1])[torch.arange(2)].double(), torch.from_numpy(rows))
        assert torch.equal(TensorSource(rows[::-1], [0, 1])[0], torch.from_numpy(rows[1]))


class TestPictures:
    def test_one_opened_image_many_times(self, tmp_path: Path) -> None:
        for turn in range(8):
            pixels = noise(400, 300)
            Image.fromarray(pixels).save(tmp_path / "a.png")
            opened = Image.open(tmp_path / "a.png")
            with ThreadPoolExecutor(8) as pool:
                found = set(pool.map(encode_picture, [opened] * 16))
            assert found == {b"P6\n300 400\n255\n" + pixels.tobytes()}, turn

    def test_images_that_share_a_file(self) -> None:
        pages, file = [noise(200, 200) for _ in range(8)], io.BytesIO()
        Image.fromarray(pages[0]).save(file, "TIFF", save_all=True, append_images=[*map(Image.fromarray, pages[1:])])
        for _ in range(4):
            opened = [Image.open(file) for _ in pages]
            for number, image in enumerate(opened):
                image.seek(number)
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(encode_picture, opened))
            assert [data[-page.size :] == page.tobytes() for data, page in zip(found, pages, strict=True)] == [True] * 8

    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    def test_grey_levels_keep_their_brightness(self, bits: int, tmp_path: Path) -> None:
        ramp = np.linspace(0, 2**bits - 1, 256).astype(np.int64).reshape(16, 16)
        expected = ramp.reshape(-1) / (2**bits - 1) * 255
        Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "16.png")
        Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "16.tif")
        Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "32.tif")
        for path in sorted(tmp_path.iterdir()):
            seen = np.asarray(decode_picture(path.read_bytes()))[:, :, 0].reshape(-1)
            assert np.abs(seen - expected).max() <= 1, path
            assert is_deep(path.read_bytes())
        assert not is_deep(encode_picture(noise()))

    def test_levels_beyond_16_bits(self) -> None:
        for levels in ([-1, 5], [0, 70_000]):
            with pytest.raises(ValueError, match="at most 16 bits"):
                to_eight_bits(np.array(levels))

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_a_damaged_tag_says_nothing_about_the_pixels(self, kind: str) -> None:
        pixels, file = noise(), io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(file, kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))
        data = bytearray(file.getvalue())
        place = data.index(b"MM\0*") if b"MM\0*" in data else data.index(b"II*\0")
        data[place : place + 8] = b"\xff" * 8
        if kind == "PNG":  # a PNG's chunk has a checksum
            begin = data.index(b"eXIf")
            size = struct.unpack(">I", data[begin - 4 : begin])[0]
            data[begin + 4 + size : begin + 8 + size] = struct.pack(">I", zlib.crc32(data[begin : begin + 4 + size]))
        np.testing.assert_array_equal(np.asarray(decode_picture(bytes(data))), pixels)

    def test_formats_that_run_other_programs_are_not_opened(self) -> None:
        script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
        with pytest.raises(ValueError, match="no picture in a format that is read: BMP, GIF, JPEG"):
            decode_picture(script)
        for kind in ("ICO", "TGA", "PCX"):
            file = io.BytesIO()
            Image.fromarray(noise()).save(file, kind)
            with pytest.raises(ValueError, match="no picture in a format that is read"):
                decode_picture(file.getvalue())

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_pipes_do_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.png")
        os.symlink("/dev/zero", tmp_path / "b.png")
        for name in ("a.png", "b.png"):
            with pytest.raises(ValueError, match=rf"cannot read picture '.*{name}' \(row 0 .*it is a pipe, socket or"):
                ImageSource([tmp_path / name], [0]).read(0)

    def test_what_is_no_file_is_said(self, tmp_path: Path) -> None:
        for item, message in (
            (tmp_path, "it is a folder"),
            ("s3://b/x.png", "it is a URL"),
            ("~/x.png", "not expanded"),
        ):
            with pytest.raises(ValueError, match=rf"\(row 0 of 'images'\): .*{message}"):
                ImageSource([item], [0]).read(0)

    def test_floats_tensors_and_channels_are_the_same_picture(self) -> None:
        pixels = noise()
        tensor = torch.from_numpy(pixels)
        rgba = np.concatenate([pixels, np.full((30, 40, 1), 7, np.uint8)], 2)
        forms = [
            pixels, tensor, pixels.transpose(2, 0, 1), tensor.permute(2, 0, 1), pixels / 255, (pixels / 255).astype("f4"),
            tensor.permute(2, 0, 1).float() / 255, rgba, Image.fromarray(pixels),
        ]  # fmt: skip
        assert {encode_picture(form) for form in forms} == {encode_picture(pixels)}
        grey = [pixels[:, :, 0], tensor[:, :, :1], tensor[None, :, :, 0], pixels[:, :, 0] / 255]
        assert len({encode_picture(form) for form in grey}) == 1
        stacked = [np.stack([pixels] * 2), torch.stack([tensor.permute(2, 0, 1)] * 2), np.stack([pixels] * 2) / 255]
        for form in stacked:
            assert [encode_picture(item) for item in ImageSource(form, [0, 1]).items] == [encode_picture(pixels)] * 2

    def test_what_transforms_give(self) -> None:
        pixels = noise()
        expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        forms: list[Any] = [
            np.asarray, lambda image: {"pixel_values": expected[None]}, lambda image: {"image": np.asarray(image)},
            lambda image: np.asarray(image) / 255, lambda image: {"pixel_values": [expected.numpy()], "size": 3},
            lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1),
        ]  # fmt: skip
        for transform in forms:
            found = ImageSource([pixels], [0], transform=transform)
            torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-7)
            assert found.fingerprint()
        for wrong, message in (
            (lambda image: image.convert("L"), "gives a Image"),
            (lambda image: {"a": 1, "b": 2}, "gives a mapping of a, b"),
        ):
            with pytest.raises(ValueError, match=rf"\(row 0 of 'images'\): the transform {message}"):
                ImageSource([pixels], [0], transform=wrong)[0]
        with pytest.raises(ValueError, match="a mapping of nothing"):
            as_input({})


class TestFolders:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        root = tmp_path / "photos"
        for name in ("owl", "crow", "crow/.ipynb_checkpoints", "__MACOSX/owl", ".ipynb_checkpoints"):
            (root / name).mkdir(parents=True, exist_ok=True)
            for file in ("a.png", "._a.png", ".b.png"):
                Image.fromarray(noise()).save(root / name / file)
        (root / "owl" / "Thumbs.db").write_bytes(b"")
        return root

    def test_hidden_files_are_no_data(self, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
        source = ImageSource.from_folder(photos)
        assert (source.class_names, len(source)) == (["crow", "owl"], 2)
        assert not caplog.text
        assert [path.relative_to(photos).as_posix() for path in pictures_below(photos)] == ["crow/a.png", "owl/a.png"]

    def test_a_folder_is_a_dataset(self, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(photos.parent)
        for spec in (photos, str(photos), "photos", "photos/", "photos(size=8)", Path("photos")):
            source = load_dataset(spec)  # type: ignore[arg-type]
            assert (type(source), source.class_names) == (ImageSource, ["crow", "owl"])
        assert load_dataset("photos(size=8)")[0].shape == (3, 8, 8)
        assert load_dataset(photos, size=8)[0].shape == (3, 8, 8)

    def test_other_paths(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "bank.npz", X=np.eye(2), y=[0, 1])
        assert len(load_dataset(tmp_path / "bank.npz")) == 2
        (tmp_path / "index.csv").write_text("a,b\n")
        (tmp_path / "a.png").write_bytes(b"")
        with pytest.raises(ValueError, match=r"write 'csv:.*' or 'text-csv:"):
            load_dataset(tmp_path / "index.csv")
        with pytest.raises(ValueError, match=r"'.*a\.png' is no dataset; give a folder"):
            load_dataset(str(tmp_path / "a.png"))
        with pytest.raises(FileNotFoundError, match="there is no file or folder"):
            load_dataset(tmp_path / "nowhere")
        for wrong in (None, ["a"], np.eye(2), 3):
            with pytest.raises(ValueError, match="is no dataset"):
                load_dataset(wrong)  # type: ignore[arg-type]


def test_arguments_of_evaluate_in_the_wrong_order() -> None:
    source = TensorSource(torch.eye(3).repeat_interleave(20, 0), [0] * 20 + [1] * 20 + [2] * 20)
    sampler = EpisodeSampler(source.labels, way=2, shot=1, query=5)
    for wrong in (("prototypes", sampler, source), (source, "prototypes", sampler), (sampler, source, "prototypes")):
        with pytest.raises(ValueError, match=r"evaluate\(learners, source, sampler\): "):
            evaluate(*wrong, episodes=2, progress=False)  # type: ignore[arg-type]
