"""Networks that are adapted to another domain: alignment while training, source-free methods, gains and losses.

    python benchmarks/domain_adaptation_networks.py digits --data ../shared/data --out digits.jsonl
    python benchmarks/domain_adaptation_networks.py office --data ../shared/data --out office.jsonl
    python benchmarks/domain_adaptation_networks.py choose --data ../shared/data

`digits`: USPS (16 x 16, enlarged) and MNIST at 28 x 28, three blocks of convolution with batch norms, trained from
scratch on 2,000 labelled source rows; 2,000 unlabelled target rows; scored on 2,000 other target rows. `office`: a
perceptron with batch norms on MobileNetV2's features of Office-Caltech-10, 12 pairs; all rows of the target are seen
unlabelled, and scored, as published. Methods have their defaults, but `shot` makes as many passes as the network had
(15 in `office`). The rates are 1e-3 for all, not the 2e-3 of `scratch`: in a first run, USPS to MNIST with batches of
64, the losses of `dann` jumped at 2e-3, and its target accuracy, which was seen, fell to 40. "target labels" is the
same network trained on as many labelled rows of the target (in `office` on half of them, and scored on the others).
`choose`: what `choose_alignment`, which knows no target label, says of the digits. Results are kept line by line; the
same command goes on where it was, and prints the table.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from episodes import TensorSource
from episodes.intervals import mean_interval
from fewshot import fine_tune
from fewshot.adaptation import AdaptationWarning
from fewshot.encoders import ModuleEncoder
from fewshot.nets import make_net
from fewshot.transfer import adapt_to, choose_alignment

ALIGNMENTS = ["dann", "confusion", "deep-coral", "mmd"]
SOURCE_FREE = ["adabn", "tent", "shot"]
DIGITS: tuple[str, dict[str, Any]] = (
    "conv4(channels=24, blocks=3)", {"epochs": 6, "batch_size": 32, "lr": 1e-3, "head_lr": 1e-3}
)  # fmt: skip
Part = tuple[Tensor, Tensor]


def digit_parts(data: Path, rows: int, test: int) -> dict[str, dict[str, Part]]:
    """Training and test rows of both sets at 28 x 28, 0..1."""
    with np.load(data / "transfer" / "usps" / "usps.npz") as file:
        small = torch.from_numpy(file["X"]).float().unsqueeze(1) / 255
        usps, labels, cut = F.interpolate(small, size=28, mode="bilinear"), torch.from_numpy(file["y"]).long(), 7291
    images, answers = (
        np.frombuffer(gzip.decompress((data / "mnist" / f"t10k-{part}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for part, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    mnist = torch.from_numpy(images.copy()).view(-1, 1, 28, 28).float() / 255
    found = {}
    for name, x, y, first in (
        ("usps", usps, labels, cut),
        ("mnist", mnist, torch.from_numpy(answers.copy()).long(), 5000),
    ):
        order = torch.randperm(first, generator=torch.Generator().manual_seed(0))[:rows]
        found[name] = {"train": (x[order], y[order]), "test": (x[first : first + test], y[first : first + test])}
    return found


def office_parts(data: Path) -> dict[str, Part]:
    """MobileNetV2's features, rows of length one times the root of their width."""
    with np.load(data / "transfer" / "office_caltech10" / "mobilenetv2_1280.npz") as file:
        names = sorted(key[:-2] for key in file.files if key.endswith("_X"))
        return {name: (F.normalize(torch.from_numpy(file[f"{name}_X"].astype(np.float32))) * 1280**0.5,
                       torch.from_numpy(file[f"{name}_y"].astype(np.int64))) for name in names}  # fmt: skip


def network(spec: str, shape: tuple[int, ...]) -> ModuleEncoder:
    """An architecture; its weights are drawn by the strategy `scratch`."""
    return ModuleEncoder(make_net(spec, shape), name=spec)


def accuracy(tuned: Any, part: Part) -> float:
    """In percent."""
    source = TensorSource(part[0], part[1], [str(n) for n in range(10)])
    return 100 * float((tuned.logits(source, cache=False).argmax(1) == part[1]).double().mean())


class Runs:
    """Results in a file, one line for each pair, seed and method."""

    def __init__(self, path: str) -> None:
        self.path, self.found = Path(path), {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                one = json.loads(line)
                self.found[one["pair"], one["seed"], one["method"]] = one

    def add(self, pair: str, seed: int, method: str, **values: Any) -> None:
        """Keep one result."""
        one = {"pair": pair, "seed": seed, "method": method, **values}
        self.found[pair, seed, method] = one
        with self.path.open("a") as file:
            file.write(json.dumps(one) + "\n")
        print(f"{pair:24s} seed {seed} {method:14s} {values['score']:5.1f}  {values['seconds']:6.1f} s", flush=True)

    def table(self) -> None:
        """Print means, and paired differences to the source alone."""
        methods = list(dict.fromkeys(method for _, _, method in self.found))
        pairs = list(dict.fromkeys(pair for pair, _, _ in self.found))
        shown = {"mean": pairs} | ({pair: [pair] for pair in pairs} if len(pairs) < 4 else {})
        for title, chosen in shown.items():
            print(f"\n{title} over {len(chosen)} pair(s); points against source only, of each pair and seed")
            for method in methods:
                cells = [key for key in self.found if key[0] in chosen and key[2] == method]
                scores = np.array([self.found[key]["score"] for key in cells])
                gaps = scores - np.array([self.found[key[0], key[1], "source only"]["score"] for key in cells])
                half = mean_interval(gaps) if len(gaps) > 1 and gaps.any() else 0.0
                told = sum(bool(self.found[key].get("warned")) for key in cells)
                print(f"  {method:14s} {scores.mean():5.1f}   {gaps.mean():+5.1f} ± {half:4.1f}  "
                      f"({gaps.min():+.1f} .. {gaps.max():+.1f})  up {int((gaps > 0.5).sum())} down "
                      f"{int((gaps < -0.5).sum())} of {len(gaps)}  warned {told}")  # fmt: skip


def pair_of(
    runs: Runs, pair: str, seed: int, spec: str, train: Part, target: Tensor, test: Part, oracle: tuple[Part, Part],
    options: dict[str, Any], passes: int,
) -> None:  # fmt: skip
    """All methods on one pair and seed."""
    names = [str(n) for n in range(10)]
    source = TensorSource(*train, names)
    unlabelled = TensorSource(target, torch.zeros(len(target), dtype=torch.long))
    options = {"strategy": "scratch", "seed": seed, "cache": False, "progress": False, **options}
    started = time.perf_counter()
    plain = fine_tune(network(spec, train[0].shape[1:]), source, **options)
    if (pair, seed, "source only") not in runs.found:
        runs.add(pair, seed, "source only", score=accuracy(plain, test), seconds=time.perf_counter() - started)
    for method in [*ALIGNMENTS, *SOURCE_FREE, "target labels"]:
        if (pair, seed, method) in runs.found:
            continue
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AdaptationWarning)
            scored = test
            if method in ALIGNMENTS:
                tuned = fine_tune(
                    network(spec, train[0].shape[1:]), source, target=unlabelled, alignment=method, **options
                )
            elif method == "target labels":
                own, scored = oracle
                tuned = fine_tune(network(spec, train[0].shape[1:]), TensorSource(*own, names), **options)
            else:
                spelled = f"shot(epochs={passes})" if method == "shot" else method
                tuned = adapt_to(plain, unlabelled, spelled, seed=seed, progress=False)
        seconds = time.perf_counter() - started
        said = [str(one.message) for one in caught if issubclass(one.category, AdaptationWarning)]
        runs.add(pair, seed, method, score=accuracy(tuned, scored), seconds=seconds, warned=said,
                 loss=tuned.history[-1][-1]["loss"] if tuned.history else None)  # fmt: skip


def choices(parts: dict[str, dict[str, Part]]) -> None:
    """The scores of alignments by what is known without target labels."""
    spec, options = DIGITS
    for (a, b), score in itertools.product(itertools.permutations(parts, 2), ("importance", "information")):
        source = TensorSource(*parts[a]["train"], [str(n) for n in range(10)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdaptationWarning)
            choice = choose_alignment(network(spec, (1, 28, 28)), source, parts[b]["train"][0], score=score,
                                      strategy="scratch", cache=False, **options)  # fmt: skip
        print(f"{a} to {b}, {score}\n{choice}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["digits", "office", "choose"])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", default="networks.jsonl", help="results, resumed from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000, help="of digits: source rows, and unlabelled target rows")
    given = parser.parse_args()
    if given.protocol == "choose":
        choices(digit_parts(given.data, given.rows, 2000))
        return
    runs = Runs(given.out)
    if given.protocol == "digits":
        parts = digit_parts(given.data, given.rows, 2000)
        spec, options = DIGITS
        for seed, (a, b) in itertools.product(range(given.seeds), itertools.permutations(parts, 2)):
            pair_of(runs, f"{a} to {b}", seed, spec, parts[a]["train"], parts[b]["train"][0], parts[b]["test"],
                    (parts[b]["train"], parts[b]["test"]), options, 6)  # fmt: skip
    else:
        domains = office_parts(given.data)
        spec, options = (
            "mlp(widths=(256, 128), norm='batch')",
            {"epochs": 20, "batch_size": 32, "lr": 1e-3, "head_lr": 1e-3},
        )
        for seed, (a, b) in itertools.product(range(given.seeds), itertools.permutations(domains, 2)):
            x, y = domains[b]
            order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
            half = order[: len(y) // 2], order[len(y) // 2 :]
            pair_of(runs, f"{a} to {b}", seed, spec, domains[a], x, (x, y),
                    ((x[half[0]], y[half[0]]), (x[half[1]], y[half[1]])), options, 15)  # fmt: skip
    runs.table()


if __name__ == "__main__":
    main()
