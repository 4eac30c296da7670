"""`LogMel`: equal to the formula written out slowly, and to librosa where that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from references.sounds import log_mel

from episodes import LogMel


def chirp(samples: int, rate: int, seed: int = 0) -> np.ndarray:
    time = np.arange(samples) / rate
    noise = np.random.default_rng(seed).standard_normal(samples)
    return np.sin(2 * np.pi * (200 + 900 * time) * time) * np.exp(-time) + 0.01 * noise


@pytest.mark.parametrize(("hop", "columns", "samples"), [(24, 5, 300), (16, 30, 257), (64, 9, 65)])
def test_it_is_the_formula(hop: int, columns: int, samples: int) -> None:
    signal = chirp(samples, 2000)
    made = LogMel(rate=2000, window=64, hop=hop, bands=8, columns=columns, span=60)(signal)
    np.testing.assert_allclose(made, log_mel(signal, 2000, 64, hop, 8, columns, 60), atol=1e-9)


def test_power_and_filters_are_those_of_librosa() -> None:
    librosa = pytest.importorskip("librosa", reason="compares with librosa, where that is installed")
    signal, mel = chirp(9000, 16000), LogMel()
    theirs = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, htk=True, norm=None, dtype=np.float64)
    np.testing.assert_allclose(mel.filters(), theirs, atol=1e-12)
    theirs = librosa.feature.melspectrogram(
        y=signal, sr=16000, n_fft=512, hop_length=160, n_mels=64, htk=True, norm=None, pad_mode="constant", center=True,
        dtype=np.float64,
    )  # fmt: skip
    np.testing.assert_allclose(mel.power(signal), theirs, rtol=1e-6, atol=1e-9 * theirs.max())


def test_loudness_does_not_count_and_long_recordings_are_transformed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    signal, mel = chirp(40000, 16000), LogMel(columns=None)
    whole = mel(signal)
    assert whole.shape == (64, 251) and whole.max() == 1 and whole.min() == 0
    np.testing.assert_allclose(mel(signal / 100), whole, atol=1e-9)
    monkeypatch.setattr("episodes.log_mel._FRAMES_AT_ONCE", 7)
    np.testing.assert_allclose(mel(signal), whole, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bands": 0}, "bands=0; it must be a whole number, at least 1"),
        ({"hop": 2.5}, "hop=2.5"),
        ({"window": 1}, "window=1; it must be a whole number, at least 2"),
        ({"columns": 0}, "columns=0"),
        ({"high": 9000.0}, r"high=9000.0; they must be 0 <= low < high <= rate / 2 = 8000 Hz"),
        ({"low": 8000}, "low=8000"),
        ({"span": 0.0}, "span=0.0"),
        ({"bands": 128, "window": 256}, "take fewer bands or a longer window"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LogMel(**settings)


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        (np.zeros(1000), "silent"),
        (np.full(1000, 0.5), "silent"),
        (np.ones(100), r"lasts 0.00625 s, less than one window of 0.032 s"),
        (np.r_[chirp(1000, 16000), np.nan], "NaN"),
        (np.zeros((2, 1000)), r"\[2, 1000\]"),
        (np.zeros(0), r"\[0\]"),
    ],
)
def test_signals_without_a_picture(signal: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LogMel()(signal)
