"""Does `advise` choose well, and do scores before training tell? Measured on rows that it never saw.

    python benchmarks/advisor.py --data ../shared/data --out advisor.jsonl --cells cells.jsonl  # regret
    python benchmarks/advisor.py --data ../shared/data --rank --shots 5 20 --draws 5            # correlations
    python benchmarks/advisor.py --data ../shared/data --negative                               # negative transfer

Regret: for each draw of the four cells (`four_cells.py`) the advisor is given the support only, with MobileNetV2 and
MobileNetV1 0.25 (pretrained), a Conv-4 (not pretrained) and pixels, and its choice is scored on the draw's 300 queries.
The regret of a cell is the accuracy of the one strategy of one encoder that is best in it, in the mean over its draws,
minus the mean accuracy of the choices. That of a draw is also printed: there the best of 300 queries is partly luck.
True accuracies of MobileNetV2 are read from the file of `four_cells.py` (--cells); frozen features of all encoders,
training of the Conv-4 from scratch, what was chosen and what --truth names are computed. The budget is of processor
time of one thread, so that other work on the machine does not decide. What is finished in --out is not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from four_cells import SIDE, digits, network, objects
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import EpisodeSampler, ImageSource, TensorSource
from episodes.episode import Episode
from fewshot import embed
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess
from fewshot.learners import load_learner
from fewshot.nets.conv4 import Conv4
from fewshot.transfer import (
    NegativeTransferWarning,
    advise,
    h_score,
    leep,
    left_out_mean,
    left_out_ridge,
    logme,
    nce,
    negative_transfer,
    neighbour_purity,
)
from fewshot.transfer.advising import STRATEGIES
from fewshot.transfer.candidate import Setting
from fewshot.transfer.candidates import HEAD, make_candidates
from fewshot.transfer.negative import baseline_of
from fewshot.transfer.source_head import source_posteriors
from fewshot.transfer.stage_features import stage_features

QUERY, ASKED = 30, 15  # scored rows of each class: of a choice, of a probe
EDGES = (0, 3, 7, 11, 23, 27)  # convolutions of MobileNetV1 between which its stages end
SETS = {"objects": objects, "spoken digits": digits}


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads, then ReLU6."""

    def forward(self, batch: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        size, kernel, stride = batch.shape[-1], self.kernel_size[0], self.stride[0]
        pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return super().forward(F.pad(batch, (pad // 2, pad - pad // 2) * 2)).clamp(0, 6)


def small_network(data: Path) -> Encoder:
    """MobileNetV1 0.25, pretrained on ImageNet, its batch norms folded into its convolutions."""
    with safe_open(data / "backbones" / "mobilenet_v1_0.25_128_imagenet.safetensors", "pt") as file:
        spec = [one for one in json.loads(file.metadata()["spec"]) if one["op"] == "conv"]
        names = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118
        order = sorted(names, key=lambda name: int(name[1:]))
        weights = [{part: file.get_tensor(f"{name}.{part}").float() for part in ("weight", "bias")} for name in order]
    layers = []
    for one, weight in zip(spec[:-1], weights[:-1], strict=True):
        layer = SameConv(one["cin"], one["cout"], one["k"], one["stride"], 0, groups=one["groups"])
        layer.load_state_dict(weight)
        layers.append(layer)
    blocks = [nn.Sequential(*layers[a:b]) for a, b in pairwise(EDGES)]
    half = (0.5, 0.5, 0.5)
    encoder = ModuleEncoder(
        nn.Sequential(*blocks).eval(), Preprocess(size=SIDE, resize=SIDE, mean=half, std=half), name="MobileNetV1 0.25"
    )
    head = nn.Linear(spec[-1]["cin"], spec[-1]["cout"])
    head.load_state_dict({"weight": weights[-1]["weight"].flatten(1), "bias": weights[-1]["bias"]})
    encoder.source_head = head
    return encoder


def conv4() -> Encoder:
    """A Conv-4 at 32 pixels whose weights are random: an architecture to train from scratch."""
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = Conv4((3, 32, 32))
    half = (0.5, 0.5, 0.5)
    encoder = ModuleEncoder(net.eval(), Preprocess(size=32, resize=32, mean=half, std=half), name="Conv-4")
    encoder.pretrained = False
    return encoder


def usps(data: Path) -> TensorSource:
    """Handwritten digits."""
    with np.load(data / "transfer" / "usps" / "usps.npz") as file:
        rows, labels = torch.from_numpy(file["X"]).float().unsqueeze(1), file["y"]
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:1500]
    rows = F.interpolate(rows[chosen], (SIDE, SIDE), mode="bilinear").expand(-1, 3, -1, -1)
    return TensorSource(rows.round().clamp(0, 255).to(torch.uint8).contiguous(), labels[chosen.numpy()], name="USPS")


def steel(data: Path) -> TensorSource:
    """Photographs of defects of steel."""
    pictures = ImageSource.from_folder(data / "neu_surface_defects_dev100" / "images", size=SIDE, name="steel")
    rows = (pictures[torch.arange(len(pictures))] * 255).round().to(torch.uint8)
    return TensorSource(rows, pictures.labels, pictures.class_names, name="steel defects")


# Regret


def known_truth(cells: Path | None, name: str, shot: int, draw: int) -> dict[str, float]:
    """Accuracies of MobileNetV2 and pixels in a draw, from the file of `four_cells.py`."""
    found: dict[str, float] = {}
    if cells is None or not cells.exists():
        return found
    for line in cells.read_text().splitlines():
        cell = json.loads(line)
        task = cell["recipe"].get("evaluation") or cell["recipe"]["exam"]  # as version 0.1 wrote it
        if task["dataset"]["name"] == name and task["shot"] == shot and cell["episodes"] > draw:
            own = "pixels(size=32), logistic" if cell["learner"] == "pixels" else f"MobileNetV2, {cell['learner']}"
            found[own] = cell["correct"][draw] / cell["query_count"]
    return found


def drawn_rows(images: TensorSource, shot: int, draw: int) -> tuple[Tensor, Tensor]:
    """Rows of the support and of the queries of a draw."""
    drawn = EpisodeSampler(images.labels, 10, shot, QUERY, seed=0, name=images.name).draw(draw, 1)
    return drawn.support[0], drawn.query[0]


def advised(options: argparse.Namespace, images: TensorSource, models: list[Encoder], shot: int, draw: int) -> dict:
    """What the advisor makes of a support."""
    began = time.perf_counter()
    folds = options.out.with_name(f"{options.out.stem}-folds.jsonl")
    advice = advise(images.select(drawn_rows(images, shot, draw)[0]), models, minutes=options.minutes, layers=False,
                    out=folds, progress=False, device="cpu")  # fmt: skip
    return {
        "set": images.name, "shot": shot, "draw": draw, "minutes": options.minutes,
        "seconds": round(time.perf_counter() - began, 1), "choice": advice.choice.name if advice.choice else "",
        "verdict": advice.verdict, "warning": advice.warning,
        "tried": {option.name: [option.accuracy, option.result.episodes, option.size] for option in advice.options
                  if option.result is not None},
    }  # fmt: skip


def true_accuracies(
    options: argparse.Namespace, images: TensorSource, models: list[Encoder], shot: int, draw: int, wanted: set[str]
) -> dict[str, float]:
    """Of what is wanted, on the queries of a draw."""
    support, asked = drawn_rows(images, shot, draw)
    rows = images.select(torch.cat([support, asked]))
    own, others = torch.arange(len(support)), torch.arange(len(support), len(rows))
    found: dict[str, float] = {}
    for one in make_candidates(models, STRATEGIES, baseline_of("auto", rows)):
        if one.name in wanted:
            right = one.answers(rows, own, others, Setting("cpu")) == rows.labels[others]
            found[one.name] = float(right.double().mean())
    return found


def regret(options: argparse.Namespace) -> None:
    """All draws, then the table."""
    # A budget of processor time: what else runs on this machine must not decide what is tried.
    setattr(time, "perf_counter", time.process_time)  # noqa: B010
    mobile = network(options.data)
    mobile.name = "MobileNetV2"
    models = [mobile, small_network(options.data), conv4()]
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []

    def keep(made: dict) -> None:
        done.append(made)
        with options.out.open("a") as file:
            file.write(json.dumps(made) + "\n")

    sets = [load(options.data) for name, load in SETS.items() if name in options.sets]
    for shot in options.shots:
        for draw in range(options.first, options.first + options.draws):
            for images in sets:
                place = images.name, shot, draw
                choices = [one for one in done if "choice" in one and (one["set"], one["shot"], one["draw"]) == place]
                if not choices:
                    keep(advised(options, images, models, shot, draw))
                    choices = done[-1:]
                known = truth_of(done, options.cells, *place)
                wanted = {choices[0]["choice"], *(f"{one.name}, logistic" for one in models), "Conv-4, scratch",
                          "pixels(size=32), logistic", *options.truth} - set(known)  # fmt: skip
                if wanted:
                    keep({"set": images.name, "shot": shot, "draw": draw,
                          "truth": true_accuracies(options, images, models, shot, draw, wanted)})  # fmt: skip
    show(done, options.cells)


def truth_of(done: list[dict[str, Any]], cells: Path | None, name: str, shot: int, draw: int) -> dict[str, float]:
    """All that is known of a draw."""
    found = known_truth(cells, name, shot, draw)
    for one in done:
        if "truth" in one and (one["set"], one["shot"], one["draw"]) == (name, shot, draw):
            found |= one["truth"]
    return found


def show(done: list[dict[str, Any]], cells: Path | None) -> None:
    """Each draw; then regret by cell, its mean and its worst."""
    places: dict[tuple[str, int], list[tuple[dict[str, float], str]]] = {}
    for one in sorted((one for one in done if "choice" in one), key=lambda one: (one["shot"], one["set"], one["draw"])):
        truth = truth_of(done, cells, one["set"], one["shot"], one["draw"])
        places.setdefault((one["set"], one["shot"]), []).append((truth, one["choice"]))
        best = max(truth, key=lambda name: truth[name])
        lost = 100 * (truth[best] - truth[one["choice"]])
        print(f"{one['set']}, {one['shot']} a class, draw {one['draw']}: {one['choice']} "
              f"{100 * truth[one['choice']]:.1f}; best of {len(truth)}: {best} {100 * truth[best]:.1f}; regret "
              f"{lost:.1f}; {one['verdict']}; {one['minutes']} min")  # fmt: skip
    print("\n| cell | draws | choices | accuracy | best strategy | regret | worst draw |\n" + "|---" * 7 + "|")
    worst = []
    for (name, shot), held in places.items():
        behind: dict[str, list[float]] = {}
        for truth, choice in held:
            for other, value in truth.items():
                behind.setdefault(other, []).append(value - truth[choice])
        best = max(behind, key=lambda other: np.mean(behind[other]))
        worst.append(100 * max(0.0, float(np.mean(behind[best]))))
        single = max(100 * (max(truth.values()) - truth[choice]) for truth, choice in held)
        chosen = ", ".join(f"{name} ({count})" for name, count in Counter(choice for _, choice in held).items())
        mean = 100 * np.mean([truth[choice] for truth, choice in held])
        print(f"| {name}, {shot} a class | {len(held)} | {chosen} | {mean:.1f} | {best} ({len(behind[best])} draws) | "
              f"{worst[-1]:.1f} | {single:.1f} |")  # fmt: skip
    print(f"\nregret over {len(worst)} cells: mean {np.mean(worst):.1f}, worst {max(worst):.1f}")


# Rank correlation


def representations(data: Path, images: TensorSource) -> dict[str, Tensor]:
    """Features by name: pixels, every stage of two pretrained networks, their outputs, and an untrained Conv-4."""
    from episodes.any_source import as_source

    found = {"pixels": embed(images, "pixels(size=32)", cache=False, storage="float32", progress=False).features}
    for name, model in {"V2": network(data), "V1": small_network(data), "Conv-4": conv4()}.items():
        found[name] = embed(images, model, cache=False, storage="float32", progress=False).features
        if name != "Conv-4":
            parts = list(stage_features(model, as_source(images, model)).items())[:-1]
            found |= {f"{name} {stage}": held for stage, held in parts}
    return found


def rank(options: argparse.Namespace) -> None:
    """Correlation of scores on the support with the accuracy of a probe on the queries, over representations."""
    from scipy.stats import kendalltau, spearmanr, weightedtau

    heads = {"V2": network(options.data), "V1": small_network(options.data)}
    pairs: dict[int, list[tuple[float, float, float]]] = {shot: [] for shot in options.shots}
    names = ("LogME", "H-score", "mean left out", "ridge left out", "purity")
    for whole in (objects(options.data), digits(options.data), usps(options.data), steel(options.data)):
        images = whole.select(_first_of_each(whole.labels, max(options.shots) + ASKED))
        features = representations(options.data, images)
        way = len(images.class_names)
        for shot in options.shots:
            sampler = EpisodeSampler(images.labels, way, shot, ASKED, seed=0, name=images.name)
            rows: dict[str, list[float]] = {name: [] for name in (*names, "probe")}
            for name, held in features.items():
                each = [_scored(held, sampler.draw(draw, 1), way) for draw in range(options.draws)]
                for key, value in zip((*names, "probe"), np.mean(each, 0), strict=True):
                    rows[key].append(float(value))
                if name in heads:
                    known = [_posterior_scores(heads[name], held, sampler.draw(draw, 1))
                             for draw in range(options.draws)]  # fmt: skip
                    pairs[shot].append((*np.mean(known, 0).tolist(), rows["probe"][-1]))
            print(f"\n{images.name}, {shot} a class: {len(features)} representations, {options.draws} draws; probe "
                  f"{100 * min(rows['probe']):.1f} to {100 * max(rows['probe']):.1f}")  # fmt: skip
            for name in names:
                tau, rho = kendalltau(rows[name], rows["probe"])[0], spearmanr(rows[name], rows["probe"])[0]
                print(f"  {name:<14} Kendall {tau:.2f}  weighted {weightedtau(rows[name], rows['probe'])[0]:.2f}  "
                      f"Spearman {rho:.2f}", flush=True)  # fmt: skip
    for shot, held in pairs.items():
        for place, name in enumerate(("LEEP", "NCE")):
            tau = kendalltau([pair[place] for pair in held], [pair[2] for pair in held])[0]
            print(f"{name}, {shot} a class, over {len(held)} pairs of a network and a set: Kendall {tau:.2f}")


def _first_of_each(labels: Tensor, count: int) -> Tensor:
    return torch.cat([(labels == c).nonzero().squeeze(1)[:count] for c in range(int(labels.max()) + 1)])


def _posterior_scores(encoder: Encoder, rows: Tensor, drawn: Any) -> tuple[float, float]:
    posteriors = source_posteriors(encoder, rows[drawn.support[0]])
    assert posteriors is not None
    return leep(posteriors, drawn.labels[0]), nce(posteriors.argmax(1), drawn.labels[0])


def _scored(rows: Tensor, drawn: Any, way: int) -> list[float]:
    support, labels, query = rows[drawn.support[0]], drawn.labels[0], rows[drawn.query[0]]
    spread = support.double().std(0, correction=0)
    scaled = (support.double() - support.double().mean(0)) / torch.where(spread > 1e-6 * spread.max(), spread, 1.0)
    episode = Episode(support[None].float(), labels[None], query[None].float(), way)
    right = load_learner(HEAD)(episode)[0].argmax(1) == drawn.targets[0]
    return [logme(scaled, labels), h_score(scaled, labels), left_out_mean(support, labels),
            left_out_ridge(scaled, labels), neighbour_purity(scaled, labels), float(right.double().mean())]  # fmt: skip


# Negative transfer


def negative(options: argparse.Namespace) -> None:
    """A case where ImageNet does harm, and one where it does not."""
    spoken = digits(options.data)
    with np.load(options.data / "transfer" / "spoken_digits" / "fsdd_logmel.npz") as file:
        spoken = spoken.select(torch.from_numpy(np.flatnonzero(file["take"] < 2)))
    folder = options.data / "transfer" / "office_caltech10" / "images224" / "dslr"
    office = ImageSource.from_folder(folder, size=SIDE, name="office things")
    warnings.simplefilter("ignore", NegativeTransferWarning)  # it is in what is printed
    mobile = network(options.data)
    mobile.name = "MobileNetV2"
    for rows in (spoken, office):
        found = negative_transfer(mobile, rows, rivals=[small_network(options.data)], scratch=options.scratch)
        print(f"{rows.name}, {len(rows)} rows of {len(rows.class_names)} classes: {found}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--out", type=Path, default=Path("advisor.jsonl"), help="file to add to and resume from")
    parser.add_argument("--cells", type=Path, help="file of four_cells.py; without it all is computed")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--shots", type=int, nargs="+", default=[5], help="rows of each class")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="which of the two")
    parser.add_argument("--truth", nargs="+", default=[], help="more options to compute, as 'MobileNetV1 0.25, full'")
    parser.add_argument("--minutes", type=float, default=5.0, help="budget of an advice, of processor time")
    parser.add_argument("--rank", action="store_true", help="rank correlations of the scores instead")
    parser.add_argument("--negative", action="store_true", help="two verdicts on negative transfer instead")
    parser.add_argument("--scratch", action="store_true", help="with --negative: also against the network from scratch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    (rank if options.rank else negative if options.negative else regret)(options)


if __name__ == "__main__":
    main()
