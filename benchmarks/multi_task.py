"""One network for several tasks against one network for each: gains and losses on real data with few labels.

    python benchmarks/multi_task.py --data ../shared/data --out multi_task.jsonl    # all, resumed from --out
    python benchmarks/multi_task.py --data ../shared/data --out multi_task.jsonl --pairs reviews

For each draw: some labelled rows a class of each task, a network from random weights trained on each task by itself
(`fine_tune`, strategy ``scratch``) and one trained on all of them (`train_tasks`), and the accuracy of both on other
rows. Tasks of one size have as many of their own rows in an update, and as many updates, either way. Draws are paired:
intervals are of the difference over draws.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes import TensorSource
from episodes.statistics import mean_interval
from fewshot import fine_tune, train_tasks

Rows = tuple[Tensor, Tensor]
WEIGHTINGS = ["equal", "uncertainty", "gradnorm", "pcgrad"]
SAMPLINGS = ["uniform", "temperature(2)", "annealed", "proportional"]
PICTURES = "net:conv4(item_shape=(1, 28, 28), channels=16)"


def mnist(data: Path) -> Rows:
    """The 10,000 test digits as pictures ``[M, 1, 28, 28]``."""
    with gzip.open(data / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 1, 28, 28)
    with gzip.open(data / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(np.int64))


def usps(data: Path) -> Rows:
    """Digits of envelopes as pictures ``[M, 1, 16, 16]``."""
    with np.load(data / "transfer" / "usps" / "usps.npz") as file:
        return torch.from_numpy(file["X"])[:, None], torch.from_numpy(file["y"].astype(np.int64))


def spoken(data: Path) -> Rows:
    """Spoken digits as pictures of their spectra ``[M, 1, 40, 32]``."""
    with np.load(data / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        return torch.from_numpy(file["X"])[:, None], torch.from_numpy(file["y"].astype(np.int64))


def reviews(data: Path) -> dict[str, Rows]:
    """Sentiment in four domains: 100 directions of the words' counts, fitted to all training rows without labels."""
    from scipy.sparse import csr_matrix, vstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    tables, labels = {}, {}
    with np.load(data / "transfer" / "amazon_reviews" / "amazon_5000.npz") as file:
        for name in sorted({key.split("_")[0] for key in file.files}):
            values = [file[f"{name}_train_{part}"] for part in ("data", "indices", "indptr")]
            table = csr_matrix(tuple(values), shape=(len(values[2]) - 1, 5000), dtype=np.float64)
            tables[name] = normalize(table.log1p())
            labels[name] = torch.from_numpy(file[f"{name}_train_y"].astype(np.int64))
    map_ = TruncatedSVD(100, random_state=0).fit(vstack(list(tables.values())))
    return {
        name: (torch.from_numpy(10 * map_.transform(table)).float(), labels[name]) for name, table in tables.items()
    }


def office(data: Path) -> dict[str, Rows]:
    """Ten things in four domains, by features of MobileNetV2 at length one."""
    with np.load(data / "transfer" / "office_caltech10" / "mobilenetv2_1280.npz") as file:
        return {
            name: (
                5 * torch.nn.functional.normalize(torch.from_numpy(file[f"{name}_X"].astype(np.float32)), dim=1),
                torch.from_numpy(file[f"{name}_y"].astype(np.int64)),
            )
            for name in ("amazon", "caltech10", "dslr", "webcam")
        }


def garments(data: Path) -> Rows:
    """Ten garments by features of MobileNetV2 at length one."""
    with np.load(data / "mobilenet_features" / "clothing_testval.npz") as file:
        rows = torch.from_numpy(file["X"].astype(np.float32))
        return 5 * torch.nn.functional.normalize(rows, dim=1), torch.from_numpy(file["y"].astype(np.int64))


# Tasks, network, labelled rows a class (of the first task, if it has others), passes over them, and what is compared.
PAIRS: dict[str, tuple[Callable[[Path], dict[str, Rows]], str, tuple[int, int], int, list[str]]] = {
    "reviews": (reviews, "net:mlp(item_shape=(100,), widths=(32,))", (25, 25), 40, WEIGHTINGS),
    "reviews, many of books": (reviews, "net:mlp(item_shape=(100,), widths=(32,))", (300, 10), 20, SAMPLINGS),
    "office": (office, "net:mlp(item_shape=(1280,), widths=(64,))", (3, 3), 60, WEIGHTINGS),
    "things and garments": (
        lambda data: {"things": office(data)["caltech10"], "garments": garments(data)},
        "net:mlp(item_shape=(1280,), widths=(64,))", (5, 5), 60, WEIGHTINGS,
    ),
    "digits": (lambda data: {"mnist": mnist(data), "usps": usps(data)}, PICTURES, (10, 10), 40, WEIGHTINGS),
    "digits, written and spoken": (
        lambda data: {"mnist": mnist(data), "spoken": spoken(data)}, PICTURES, (10, 10), 40, WEIGHTINGS,
    ),
}  # fmt: skip


def split(rows: Rows, shot: int, draw: int, most: int = 1500) -> tuple[TensorSource, TensorSource]:
    """Some labelled rows a class, and others to be classified."""
    features, labels = rows
    random = np.random.default_rng(draw)
    order = random.permutation(len(labels))
    shuffled = labels.numpy()[order]
    train = np.concatenate([order[shuffled == label][:shot] for label in np.unique(shuffled)])
    test = np.setdiff1d(order, train)
    test = random.permutation(test)[:most]
    names = [str(label) for label in range(int(labels.max()) + 1)]
    return TensorSource(features[train], labels[train], names), TensorSource(features[test], labels[test], names)


def trial(
    tasks: dict[str, Rows], net: str, shots: tuple[int, int], epochs: int, draw: int, ways: list[str]
) -> dict[str, Any]:
    """Accuracy on each task, alone and together."""
    parts = {name: split(rows, shots[place > 0], draw) for place, (name, rows) in enumerate(tasks.items())}
    common: dict[str, Any] = {"epochs": epochs, "seed": draw, "cache": False, "progress": False}
    found: dict[str, Any] = {"alone": {}}
    for name, (train, test) in parts.items():
        alone = fine_tune(net, train, "scratch", batch_size=16, **common)
        found["alone"][name] = float((alone.logits(test, cache=False).argmax(1) == test.labels).double().mean())
    together = {name: train for name, (train, _) in parts.items()}
    for way in ways:
        rule = {"weighting" if way in WEIGHTINGS else "sampling": way}
        shared = train_tasks(net, together, "scratch", batch_size=16 * len(parts), **common, **rule)
        found[way] = {name: shared.accuracy(name, test, cache=False) for name, (_, test) in parts.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", type=Path, default=Path("multi_task.jsonl"), help="results, resumed from")
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {(line["pair"], line["draw"]): line["found"] for line in map(json.loads, lines)}
    for pair in options.pairs:
        load, net, shots, epochs, ways = PAIRS[pair]
        missing = [draw for draw in range(options.draws) if (pair, draw) not in done]
        tasks = load(options.data) if missing else {}
        for draw in missing:
            done[pair, draw] = trial(tasks, net, shots, epochs, draw, ways)
            with options.out.open("a") as file:
                file.write(json.dumps({"pair": pair, "draw": draw, "found": done[pair, draw]}) + "\n")
        found = [done[pair, draw] for draw in range(options.draws)]
        names = list(found[0]["alone"])
        rows = " and ".join(map(str, dict.fromkeys(shots)))
        print(f"\n{pair}: {rows} labelled rows a class, {options.draws} draws, points against each task alone")
        print(f"  {'':14s}" + "".join(f"{name:>16s}" for name in [*names, "mean of tasks"]))
        alone = np.array([[one["alone"][name] for name in names] for one in found])  # [draws, tasks]
        print(f"  {'alone':14s}" + "".join(f"{100 * value:16.1f}" for value in [*alone.mean(0), alone.mean()]))
        for way in ways:
            gain = np.array([[one[way][name] for name in names] for one in found]) - alone
            columns = [*gain.T, gain.mean(1)]
            shown = [f"{100 * column.mean():+.1f} ± {100 * mean_interval(column):.1f}" for column in columns]
            print(f"  {way:14s}" + "".join(f"{text:>16s}" for text in shown), flush=True)


if __name__ == "__main__":
    main()
