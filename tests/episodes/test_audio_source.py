"""`AudioSource`: recordings from files and memory, as pictures and as samples."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import AudioSource, LogMel, load_dataset
from episodes.any_source import as_source
from episodes.labelled_files import RECORDINGS, files_by_folder
from episodes.sounds import array_bytes, as_wave, fitted, resampled, samples_of

soundfile = pytest.importorskip("soundfile", reason="sound files are read by the extra 'audio'")


def tone(hertz: float, samples: int = 6000, rate: int = 8000) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two recordings: WAV of 16 bits and FLAC, of several lengths and rates."""
    place = tmp_path / "calls"
    for name, hertz in (("owl", 350), ("wren", 2500)):
        (place / name).mkdir(parents=True)
        soundfile.write(place / name / "a.wav", tone(hertz), 8000)
        stereo = np.stack([tone(hertz, 30000, 22050), np.zeros(30000)], axis=1)
        soundfile.write(place / name / "b.flac", stereo, 22050)
    return place


def test_a_folder_of_recordings(folder: Path) -> None:
    source = AudioSource.from_folder(folder, workers=2)
    assert source.class_names == ["owl", "wren"] and source.labels.tolist() == [0, 0, 1, 1]
    pictures = source[torch.tensor([[0, 3], [1, 1]])]
    assert pictures.shape == (2, 2, 3, 64, 64) and pictures.dtype == torch.float32
    assert torch.equal(pictures[1, 0], pictures[1, 1]) and pictures.amin() >= 0 and pictures.amax() == 1
    loudest = source[torch.arange(4)][:, 0].mean(2).argmax(1)  # the row, of which the highest frequency is the first
    assert loudest[:2].min() > loudest[2:].max() and (loudest[:2] - loudest[:2].flip(0)).abs().max() <= 1
    assert repr(source) == "AudioSource('calls', 4 recordings, 2 classes)"
    same = load_dataset(f"audio:{folder}(bands=32, columns=20, seconds=0.5)")
    assert same[[0]].shape == (1, 3, 32, 20) and len(same) == 4
    part = source.select([3])
    assert type(part) is AudioSource and torch.equal(part[0], source[3])


def test_a_table_of_recordings(folder: Path) -> None:
    table = folder.parent / "calls.csv"
    table.write_text("file,species\ncalls/owl/a.wav,owl\ncalls/wren/b.flac,wren\n")
    source = AudioSource.from_csv(table, path_column="file", label_column="species", mel=LogMel(columns=20))
    assert source.class_names == ["owl", "wren"] and source[[1]].shape == (1, 3, 64, 20)
    table.write_text("file,label\ncalls/owl/a.wav,owl\ncalls/wren/b.flac,wren\n")
    same = load_dataset(f"audio:{table}(columns=20)")
    assert repr(same) == "AudioSource('calls', 2 recordings, 2 classes)" and torch.equal(same[1], source[1])


def test_the_picture_is_that_of_the_formula(folder: Path) -> None:
    source = AudioSource.from_folder(folder, mel=LogMel(rate=8000, window=256, hop=80, bands=40))
    samples, rate = soundfile.read(folder / "owl" / "a.wav")
    assert rate == 8000
    levels = np.rint(LogMel(rate=8000, window=256, hop=80, bands=40)(samples) * 255)[::-1] / 255
    np.testing.assert_allclose(source[0].numpy(), np.broadcast_to(levels, (3, 40, 64)), atol=1e-6)


def test_files_and_arrays_of_the_same_samples_are_the_same(folder: Path, tmp_path: Path) -> None:
    exact = tone(500).astype(np.float32)
    soundfile.write(tmp_path / "float.wav", exact, 8000, subtype="FLOAT")
    whole = np.rint(exact * 32767).astype(np.int16)
    soundfile.write(tmp_path / "whole.flac", whole, 8000)
    items: list[Any] = [tmp_path / "float.wav", exact, torch.from_numpy(exact)[:, None], tmp_path / "whole.flac", whole]
    source = AudioSource(items, [0, 0, 0, 1, 1], rate=8000)
    pictures = source[torch.arange(5)]
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])
    assert torch.equal(pictures[3], pictures[4])
    assert source.read(1) == source.read(2) != source.read(0)


def test_channels_are_averaged_and_rates_are_brought_to_one() -> None:
    left, right = tone(300), tone(1200)
    one = AudioSource([np.stack([left, right], axis=1)], [0], rate=8000).waves(8000)
    np.testing.assert_allclose(as_wave(one.read(0)), (left + right) / 2, atol=1e-7)
    for rate in (44100, 22050, 8000):
        slow = tone(440, rate, rate)
        wave = as_wave(AudioSource([slow], [0], rate=rate).waves(16000).read(0))
        middle = slice(2000, 14000)  # the filter knows nothing beyond the ends
        assert len(wave) == 16000
        np.testing.assert_allclose(wave[middle], tone(440, 16000, 16000)[middle], atol=2e-3)
    above = resampled(tone(7000, 32000, 32000), 32000, 8000)  # beyond what 8 kHz can hold
    assert np.abs(above[500:-500]).max() < 0.02


def test_a_length_is_cut_from_the_middle_or_filled_with_zeros() -> None:
    np.testing.assert_array_equal(fitted(np.arange(7.0), 3), [2, 3, 4])
    np.testing.assert_array_equal(fitted(np.arange(1.0, 4), 8), [0, 0, 1, 2, 3, 0, 0, 0])
    long = np.concatenate([tone(200, 80000), tone(3000, 8000), tone(200, 80000)])
    short = AudioSource([long, tone(3000, 2000)], [0, 1], rate=8000, seconds=0.5)
    first, second = short[torch.tensor([0, 1])][:, 0]
    assert first.mean(1).argmax() == second[:, 32].argmax() and not second[:, :8].any()
    wave = as_wave(short.waves(16000).read(0))
    np.testing.assert_allclose(
        wave, as_wave(AudioSource([tone(3000, 4000)], [0], rate=8000).waves(16000).read(0)), atol=0.2
    )


def test_content_tells_whatever_a_picture_depends_on() -> None:
    wave = tone(500)
    sources = [
        AudioSource([wave], [0], rate=8000), AudioSource([wave], [0], rate=8001),
        AudioSource([wave * 0.5], [0], rate=8000), AudioSource([wave], [0], rate=8000, seconds=0.5),
        AudioSource([wave], [0], rate=8000, mel=LogMel(hop=80)), AudioSource([wave], [0], rate=8000, mel=LogMel(span=60)),
        AudioSource([wave], [0], rate=8000).waves(16000), AudioSource([wave], [0], rate=8000).waves(8000),
    ]  # fmt: skip
    assert len({source.read(0) for source in sources}) == len(sources)
    assert len({source.fingerprint() for source in sources}) == len(sources)
    assert AudioSource([wave.copy()], [0], rate=8000).fingerprint() == sources[0].fingerprint()


def test_a_changed_file_is_another(folder: Path) -> None:
    source = AudioSource.from_folder(folder)
    before = source.fingerprint()
    soundfile.write(folder / "owl" / "a.wav", tone(360), 8000)
    assert source.fingerprint() != before
    again = pickle.loads(pickle.dumps(source))  # a worker gets it so
    assert again.fingerprint() == source.fingerprint() and torch.equal(again[0], source[0])


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_damaged_files_are_named(folder: Path, ending: str) -> None:
    name = {"wav": "a.wav", "flac": "b.flac"}[ending]
    file = folder / "owl" / name
    content = file.read_bytes()
    row = 0 if ending == "wav" else 1
    for damaged, words in (
        (b"", "the file is empty"), (b"no sound", "no sound that can be read"),
        (content[: len(content) // 2], "cut off" if ending == "wav" else "no sound that can be read"),
    ):  # fmt: skip
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"recording '.*{name}' \(row {row} of 'calls'\): .*{words}"):
            AudioSource.from_folder(folder)[row]
    soundfile.write(file, np.zeros(8000), 8000)
    with pytest.raises(ValueError, match=rf"{name}.*it is silent"):
        AudioSource.from_folder(folder)[row]
    soundfile.write(file, tone(300, 100), 8000)
    with pytest.raises(ValueError, match=rf"{name}.*lasts 0.0125 s, less than one window of 0.032 s"):
        AudioSource.from_folder(folder)[row]
    soundfile.write(file, np.zeros(0), 8000)
    with pytest.raises(ValueError, match=rf"{name}.*(holds no samples|file is empty)"):
        AudioSource.from_folder(folder)[row]
    file.unlink()
    source = AudioSource([file], ["owl"])
    with pytest.raises(FileNotFoundError, match="No such file"):
        source[0]


@pytest.mark.parametrize(
    ("items", "options", "words"),
    [
        ([np.zeros(9)], {}, r"row 0 of 'recordings'\) is an array; say with rate="),
        ([np.zeros(9)], {"rate": 0}, "rate=0"),
        ([np.zeros(9)], {"rate": 8000, "seconds": 0}, "seconds=0; it must be above 0"),
    ],
)
def test_settings(items: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AudioSource(items, [0] * len(items), **options)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((2, 3, 4)), r"shape \[2, 3, 4\]"),
        (np.zeros((2, 900)), r"\[2, 900\], so 900 channels; give \[n, channels\], or its .T"),
        (np.zeros(9, np.uint8), "uint8; samples are floats"),
        (np.array(["a"]), "samples are floats"),
    ],
)
def test_arrays_that_are_no_samples(samples: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        array_bytes(samples, 8000)


def test_without_soundfile_arrays_work_and_files_say_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    assert AudioSource([tone(300)], [0], rate=8000)[0].shape == (3, 64, 64)
    with pytest.raises(ImportError, match=r'pip install "fewshot\[audio\]"'):
        AudioSource.from_folder(folder)[0]
    samples, rate = samples_of(array_bytes(np.array([0.5, -0.25]), 11025))
    assert rate == 11025 and samples.tolist() == [[0.5], [-0.25]]


def test_folders_say_which_kind_lies_there(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"is one of 4 recordings: give 'audio:.*calls' for those"):
        load_dataset(f"folder:{folder}")
    (folder / "loose.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'loose\.wav' and 0 more recordings lie in"):
        files_by_folder(folder, RECORDINGS)


class Pictures:
    """Stands for an encoder of images."""

    name = "pictures"

    def encodes(self, kind: str) -> bool:
        return kind == "images"


class Sounds(Pictures):
    """Stands for an encoder of sounds, of 4000 samples a second."""

    name, rate = "sounds", 4000

    def encodes(self, kind: str) -> bool:
        return kind == "sounds"


def test_lists_of_files_are_recordings_by_their_endings(folder: Path) -> None:
    files = sorted(folder.rglob("*.*"))
    source: Any = as_source([str(file) for file in files], Pictures(), labels=[0, 0, 1, 1])
    assert isinstance(source, AudioSource) and source.kind == "images"
    waves: Any = as_source(files, Sounds(), labels=[0, 0, 1, 1])
    assert waves.kind == "sounds" and len(as_wave(waves.read(0))) == 3000
    with pytest.raises(TypeError, match="embed them first"):
        waves[0]
    with pytest.raises(ValueError, match=r"row 0 of dataset, .*a.wav', is a recording, but row 1 is none"):
        as_source([files[0], "owl.jpg"], Pictures())
    with pytest.raises(ValueError, match="'tensors' holds images, but 'sounds' encodes sounds only"):
        as_source(torch.rand(4, 1, 8, 8), Sounds())
