"""Encoders from unlabelled pictures: few-shot accuracy and clusters, gains and losses against pixels.

    python benchmarks/self_taught.py --data ../shared/data --out self_taught.jsonl    # all, resumed from --out

Three settings. *characters*: drawings of five alphabets of Omniglot without labels, tasks on the three others.
*digits*: envelopes (USPS) without labels, tasks on MNIST: another domain. *spoken*: spectra of four speakers without
labels, tasks on two others. The network is Conv-4 with 32 channels. 5-way tasks of 1 and 5 shots, class means on
features of length one, on the same episodes for all; then k-means into as many groups as there are classes. *with
labels* is the same network fine-tuned from random weights with the labels of the rows that the others see without.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from multi_task import mnist, usps

from episodes import EpisodeSampler, TensorSource, evaluate
from episodes.statistics import mean_interval
from fewshot import Encoder, cluster, embed, fine_tune, fit_pca, load_encoder, pretrain_unlabelled

NET = "net:conv4(item_shape=(1, 28, 28), channels=32)"
WAYS = ["pixels", "pca(64)", "untrained", "rotation", "simsiam", "barlow-twins", "with labels"]
LEARNER = "l2 | prototypes"


def characters(data: Path) -> tuple[TensorSource, TensorSource]:
    """Omniglot's small sets, white on black: alphabets 0 to 4, and 5 to 7."""
    with np.load(data / "omniglot" / "omniglot28.npz") as file:
        pixels, labels, alphabet = 255 - file["X"][:, None], file["y"], file["class_alphabet"][file["y"]]
    return _source(pixels, labels, alphabet < 5), _source(pixels, labels, alphabet >= 5)


def digits(data: Path) -> tuple[TensorSource, TensorSource]:
    """3,000 digits of envelopes; 3,000 of MNIST."""
    (envelopes, theirs), (pixels, labels) = usps(data), mnist(data)
    rest = np.arange(len(labels)) < 3000
    first = np.arange(len(theirs)) < 3000
    return _source(envelopes.numpy(), theirs.numpy(), first), _source(pixels.numpy(), labels.numpy(), rest)


def spoken(data: Path) -> tuple[TensorSource, TensorSource]:
    """Spectra of spoken digits: speakers 0 to 3, and 4 and 5."""
    with np.load(data / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        pixels, labels, speaker = file["X"][:, None], file["y"].astype(np.int64), file["speaker"]
    return _source(pixels, labels, speaker < 4), _source(pixels, labels, speaker >= 4)


def _source(pixels: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> TensorSource:
    names, numbers = np.unique(labels[chosen], return_inverse=True)
    return TensorSource(torch.from_numpy(pixels[chosen].copy()), torch.from_numpy(numbers), [str(n) for n in names])


SETS = {"characters": characters, "digits": digits, "spoken": spoken}


def encoder_of(way: str, rows: TensorSource, epochs: int, seed: int, augment: str | None) -> Encoder:
    """An encoder from rows whose labels only one way uses."""
    net = f"{NET[:-1]}, seed={seed})"
    if way == "pixels":
        return load_encoder("pixels(size=28, grey=True)")
    if way == "pca(64)":
        return fit_pca("pixels(size=28, grey=True)", rows, 64, cache=False, progress=False)
    if way == "untrained":
        return load_encoder(net)
    if way == "with labels":
        return fine_tune(net, rows, "scratch", epochs=epochs, batch_size=64, seed=seed, cache=False, progress=False)
    method = way.partition(",")[0]
    return pretrain_unlabelled(net, rows, method, epochs=epochs, seed=seed, augment=augment, progress=False)


def measured(
    way: str, parts: tuple[TensorSource, TensorSource], epochs: int, seed: int, episodes: int, augment: str | None
) -> Any:
    """Scores of episodes by shots, and of clusters."""
    rows, tasks = parts
    encoder = encoder_of(way, rows, epochs, seed, augment)
    features = embed(tasks, encoder, cache=False, storage="float32", progress=False)
    found: dict[str, Any] = {}
    for shot in (1, 5):
        sampler = EpisodeSampler(features.labels, 5, shot, 10, seed=0)
        result = evaluate({way: LEARNER}, features, sampler, episodes=episodes, progress=False)
        found[f"{shot} shot"] = [round(float(score), 4) for score in result[way].scores]
    groups = cluster("pixels", features, repeats=5, cache=False, progress=False)
    return {**found, "clusters": [groups.accuracy, groups.nmi, groups.ari]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", type=Path, default=Path("self_taught.jsonl"), help="results, resumed from")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--augment", help="other views of simsiam and barlow-twins, in rows of their own")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1, help="networks of each kind")
    parser.add_argument("--episodes", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {(line["set"], line["way"], line["seed"]): line["found"] for line in map(json.loads, lines)}
    for title in options.sets:
        parts = SETS[title](options.data)
        print(f"\n{title}: {len(parts[0])} rows without labels; {len(parts[1].class_names)} classes in the tasks")
        print(f"  {'':30s}{'1 shot':>22s}{'5 shots':>22s}   clusters: accuracy, NMI, ARI")
        for name in options.ways:
            viewed = options.augment and name in ("simsiam", "barlow-twins")
            way = f"{name}, {options.augment}" if viewed else name
            seeds = 1 if way in ("pixels", "pca(64)") else options.seeds
            for seed in range(seeds):
                if (title, way, seed) not in done:
                    done[title, way, seed] = measured(
                        way, parts, options.epochs, seed, options.episodes, options.augment
                    )
                    with options.out.open("a") as file:
                        line = {"set": title, "way": way, "seed": seed, "found": done[title, way, seed]}
                        file.write(json.dumps(line) + "\n")
            columns = ""
            for shot in ("1 shot", "5 shot"):
                own = np.mean([done[title, way, seed][shot] for seed in range(seeds)], 0)
                gain = own - np.array(done[title, "pixels", 0][shot]) if (title, "pixels", 0) in done else own * 0
                columns += f"{100 * own.mean():8.1f} ({100 * gain.mean():+.1f} ± {100 * mean_interval(gain):.1f})"
            clusters = np.mean([done[title, way, seed]["clusters"] for seed in range(seeds)], 0)
            print(f"  {way:30s}{columns}   {100 * clusters[0]:.1f}  {clusters[1]:.3f}  {clusters[2]:.3f}", flush=True)


if __name__ == "__main__":
    main()
