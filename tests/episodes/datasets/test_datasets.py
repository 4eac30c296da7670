"""`load_dataset`: specs, options, and each dataset read from stand-ins of its files."""

from __future__ import annotations

import gzip
import pickle
import struct
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import FINE, write_cifar, write_omniglot

from episodes import ImageSource, TensorSource, TextSource, list_datasets, load_dataset, load_split
from episodes.datasets import files as dataset_files
from episodes.datasets import parse_dataset

RANDOM = np.random.default_rng(0)


# Specs.


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("digits", ("digits", "", {})),
        (" omniglot : test ", ("omniglot", "test", {})),
        ("omniglot(rotations=False)", ("omniglot", "", {"rotations": False})),
        ("csv:a.csv(path_column='x', size=8)", ("csv", "a.csv", {"path_column": "x", "size": 8})),
        ("folder:C:/photos (1)", ("folder", "C:/photos (1)", {})),
        ("folder:photos ()", ("folder", "photos ()", {})),
        ("folder:photos (old)", ("folder", "photos (old)", {})),
        ("folder:a (b)(size=8)", ("folder", "a (b)", {"size": 8})),
        ("omniglot:test(size=open)", ("omniglot", "test(size=open)", {})),
    ],
)
def test_parse(spec: str, expected: object) -> None:
    assert parse_dataset(spec) == expected


def test_list() -> None:
    known = {
        "arrays",
        "cifar-fs",
        "csv",
        "digits",
        "fashion-mnist",
        "fc100",
        "folder",
        "omniglot",
        "text-csv",
    }
    assert known <= set(list_datasets())
    assert list_datasets() == sorted(list_datasets())


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("omniglott", {}, r"unknown dataset 'omniglott'; did you mean 'omniglot'\? Known: arrays,"),
        (
            "omniglot:tset",
            {},
            r"unknown part of 'omniglot' 'tset'; did you mean 'test'\? Known: train, val, test",
        ),
        ("cifar-fs:train+novel", {}, r"unknown part of 'cifar-fs' 'novel'"),
        ("digits:train", {}, "digits have no part 'train'; write 'digits' or 'digits:images'"),
        ("digits", {"size": 8}, "dataset 'digits' has no option 'size'; Its options: none"),
        (
            "omniglot",
            {"rotation": True},
            r"no option 'rotation'; did you mean 'rotations'\? Its options: root, ",
        ),
        ("folder:x(sise=3)", {}, r"no option 'sise'; did you mean 'size'\?"),
        ("folder", {}, "dataset 'folder' needs a path; write 'folder:PATH'"),
        ("folder:", {"size": 8}, "needs a path"),
        ("", {}, "unknown dataset ''"),
    ],
)
def test_bad_specs(spec: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(spec, **options)


def test_a_source_is_returned_as_it_is() -> None:
    source = TensorSource(torch.eye(2), [0, 1])
    assert load_dataset(source) is source


def test_installed_datasets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(part: str = "", **options: object) -> tuple[str, object]:
        return part, options

    point = SimpleNamespace(name="mine", load=lambda: load)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group, name="mine": [point] if name == "mine" else [])
    assert "mine" in list_datasets()
    assert load_dataset("mine:a(b=1)", c=2) == ("a", {"b": 1, "c": 2})


# Data of one's own.


def test_folder_and_tables(tmp_path: Path) -> None:
    for name in ("owl", "crow"):
        (tmp_path / "birds (small)" / name).mkdir(parents=True)
        Image.fromarray(RANDOM.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(
            tmp_path / "birds (small)" / name / "0.png"
        )
    folder = load_dataset(f"folder:{tmp_path / 'birds (small)'}(size=8)")
    assert isinstance(folder, ImageSource)
    assert (folder.class_names, folder[[0, 1]].shape) == (["crow", "owl"], (2, 3, 8, 8))
    (tmp_path / "index.csv").write_text("owl/0.png,1\ncrow/0.png,0\n")
    table = load_dataset(f"csv:{tmp_path / 'index.csv'}", root=str(tmp_path / "birds (small)"), size=8)
    torch.testing.assert_close(table[[1, 0]], folder[[0, 1]], rtol=0, atol=0)
    (tmp_path / "texts.csv").write_text("hello,1\n")
    assert isinstance(load_dataset(f"text-csv:{tmp_path / 'texts.csv'}"), TextSource)


@pytest.mark.parametrize(
    ("shape", "read", "kind"),
    [
        ((6, 5), (6, 5), "features"),
        ((6, 8, 8), (6, 1, 8, 8), "images"),
        ((6, 3, 8, 8), (6, 3, 8, 8), "images"),
        ((6, 8, 8, 3), (6, 3, 8, 8), "images"),
    ],
)
def test_arrays(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...], kind: str) -> None:
    x = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "bank.npz", X=x, y=[0, 0, 1, 1, 2, 2], class_names=["a", "b", "c"])
    source = load_dataset(f"arrays:{tmp_path / 'bank.npz'}")
    assert (source.name, source.kind, source.class_names) == ("bank", kind, ["a", "b", "c"])
    rows = source[torch.arange(6)]
    assert rows.shape == read
    if shape[-1] == 3:
        x = x.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(rows.numpy().ravel(), x.ravel().astype(np.float32) / np.float32(255))


def test_arrays_under_other_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "bank.npz", f=np.eye(2, dtype=np.float16), who=["b", "a"])
    source = load_dataset(f"arrays:{tmp_path / 'bank.npz'}(rows='f', labels='who')")
    assert (source.class_names, source.labels.tolist(), source[0].dtype) == (
        ["a", "b"],
        [1, 0],
        torch.float32,
    )
    with pytest.raises(ValueError, match=r"has no array 'X'; it has f, who\. Say which are meant with rows="):
        load_dataset(f"arrays:{tmp_path / 'bank.npz'}")


def test_arrays_refuse_python_objects_and_other_files(tmp_path: Path) -> None:
    bank = tmp_path / "bank.npz"
    np.savez(bank, X=np.eye(2), y=np.array(["a", None], dtype=object))
    with pytest.raises(ValueError, match=r"array 'y' of .* cannot be read .*save numbers or strings"):
        load_dataset(f"arrays:{bank}")
    bank.write_bytes(pickle.dumps({"X": 1}))
    with pytest.raises(ValueError, match=r"not an archive made by numpy\.savez"):
        load_dataset(f"arrays:{bank}")
    with zipfile.ZipFile(bank, "w") as archive:
        archive.writestr("X.npy", b"garbage")
    with pytest.raises(ValueError, match=r"array 'X' of .*bank\.npz' cannot be read \(not an array\)"):
        load_dataset(f"arrays:{bank}", labels="X")
    np.save(tmp_path / "one.npy", np.eye(2))
    with pytest.raises(ValueError, match="holds one array"):
        load_dataset(f"arrays:{tmp_path / 'one.npy'}")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_dataset(f"arrays:{tmp_path / 'gone.npz'}")


def test_arrays_with_nan_say_the_row(tmp_path: Path) -> None:
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    np.savez(tmp_path / "bank.npz", X=x, y=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="row 2 of 'bank' contains NaN"):
        load_dataset(f"arrays:{tmp_path / 'bank.npz'}")


# Digits.


def test_digits() -> None:
    from sklearn.datasets import load_digits

    source = load_dataset("digits")
    data, target = load_digits(return_X_y=True)
    assert (source.name, source.kind, source.class_names) == ("digits", "features", list("0123456789"))
    np.testing.assert_array_equal(source.labels.numpy(), target)
    np.testing.assert_array_equal(source[torch.arange(1797)].numpy(), data.astype(np.float32) / 16)


# Datasets that come as files: stand-ins in the layout of the real ones.


@pytest.fixture(scope="module")
def omniglot_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1,623 characters, each with one drawing that holds its number."""
    root = tmp_path_factory.mktemp("omniglot")
    write_omniglot(root)
    return root


def test_omniglot_parts(omniglot_root: Path) -> None:
    split = load_split("omniglot")
    sizes = {"train": 1028, "val": 172, "test": 423}
    for part, size in sizes.items():
        source = load_dataset(f"omniglot:{part}(rotations=False)", root=omniglot_root)
        assert (source.class_names, source.name, source.kind) == (split[part], f"omniglot:{part}", "images")
        assert source.labels.tolist() == list(range(size))
        assert source[[0]].shape == (1, 1, 28, 28)
        assert source.features.dtype == torch.uint8
    both = load_dataset("omniglot:val+train", root=omniglot_root, rotations=False)
    assert len(both.class_names) == 1200


def test_omniglot_rotations_are_classes_of_their_own(omniglot_root: Path) -> None:
    upright = load_dataset("omniglot:test", root=omniglot_root, rotations=False)
    turned = load_dataset("omniglot:test", root=omniglot_root)
    assert len(turned.class_names) == len(set(turned.class_names)) == 4 * 423 == len(turned)
    assert torch.bincount(turned.labels).tolist() == [1] * 1692
    assert {name.rsplit("/", 1)[0] for name in turned.class_names} == set(load_split("omniglot")["test"])
    row_of = {turned.class_names[label]: row for row, label in enumerate(turned.labels.tolist())}
    for row in (0, 100, 422):
        name = upright.class_names[int(upright.labels[row])]
        for turns in range(4):
            seen = turned[row_of[f"{name}/rot{90 * turns:03d}"]]
            expected = torch.rot90(upright[row], turns, (1, 2))
            torch.testing.assert_close(seen, expected, rtol=0, atol=0)
            dark = (seen[0] < 0.999).float()
            # Counter-clockwise: the dark top left quarter goes to the bottom left, bottom right, top right.
            corner = [(0, 0), (1, 0), (1, 1), (0, 1)][turns]
            halves = dark.unfold(0, 14, 14).unfold(1, 14, 14).sum((2, 3))
            assert np.unravel_index(int(halves.argmax()), (2, 2)) == corner


def test_omniglot_may_lie_in_root_itself(omniglot_root: Path) -> None:
    source = load_dataset("omniglot:val", root=omniglot_root / "omniglot-py", rotations=False)
    assert len(source.class_names) == 172


def test_omniglot_incomplete(tmp_path: Path) -> None:
    for half in ("images_background", "images_evaluation"):
        (tmp_path / "omniglot-py" / half / "Greek" / "character01").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"lacks 172 of the 172 characters of this part, such as 'Armenian/"):
        load_dataset("omniglot:val", root=tmp_path)


def test_omniglot_reads_real_drawings_as_they_were_packed(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early Aramaic is a validation alphabet of which the real drawings are at hand."""
    packed = np.load(shared_data / "omniglot" / "omniglot28.npz", allow_pickle=False)
    with zipfile.ZipFile(shared_data / "omniglot" / "python" / "images_background_small1.zip") as archive:
        wanted = [name for name in archive.namelist() if "/Early_Aramaic/" in name and name.endswith(".png")]
        archive.extractall(tmp_path, wanted)
    (tmp_path / "images_background_small1").rename(tmp_path / "images_background")
    (tmp_path / "images_evaluation").mkdir()
    names = sorted({"/".join(name.split("/")[1:3]) for name in wanted})
    monkeypatch.setattr("episodes.datasets.omniglot.load_split", lambda _: {"val": names})
    source = load_dataset("omniglot:val", root=tmp_path, rotations=False)
    assert len(source) == 22 * 20
    for place, name in enumerate(names):
        label = packed["class_name"].tolist().index(name)
        drawings = source.features[source.labels == place, 0].numpy()
        np.testing.assert_array_equal(drawings, packed["X"][packed["y"] == label])


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three training pictures and one test picture of each class, in torchvision's own format."""
    write_cifar(tmp_path, monkeypatch)
    return tmp_path


@pytest.mark.parametrize("name", ["cifar-fs", "fc100"])
def test_cifar(cifar_root: Path, name: str) -> None:
    split = load_split(name)
    for part in split:
        source = load_dataset(f"{name}:{part}", root=cifar_root)
        assert (source.class_names, source.name) == (split[part], f"{name}:{part}")
        assert source.features.shape == (4 * len(split[part]), 3, 32, 32)
        assert torch.bincount(source.labels).tolist() == [4] * len(split[part])
        for row in range(0, len(source), 7):  # the first red pixel tells which class a picture is of
            assert source.class_names[int(source.labels[row])] == FINE[int(source.features[row, 0, 0, 0])]
    assert len(load_dataset(name, root=cifar_root)) == 400


def test_cifar_channels_are_where_torchvision_has_them(cifar_root: Path) -> None:
    from torchvision.datasets import CIFAR100

    theirs = CIFAR100(cifar_root, train=True)
    ours = load_dataset("cifar-fs", root=cifar_root)
    image, _ = theirs[5]
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    assert (ours[torch.arange(400)] == expected).flatten(1).all(1).sum() == 1


def test_damaged_cifar(cifar_root: Path) -> None:
    with (cifar_root / "cifar-100-python" / "train").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"'cifar-100-python' in .* is damaged .*delete it and pass download=True"):
        load_dataset("cifar-fs:test", root=cifar_root)


def idx(path: Path, array: np.ndarray, *, packed: bool = False) -> None:
    data = struct.pack(">I", 0x0800 + array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if packed else data)


def test_fashion_mnist(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    made = {}
    for half, count in (("train", 30), ("t10k", 20)):
        pictures, labels = (
            RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            np.arange(count, dtype=np.uint8) % 10,
        )
        idx(raw / f"{half}-images-idx3-ubyte", pictures)
        idx(raw / f"{half}-labels-idx1-ubyte", labels)
        made[half] = pictures
    test = load_dataset("fashion-mnist:test", root=tmp_path)
    np.testing.assert_array_equal(test.features[:, 0].numpy(), made["t10k"])
    assert (test.class_names[0], test.class_names[9], len(test.class_names)) == (
        "T-shirt/top",
        "Ankle boot",
        10,
    )
    both = load_dataset("fashion-mnist", root=tmp_path)
    assert (both.features.shape, both.name) == ((50, 1, 28, 28), "fashion-mnist")
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"\0\0")
    with pytest.raises(ValueError, match=r"'FashionMNIST/raw' in .* is damaged"):
        load_dataset("fashion-mnist:test", root=tmp_path)


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ("omniglot:test", "'omniglot-py/images_background' and 'omniglot-py/images_evaluation'"),
        ("cifar-fs", "'cifar-100-python/train' and 'cifar-100-python/test' and 'cifar-100-python/meta'"),
        ("fc100:val", "'cifar-100-python/train'"),
        ("fashion-mnist", "'FashionMNIST/raw/train-images-idx3-ubyte'"),
    ],
)
def test_missing_files_say_what_belongs_where(
    spec: str, needed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=rf"needs {needed}.*download=True .*root="):
        load_dataset(spec, root=tmp_path)
    monkeypatch.setenv("EPISODES_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        load_dataset(spec)

    def offline(*_: object, **options: float) -> None:
        assert options["timeout"] <= 10
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(FileNotFoundError, match=rf"could not be downloaded .*no route to host.*place {needed}"):
        load_dataset(spec, root=tmp_path, download=True)


def test_files_that_are_there_are_not_downloaded(cifar_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network was used"))
    load_dataset("fc100:test", root=cifar_root, download=True)


@pytest.mark.parametrize(
    ("fetch", "reason"),
    [
        (
            lambda: (_ for _ in ()).throw(RuntimeError("File not found or corrupted.")),
            "File not found or corrupted",
        ),
        (lambda: None, "the archive lacks files"),
    ],
)
def test_a_download_that_fails_says_so(
    fetch: Callable[[], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_files, "_unreachable", lambda _: None)
    with pytest.raises(FileNotFoundError, match=reason):
        dataset_files.require("x", tmp_path, ["a"], fetch, "https://example.org/a.zip")


def test_a_download_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_files, "_unreachable", lambda _: None)
    dataset_files.require("x", tmp_path, ["a"], lambda: (tmp_path / "a").touch(), "https://example.org/a.zip")
    assert (tmp_path / "a").exists()
