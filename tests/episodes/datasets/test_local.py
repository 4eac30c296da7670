"""Data of one's own: folders, tables and arrays."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import ImageSource, TextSource, load_dataset

RANDOM = np.random.default_rng(0)


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
