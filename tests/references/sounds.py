"""Log-mel pictures written out slowly: one frame, one frequency, one band at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def to_hertz(mel: float) -> float:
    return 700 * (10 ** (mel / 2595) - 1)


def log_mel(signal: Any, rate: int, window: int, hop: int, bands: int, columns: int, span: float) -> np.ndarray:
    """``[bands, columns]`` with values in 0..1."""
    step = to_mel(rate / 2) / (bands + 1)
    power = []
    for centre in range(0, len(signal) + 1, hop):
        spectrum = []
        for place in range(window // 2 + 1):
            total = 0j
            for n in range(window):
                at = centre - window // 2 + n
                value = signal[at] if 0 <= at < len(signal) else 0.0
                weight = math.sin(math.pi * n / window) ** 2
                total += value * weight * np.exp(-2j * math.pi * place * n / window)
            spectrum.append(abs(total) ** 2)
        frame = []
        for band in range(bands):
            low, middle, high = (to_hertz(step * (band + offset)) for offset in range(3))
            energy = 0.0
            for place, value in enumerate(spectrum):
                hertz = place * rate / window
                if low < hertz <= middle:
                    energy += value * (hertz - low) / (middle - low)
                elif middle < hertz < high:
                    energy += value * (high - hertz) / (high - middle)
            frame.append(energy)
        power.append(frame)
    loudest = max(map(max, power))
    values = [[max(0.0, 1 + 10 * math.log10(max(x, 1e-300) / loudest) / span) for x in frame] for frame in power]
    pictures = []
    for column in range(columns):
        first, last = math.floor(column * len(values) / columns), math.ceil((column + 1) * len(values) / columns)
        pictures.append(np.mean(values[first:last], axis=0))
    return np.array(pictures).T
