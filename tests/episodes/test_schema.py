"""Readers of files that may be damaged or hostile: bounded, and every error names the file and the field."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes import EpisodeSampler, ManifestSampler, load_dataset, save_episodes
from episodes.archives import read_archive
from episodes.files import open_regular, read_bounded, write_atomically
from episodes.schema import field, parse_json, read_json

LABELS = np.repeat(np.arange(4), 6)


# JSON


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged: it is not JSON"), (b"\xff", "it is not UTF-8"), (b"{", "it is not JSON"),
        (b"NaN", "NaN is no JSON value"), (b"[Infinity]", "Infinity is no JSON value"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"), (b"[" * 600 + b"]" * 600, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "it is not JSON"), (b" " * 2000, "has 2,000 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some.json'.*{message}"):
        read_json(path, 1000 if content.isspace() else 10**6)


@pytest.mark.parametrize(
    ("value", "kind", "options", "message"),
    [
        ("1", int, {}, r"the field 'a' is a string \('1'\); it must be an integer"),
        (True, int, {}, "is true or false; it must be an integer"),
        (True, float, {}, "must be a number"),
        (1.0, int, {}, "must be an integer"),
        (None, (str, type(None)), {}, None),
        (3, float, {}, None),
        (10**400, float, {}, "too large for a number"),
        (1 << 9999, str, {}, "is an integer .of 10000 bits.; it must be a string"),
        (float("inf"), float, {}, "must be finite"),
        ([1, "x"], list, {"each": int}, "an entry of the field 'a' in here is a string"),
        ({"x": 1}, dict, {"each": str}, "an entry of the field 'a'"),
        (5, int, {"most": 4}, "is 5; it must be at most 4"),
        ([], list, {"least": 1}, "has length 0; it must be at least 1"),
        ("\ud800", str, {}, "not valid Unicode"),
    ],
    ids=range(14),
)
def test_fields_are_checked(value: Any, kind: Any, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert field({"a": value}, "a", kind, "here") == value
        return
    with pytest.raises(ValueError, match=f"here.*{message}|{message}"):
        field({"a": value}, "a", kind, "here", **options)


def test_missing_fields() -> None:
    assert field({}, "a", int, "here", default=None) is None
    with pytest.raises(ValueError, match="here: the field 'a' is missing"):
        field({}, "a", int, "here")
    with pytest.raises(ValueError, match="here holds a list; it must hold an object with the field 'a'"):
        field([], "a", int, "here")
    assert parse_json('{"a": [1, 2.5, null, "\\u00e9"]}', "here") == {"a": [1, 2.5, None, "é"]}


# Files


def test_writing_follows_no_link_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, path = tmp_path / "victim", tmp_path / "name.json"
    victim.write_text("precious")
    for name in ("name.json.new", ".name.json.tmp", ".name.json.new"):
        (tmp_path / name).symlink_to(victim)
    path.symlink_to(victim)
    write_atomically(path, b"new")
    assert victim.read_text() == "precious"
    assert (path.read_text(), path.is_symlink()) == ("new", False)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr("episodes.files.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"newer")
    assert (path.read_text(), sorted(os.listdir(tmp_path))) == ("new", before)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (open_regular, lambda path: read_bounded(path, 10), read_json):
        with pytest.raises(ValueError, match="no regular file"):
            read(tmp_path / "pipe")


# Archives


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 9)}"), "promises 72,000,000,000 bytes"),
        (npy("{'descr': '<U500000000', 'fortran_order': False, 'shape': (3,)}"), "cannot be read"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), "cannot be read"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"x" * 8), "run code"),
        (npy("{'descr': '<f8', 'shape': " + "9" * 5000 + "}"), "cannot be read"),
        (npy("[" * 500), "cannot be read"),
        (b"", "cannot be read"),
        (b"\x93NUMPY\x07\x00", "version .* is unknown"),
    ],
)
def test_archives_that_promise_too_much(tmp_path: Path, member: bytes, message: str) -> None:
    path = tmp_path / "bank.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", member)
        archive.writestr("y.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (0,)}"))
    for read in (read_archive, lambda path: load_dataset(f"arrays:{path}")):
        with pytest.raises(ValueError, match=f"'X' of .*bank.npz.*{message}"):
            read(path)


def test_an_archive_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000000,)}"))
        for _ in range(100):
            file.write(bytes(10**6))
    with pytest.raises(ValueError, match=r"the array 'a' takes 100,000,\d+ bytes, more than 200 times"):
        read_archive(path)


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)), "c": np.array(["x", "yé"]),
        "d": np.array(3), "e": np.zeros((0, 4), np.float16),
    }  # fmt: skip
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_archive(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


# Manifests


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "episodes.npz"
    save_episodes(EpisodeSampler(LABELS, way=3, shot=1, query=2, seed=0), path, labels=LABELS, episodes=5)
    return path


def parts(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


def refused(path: Path, **arrays: Any) -> str | None:
    np.savez(path, **arrays)
    try:
        ManifestSampler(path, LABELS).draw(0, 5)
    except ValueError as error:
        return str(error)
    return None


def test_every_field_of_a_manifest(manifest: Path) -> None:
    whole = parts(manifest)
    header = json.loads(whole["header"].tobytes())
    odd = [np.float64(1), np.array(["x"]), np.zeros((5, 0), int), np.full((5, 3), 10**12), np.full((5, 3), -7)]
    for name in whole:
        message = refused(manifest, **{key: value for key, value in whole.items() if key != name})
        assert message
        assert name in message
        for value in odd:
            message = refused(manifest, **{**whole, name: np.asarray(value)})
            assert message is None or "episodes.npz" in message
    for name in header:
        for value in (None, 3, "x", [], {}, -1, 10**30):
            if type(value) is type(header[name]):
                continue
            text = np.frombuffer(json.dumps({**header, name: value}).encode(), np.uint8)
            message = refused(manifest, **{**whole, "header": text})
            assert message
            assert name in message
            assert "episodes.npz" in message
    assert refused(manifest, **whole) is None
    assert "episodes" in str(refused(manifest, **whole, more=np.zeros(3))) or "no part of a manifest"
    assert refused(manifest, **{**whole, "query": whole["query"] + 24})


def test_flipped_bytes_of_a_manifest(manifest: Path) -> None:
    expected = ManifestSampler(manifest, LABELS).draw(0, 5)
    data = manifest.read_bytes()
    random = np.random.default_rng(0)
    for trial in range(150):
        changed = bytearray(data)
        if trial % 3:
            changed[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        else:
            del changed[int(random.integers(len(data))) :]
        manifest.write_bytes(changed)
        try:
            found = ManifestSampler(manifest, LABELS).draw(0, 5)
        except ValueError as error:
            assert "episodes.npz" in str(error)
        else:
            assert (found.support == expected.support).all()
            assert (found.query == expected.query).all()
            assert (found.targets == expected.targets).all()


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ManifestSampler(tmp_path / "none.npz", LABELS)
    buffer = io.BytesIO()
    np.save(buffer, np.eye(2))
    (tmp_path / "one.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="is no manifest of episodes"):
        ManifestSampler(tmp_path / "one.npz", LABELS)
