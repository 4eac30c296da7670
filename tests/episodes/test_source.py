"""`TensorSource`: any labels, any number type, no NaN, and rows without needless copies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from episodes import Source, TensorSource
from episodes.identity import digest_array

ROWS = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("labels", "names", "numbers", "expected"),
    [
        (["b", "a", "b", "c", "a", "a"], None, [1, 0, 1, 2, 0, 0], ["a", "b", "c"]),
        ([5, 3, 5, 9, 3, 3], None, [1, 0, 1, 2, 0, 0], ["3", "5", "9"]),
        ([0, 1, 0, 1, 0, 1], ["x", "y", "z"], [0, 1, 0, 1, 0, 1], ["x", "y", "z"]),
        (["y", "x", "y", "x", "y", "x"], ["x", "y"], [1, 0, 1, 0, 1, 0], ["x", "y"]),
        (torch.tensor([1.0, 0, 1, 0, 1, 0]), None, [1, 0, 1, 0, 1, 0], ["0", "1"]),
    ],
)
def test_labels_of_any_kind(labels, names, numbers, expected) -> None:  # type: ignore[no-untyped-def]
    source = TensorSource(ROWS, labels, names)
    assert source.labels.tolist() == numbers
    assert source.labels.dtype == torch.int64
    assert source.class_names == expected
    assert isinstance(source, Source)


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0] * 5, None, r"'birds' has 6 rows but labels of shape \[5\]; give one label per row, \[6\]"),
        ([0, 1, 2, 3, 0, 0], ["a", "b"], r"labels of 'birds' range from 0 to 3, but there are 2 class_names"),
        (["a", "q", "a", "a", "a", "a"], ["a", "b"], r"contain \['q'\], which class_names do not"),
        ([0.5] * 6, None, "are fractions"),
    ],
)
def test_bad_labels(labels, names, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        TensorSource(ROWS, labels, names, name="birds")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused_by_row(bad: float) -> None:
    rows = ROWS.clone()
    rows[4, 1] = bad
    with pytest.raises(ValueError, match="row 4 of 'birds' contains NaN or infinity"):
        TensorSource(rows, [0] * 6, name="birds")


def test_features_must_be_numbers_in_rows() -> None:
    with pytest.raises(ValueError, match=r"they must be \[M, \*x\]"):
        TensorSource(torch.zeros(6), [0] * 6)
    with pytest.raises(ValueError, match="must be numbers"):
        TensorSource(np.array([["a"], ["b"]]), [0, 1])


def test_rows_for_an_index_of_any_shape() -> None:
    source = TensorSource(ROWS, [0] * 6)
    index = torch.tensor([[0, 5], [2, 2]])
    assert torch.equal(source[index], ROWS[index])
    assert torch.equal(source[3], ROWS[3])
    assert torch.equal(source[torch.tensor([True, False] * 3)], ROWS[::2])
    assert torch.equal(source[np.array([1, 2])], ROWS[1:3])


def test_half_precision_and_pixels_are_read_as_float32() -> None:
    half = TensorSource(ROWS.half(), [0] * 6)[torch.tensor([1])]
    assert half.dtype == torch.float32
    pixels = TensorSource(torch.full((6, 1, 2, 2), 255, dtype=torch.uint8), [0] * 6)
    assert pixels.kind == "images"
    assert pixels[torch.tensor([0])].dtype == torch.float32
    assert pixels[torch.tensor([0])].max() == 1.0


def test_a_memory_map_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS.numpy())
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    source = TensorSource(mapped, [0] * 6)
    assert source.features.data_ptr() == mapped.ctypes.data
    assert torch.equal(source[torch.tensor([4, 0])], ROWS[[4, 0]])


def test_gather_uses_the_buffer_where_it_can() -> None:
    source = TensorSource(ROWS, [0] * 6)
    buffer = source.buffer(10)
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])
    rows = source.gather(index, buffer)
    assert rows.data_ptr() == buffer.data_ptr()
    assert torch.equal(rows, ROWS[index])
    half = TensorSource(ROWS.half(), [0] * 6)
    assert half.buffer(10) is None
    assert torch.equal(half.gather(index, None), ROWS[index])


def test_select_keeps_the_classes() -> None:
    source = TensorSource(ROWS, [0, 1, 2, 0, 1, 2])
    part = source.select([0, 3], name="part")
    assert (len(part), part.labels.tolist(), part.class_names) == (2, [0, 0], ["0", "1", "2"])
    assert source.select(source.labels == 1).labels.tolist() == [1, 1]
    assert len(source) == 6


def test_the_fingerprint_follows_the_content() -> None:
    a = TensorSource(ROWS.clone(), [0] * 6, name="a")
    assert a.fingerprint() == TensorSource(ROWS.clone(), [0] * 6, name="b").fingerprint()
    assert a.fingerprint() != TensorSource(ROWS.clone(), [0, 1] * 3).fingerprint()
    assert a.fingerprint() != TensorSource(ROWS.clone() + 1e-6, [0] * 6).fingerprint()
    assert a.fingerprint() != TensorSource(ROWS.double(), [0] * 6).fingerprint()
    before = a.fingerprint()
    a.features[0, 0] += 1
    assert a.fingerprint() != before
    assert a.to("cpu").fingerprint() == a.fingerprint()


def test_gather_converts_where_the_buffer_has_another_type() -> None:
    source = TensorSource(ROWS.half(), [0] * 6)
    index = torch.tensor([[5, 0]])
    rows = source.gather(index, torch.zeros(4, 2))
    assert rows.dtype == torch.float32
    assert torch.equal(rows, ROWS[index])


def test_gather_of_pixels_is_indexing() -> None:
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 2, 2).contiguous()
    source = TensorSource(images, [0] * 6)
    index = torch.tensor([[1, 3], [5, 0]])
    assert torch.equal(source.gather(index, source.buffer(4)), source[index])
    assert torch.equal(source[index][..., 0, 0, 0], index / 255)


def test_reading_never_hands_out_the_rows_themselves() -> None:
    source = TensorSource(ROWS.clone(), [0] * 6)
    source[torch.arange(6)].zero_()
    assert torch.equal(source.features, ROWS)


def test_finding_bad_rows_can_be_left_out() -> None:
    rows = ROWS.clone()
    rows[4, 1] = torch.nan
    assert len(TensorSource(rows, [0] * 6, check_finite=False)) == 6


def test_the_bad_row_is_named_beyond_the_first_block() -> None:
    rows = torch.zeros(5000, 1024)
    rows[4999, 7] = torch.inf
    with pytest.raises(ValueError, match="row 4999 of 'features' contains NaN or infinity"):
        TensorSource(rows, [0] * 5000)


def test_inputs_are_not_changed() -> None:
    rows, labels = ROWS.numpy().copy(), np.array([7, 7, 3, 3, 9, 9])
    source = TensorSource(rows, labels)
    source.select([0]).labels.zero_()
    source[torch.tensor([1])].zero_()
    source.fingerprint()
    assert np.array_equal(rows, ROWS.numpy())
    assert labels.tolist() == [7, 7, 3, 3, 9, 9]


def test_the_fingerprint_of_a_map_is_that_of_its_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS.numpy())
    mapped = TensorSource(np.load(tmp_path / "rows.npy", mmap_mode="r"), [0] * 6)
    assert mapped.fingerprint() == TensorSource(ROWS, [0] * 6).fingerprint()


def test_the_fingerprint_tells_shapes_and_order_apart() -> None:
    sources = [
        TensorSource(ROWS, [0] * 6),
        TensorSource(ROWS.flip(0), [0] * 6),
        TensorSource(ROWS.reshape(6, 1, 2), [0] * 6),
        TensorSource(ROWS[:5], [0] * 5),
        TensorSource(ROWS, [0, 0, 0, 1, 1, 1]),
    ]
    assert len({source.fingerprint() for source in sources}) == len(sources)


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    # Pinned: results on disk are matched by it.
    assert TensorSource(ROWS, [0, 1, 2] * 2).fingerprint() == FINGERPRINT


FINGERPRINT = "a2fb18a49d92c5451bfedc7ace7694f4"


def test_sparse_complex_masked_and_empty_ones() -> None:
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


def test_arrays_that_torch_refuses() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    for odd in (rows.astype(">f4"), rows[::-1][::-1], rows.astype(np.longdouble), rows.astype(np.uint16)):
        assert torch.equal(TensorSource(odd, [0, 1])[torch.arange(2)].double(), torch.from_numpy(rows))
    assert torch.equal(TensorSource(rows[::-1], [0, 1])[0], torch.from_numpy(rows[1]))


def test_a_mapped_file_that_is_written_to_with_its_times_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ROWS.numpy())
    times = os.stat(path)
    source = TensorSource(np.load(path, mmap_mode="r"), [0] * 6)
    before = source.fingerprint()
    written = np.lib.format.open_memmap(path, mode="r+")
    written[0] += 1
    written.flush()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert source.fingerprint() == TensorSource(source.features.clone(), [0] * 6).fingerprint() != before


def test_a_mapped_file_is_read_once_while_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from episodes import files, source

    path = tmp_path / "rows.npy"
    np.save(path, ROWS.numpy())
    mapped, reads = TensorSource(np.load(path, mmap_mode="r"), [0] * 6), []

    def counted(array: torch.Tensor) -> str:
        reads.append(len(array))
        return digest_array(array)

    monkeypatch.setattr(source, "digest_array", counted)
    for expected in (1, 2):  # it was written a moment ago, by which no coarse clock could tell
        mapped.fingerprint()
        assert len(reads) == expected
    monkeypatch.setattr(files, "_SETTLED_NANOSECONDS", 0)
    for _ in range(3):
        mapped.fingerprint()
    assert len(reads) == 3
