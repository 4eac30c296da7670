"""A folder of one's own photos: time and accuracy of `fit` and `predict`, and the estimate of `fit` against the truth.

    python benchmarks/own_photos.py --data ../shared/data

Ten classes of clothing photographs (test and validation folders together), MobileNetV2 with ImageNet weights. Each draw
takes 5 or 20 photos of each class, fits, predicts 300 of the others, and asks for conformal sets of 80, 90 and 95 %.
The commands `fewshot fit` and `fewshot predict` are timed once on an empty cache, then once more on the cache that they
filled.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from episodes.labelled_files import IMAGES, files_by_folder
from fewshot import FewShotClassifier, embed

NEW = 300
COVERAGES = (0.8, 0.9, 0.95)
Rows = tuple[np.ndarray, np.ndarray]


def photographs(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Files and class names of both parts."""
    files: list[Path] = []
    labels: list[str] = []
    for part in ("test", "validation"):
        found, numbers, classes = files_by_folder(folder / "clothing_small_224" / part, IMAGES)
        files += found
        labels += [classes[number] for number in numbers]
    return files, np.array(labels)


def draw(labels: np.ndarray, shots: int, seed: int) -> Rows:
    """Rows to fit (``shots`` of each class), and others to predict."""
    rng = np.random.default_rng([seed, shots])
    fitted = np.concatenate([
        rng.choice(np.flatnonzero(labels == name), shots, replace=False) for name in np.unique(labels)
    ])  # fmt: skip
    rest = np.setdiff1d(np.arange(len(labels)), fitted)
    return fitted, rng.choice(rest, min(NEW, len(rest)), replace=False)


def timed(*words: str, cache: Path) -> float:
    """Seconds of one command."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fewshot", *words, "--quiet", "--cache", str(cache)],
        check=True, stdout=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip
    return time.perf_counter() - begin


def commands(files: list[Path], labels: np.ndarray, encoder: str, shots: int) -> list[float]:
    """Seconds of `fit` and `predict`, without and with cached embeddings."""
    fitted, asked = draw(labels, shots, 0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for row in fitted:
            target = folder / "photos" / str(labels[row])
            target.mkdir(parents=True, exist_ok=True)
            os.symlink(files[row].resolve(), target / f"{row}{files[row].suffix}")
        (folder / "new").mkdir()
        for row in asked:
            os.symlink(files[row].resolve(), folder / "new" / f"{row}{files[row].suffix}")
        seconds = []
        for number in range(2):
            model = str(folder / f"model{number}")
            fit = ("fit", str(folder / "photos"), "--encoder", encoder, "--out", model)
            ask = ("predict", model, str(folder / "new"), "--csv", str(folder / f"answers{number}.csv"))
            seconds += [timed(*fit, cache=folder / "cache"), timed(*ask, cache=folder / "cache")]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--no-commands", action="store_true", help="leave out what is timed")
    options = parser.parse_args()
    files, labels = photographs(options.data)
    weights = options.data / "backbones" / "timm_mobilenetv2_100_same_imagenet_tf2.safetensors"
    encoder = f"timm:mobilenetv2_100@{weights.resolve()}(pad_type='same', mean=0.5, std=0.5)"
    for shots in () if options.no_commands else (5, 20):
        first = commands(files, labels, encoder, shots)
        print(
            f"10 x {shots}: fit {first[0]:.1f} s, predict {NEW} {first[1]:.1f} s; "
            f"embedded before: {first[2]:.1f} s, {first[3]:.1f} s",
            flush=True,
        )
    features = embed(files, encoder, progress=False).features.float().numpy()
    for shots in (5, 20):
        said, truth, inside, chance = [], [], [], []
        held: dict[float, list[float]] = {coverage: [] for coverage in COVERAGES}
        sizes: dict[float, list[float]] = {coverage: [] for coverage in COVERAGES}
        for seed in range(options.draws):
            fitted, asked = draw(labels, shots, seed)
            classifier = FewShotClassifier().fit(features[fitted], labels[fitted])
            estimate = classifier.estimate()
            right = float((classifier.predict(features[asked]) == labels[asked]).mean())
            low, high = estimate.interval
            said.append(estimate.accuracy)
            truth.append(right)
            inside.append(low <= right <= high)
            chance.append(float(classifier.predict_proba(features[asked]).max(1).mean()))
            own = np.searchsorted(classifier.classes_, labels[asked])
            for coverage in COVERAGES:
                sets = classifier.predict_set(features[asked], coverage)  # [n, N]
                held[coverage].append(float(sets[np.arange(len(asked)), own].mean()))
                sizes[coverage].append(float(sets.sum(1).mean()))
        off = 100 * (np.array(said) - np.array(truth))
        print(
            f"10 x {shots}, {options.draws} draws: accuracy {100 * np.mean(truth):.1f} "
            f"({100 * min(truth):.1f} to {100 * max(truth):.1f}), estimate {100 * np.mean(said):.1f}, "
            f"off by {off.mean():+.1f} on average and {np.abs(off).mean():.1f} in a draw, "
            f"interval holds the truth in {sum(inside)} of {len(inside)}, mean probability {100 * np.mean(chance):.1f}",
            flush=True,
        )
        for coverage in COVERAGES:
            shares = 100 * np.array(held[coverage])
            print(
                f"  sets of {100 * coverage:.0f} %: hold the truth in {shares.mean():.1f} ({shares.min():.1f} to "
                f"{shares.max():.1f}), {np.mean(sizes[coverage]):.2f} classes on average",
                flush=True,
            )


if __name__ == "__main__":
    main()
