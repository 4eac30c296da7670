"""Domain adapters on real shifts: gains and losses against the learner alone, and the target's own labels beside them.

    python benchmarks/domain_adaptation.py whole --data ../shared/data                        # all rows, as published
    python benchmarks/domain_adaptation.py draws --data ../shared/data --out adapters.jsonl   # paired tests over draws

Office-Caltech-10 (12 pairs; SURF word counts, and features of MobileNetV2), MNIST and USPS digits (256 pixels), Amazon
reviews (12 pairs; 100 directions of the word counts), photographs under a controlled shift (12 pairs). `whole` learns
from all source rows and classifies all target rows, which are also what the adapters see. `draws` uses episodes of few
source rows a class. No number is chosen by target labels: adapters have their defaults, and so has the learner; but
`--learner "logistic(C=0.01)"` sets logistic regression's, to compare with published figures.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes import CrossDomainSampler, Episode, TensorSource, compare, evaluate
from fewshot import load_learner

Domain = tuple[Tensor, Tensor]
ADAPTERS = [
    "domain-centre", "domain-standardise", "coral", "subspace-alignment", "kmm", "density-ratio", "kliep",
    "optimal-transport", "optimal-transport(group=0.1)", "pseudo-labels", "prototype-alignment", "l2 | tca", "l2 | jda",
]  # fmt: skip


def office_surf(data: Path) -> dict[str, Domain]:
    """SURF word counts: shares of words, then each domain at mean 0 and variance 1, as published."""
    from scipy.io import loadmat

    found = {}
    for name in ("amazon", "caltech10", "dslr", "webcam"):
        file = loadmat(data / "office_caltech10" / "surf" / f"{name}.mat")
        rows = file["fts"].astype(float)
        rows = rows / rows.sum(1, keepdims=True)
        scale = rows.std(0)
        rows = (rows - rows.mean(0)) / np.where(scale > 0, scale, 1)
        found[name] = torch.from_numpy(rows), torch.from_numpy(file["labels"].ravel().astype(np.int64) - 1)
    return found


def office_mobilenet(data: Path) -> dict[str, Domain]:
    """Features of MobileNetV2, rows of length one."""
    with np.load(data / "office_caltech10" / "mobilenetv2_1280.npz") as file:
        names = sorted(key[:-2] for key in file.files if key.endswith("_X"))
        return {
            name: (_unit(file[f"{name}_X"]), torch.from_numpy(file[f"{name}_y"].astype(np.int64))) for name in names
        }


def digits(data: Path) -> dict[str, Domain]:
    """MNIST and USPS at 16 x 16, rows of length one."""
    with np.load(data / "mnist_usps" / "mnist_usps_256.npz") as file:
        found = {}
        for name in ("mnist", "usps"):
            labels = file[next(key for key in file.files if key.startswith(name) and key != f"{name}_X")]
            found[name] = _unit(file[f"{name}_X"]), torch.from_numpy(labels.ravel().astype(np.int64) - 1)
        return found


def reviews(data: Path) -> dict[str, Domain]:
    """Amazon reviews: log(1 + count) at length one, in 100 directions of all domains' training rows together."""
    from scipy.sparse import csr_matrix, vstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    parts, labels = {}, {}
    with np.load(data / "amazon_reviews" / "amazon_5000.npz") as file:
        for name in sorted({key.split("_")[0] for key in file.files}):
            values = [file[f"{name}_train_{part}"] for part in ("data", "indices", "indptr")]
            table = csr_matrix(tuple(values), shape=(len(values[2]) - 1, 5000), dtype=np.float64)
            parts[name] = normalize(table.log1p())
            labels[name] = torch.from_numpy(file[f"{name}_train_y"].astype(np.int64))
    map_ = TruncatedSVD(100, random_state=0).fit(vstack(list(parts.values())))
    return {name: (torch.from_numpy(map_.transform(table)), labels[name]) for name, table in parts.items()}


def shifted_photographs(data: Path) -> dict[str, Domain]:
    """Photographs of 10 office things, others darkened, others blurred, others tinted; MobileNetV2, rows of length one.

    The three changes are known, and the same for every photograph: a third of the light with the noise of a sensor, a
    Gaussian blur of 1.5 % of the width, and a yellow lamp. No photograph is in two domains.
    """
    from four_cells import network
    from PIL import Image, ImageFilter

    from fewshot import embed

    files = sorted((data / "office_caltech10" / "images224" / "caltech10").glob("*/*.jpg"))
    names = sorted({file.parent.name for file in files})
    random = np.random.default_rng(0)
    groups = {name: [file for file in files if file.parent.name == name] for name in names}
    order = {name: random.permutation(len(group)) for name, group in groups.items()}

    def changed(file: Path, how: str) -> Image.Image:
        picture = Image.open(file).convert("RGB")
        if how == "blurred":
            return picture.filter(ImageFilter.GaussianBlur(0.015 * picture.width))
        pixels = np.asarray(picture, dtype=float)
        if how == "dark":
            pixels = pixels / 3 + random.normal(0, 8, pixels.shape)
        elif how == "tinted":
            pixels = pixels * [1.0, 0.75, 0.35]
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    found = {}
    for place, how in enumerate(("plain", "dark", "blurred", "tinted")):
        chosen = [(name, groups[name][i]) for name in names for i in order[name][place::4][:20]]
        pictures = [np.asarray(changed(file, how)) for _, file in chosen]
        rows = embed(pictures, network(data.parent, 224), cache=False, precision="float32", progress=False).features
        labels = torch.tensor([names.index(name) for name, _ in chosen])
        found[how] = _unit(rows.float().numpy()), labels
    return found


SETS = {
    "SURF": office_surf, "MobileNetV2": office_mobilenet, "digits": digits, "reviews": reviews,
    "shifted photographs": shifted_photographs,
}  # fmt: skip


def _unit(rows: np.ndarray) -> Tensor:
    table = torch.from_numpy(rows.astype(np.float64))
    return table / torch.linalg.vector_norm(table, dim=1, keepdim=True)


def pipeline(adapter: str, learner: str) -> str:
    """An adapter before a learner; TCA and JDA are published with rows of length one on both sides."""
    return f"{adapter} | l2 | {learner}" if adapter.startswith("l2 |") else f"{adapter} | {learner}"


def whole(sets: dict[str, dict[str, Domain]], learner: str, adapters: list[str]) -> None:
    """All rows of both domains: the mean over pairs, and in how many the adapter loses against nothing."""
    for title, domains in sets.items():
        pairs = list(itertools.permutations(domains, 2))
        print(f"\n{title}, {len(pairs)} pairs, {learner}")
        plain = np.zeros(len(pairs))
        for adapter in ["", *adapters]:
            if adapter in ("kmm", "density-ratio", "kliep") and not load_learner(learner).weighted:
                continue
            method = load_learner(pipeline(adapter, learner) if adapter else learner)
            started, scores = time.perf_counter(), []
            for source, target in pairs:
                (xs, ys), (xt, yt) = domains[source], domains[target]
                way = int(max(ys.max(), yt.max())) + 1
                with torch.no_grad():
                    logits = method(Episode(xs[None], ys[None], xt[None], way=way))[0]
                scores.append(100 * float((logits.argmax(-1) == yt).double().mean()))
            plain = np.array(scores) if not adapter else plain
            worse = int((np.array(scores) < plain).sum())
            seconds = (time.perf_counter() - started) / len(pairs)
            print(
                f"  {adapter or 'nothing':30s} {np.mean(scores):5.1f}  worse in {worse:2d} of {len(pairs)}"
                f"  {seconds:6.2f} s a pair",
                flush=True,
            )


def draws(sets: dict[str, dict[str, Domain]], learner: str, adapters: list[str], out: str, count: int) -> None:
    """Episodes of few source rows, and the target's own labels at as many shots: paired differences."""
    for title, domains in sets.items():
        gains: dict[str, list[Any]] = {adapter: [] for adapter in [*adapters, "target labels"]}
        for source, target in itertools.permutations(domains, 2):
            (xs, ys), (xt, yt) = domains[source], domains[target]
            name = f"{title} {source} to {target}"
            rows = TensorSource(torch.cat([xs, xt]).float(), torch.cat([ys, yt]), name=name)
            place = torch.cat([torch.zeros(len(ys), dtype=torch.long), torch.ones(len(yt), dtype=torch.long)])
            least = int(min(ys.bincount().min(), yt.bincount().min()))
            shot = min(20, least // 2)
            arguments: dict[str, Any] = {
                "way": rows.labels.max() + 1, "shot": shot, "query": min(20, least - shot), "name": name
            }  # fmt: skip
            arguments["way"] = int(arguments["way"])
            weighs = load_learner(learner).weighted
            usable = [a for a in adapters if weighs or a not in ("kmm", "density-ratio", "kliep")]
            methods = {"nothing": learner, **{adapter: pipeline(adapter, learner) for adapter in usable}}
            across = evaluate(
                methods, rows, CrossDomainSampler(rows.labels, place, **arguments), episodes=count, out=out,
                progress=False,
            )  # fmt: skip
            inside = evaluate(
                {"target labels": learner}, rows,
                CrossDomainSampler(rows.labels, place, support_domain=1, **arguments), episodes=count, out=out,
                progress=False,
            )  # fmt: skip
            for adapter in usable:
                gains[adapter].append(compare(across[adapter], across["nothing"]))
            print(
                f"{name:40s} nothing {100 * across['nothing'].mean:.1f}, "
                f"target labels {100 * inside['target labels'].mean:.1f}",
                flush=True,
            )
        print(f"\n{title}: points against {learner} alone, mean over pairs; pairs with p < .05 up and down")
        for adapter, found in gains.items():
            if found:
                points = [100 * one.difference for one in found]
                up = sum(one.p < 0.05 and one.difference > 0 for one in found)
                down = sum(one.p < 0.05 and one.difference < 0 for one in found)
                print(
                    f"  {adapter:30s} {np.mean(points):+5.1f}  ({min(points):+.1f} .. {max(points):+.1f})  {up} {down}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["whole", "draws"])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--learner", default="logistic")
    parser.add_argument("--adapters", nargs="+", default=ADAPTERS)
    parser.add_argument("--out", default="adapters.jsonl", help="results of `draws`, resumed from")
    parser.add_argument("--draws", type=int, default=50)
    options = parser.parse_args()
    sets = {name: SETS[name](options.data / "transfer") for name in options.sets}
    if options.protocol == "whole":
        whole(sets, options.learner, options.adapters)
    else:
        draws(sets, options.learner, options.adapters, options.out, options.draws)


if __name__ == "__main__":
    main()
