"""Seconds of the feature adapters on one pair of domains, beside skada and POT where these have the same method.

    pip install skada POT
    python benchmarks/domain_adaptation_speed.py --data ../shared/data

Office-Caltech-10, SURF word counts in float64. Each adapter maps (or weighs) all rows of both domains, with no learner
behind it; those that guess labels ask a nearest neighbour. Ours and theirs take turns, in one run; the median of
three. A peer's iterations end by its own rule, so where both iterate it is not the same work.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from domain_adaptation import office_surf
from torch import Tensor

from episodes import Episode
from fewshot import load_learner
from fewshot.adaptation.adapter import DomainAdapter
from fewshot.transforms import list_transforms, load_transform


def peers(width: float) -> dict[str, Callable[[], Any]]:
    """The same methods elsewhere; a new object each time."""
    import ot
    import skada

    return {
        "coral": lambda: skada.CORALAdapter(),
        "subspace-alignment": lambda: skada.SubspaceAlignmentAdapter(n_components=20),
        "tca": lambda: skada.TransferComponentAnalysisAdapter(kernel="linear", n_components=20, mu=1.0),
        "kmm": lambda: skada.KMMReweightAdapter(gamma=1 / width),
        "kliep": lambda: skada.KLIEPReweightAdapter(gamma=1 / width),
        "density-ratio": lambda: skada.DiscriminatorReweightAdapter(),
        "optimal-transport": lambda: ot.da.SinkhornTransport(reg_e=0.1, norm="median"),
        "optimal-transport(group=0.1)": lambda: ot.da.SinkhornLpl1Transport(reg_e=0.1, reg_cl=0.1, norm="median"),
    }


def ours(spec: str, episode: Episode) -> None:
    """Map or weigh one pair."""
    adapter, ask = load_transform(spec), load_learner("nearest")
    assert isinstance(adapter, DomainAdapter)
    with torch.no_grad():
        _, state = adapter.align(
            episode.without_query(), episode.query, lambda task, rows: ask.predict(ask.adapt(task), rows)
        )
        adapter(episode.query, state)


def theirs(adapter: Any, xs: np.ndarray, ys: np.ndarray, xt: np.ndarray) -> None:
    """The same through skada's or POT's interface."""
    if type(adapter).__module__.startswith("ot"):
        adapter.fit(Xs=xs, ys=ys, Xt=xt)
        adapter.transform(Xs=xs)
        return
    both, domain = np.concatenate([xs, xt]), np.repeat([1, -2], [len(xs), len(xt)])
    adapter.fit_transform(both, np.concatenate([ys, np.full(len(xt), -1)]), sample_domain=domain)


def seconds(work: Callable[[], None]) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--pair", nargs=2, default=["amazon", "webcam"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    domains = office_surf(options.data / "transfer")
    (xs, ys), (xt, _) = (domains[name] for name in options.pair)
    episode = Episode(xs[None], ys[None], xt[None], way=10)
    rows: tuple[Tensor, ...] = (xs, ys, xt)
    width = float(torch.cdist(xs, xt).square().median())
    known = peers(width)
    names = [name for name in list_transforms() if isinstance(load_transform(name), DomainAdapter)]
    sizes = f"{len(xs)} and {len(xt)} rows, {xs.shape[1]} features"
    print(f"{' to '.join(options.pair)}: {sizes}; median of {options.repeats}")
    for spec in [*names, "optimal-transport(group=0.1)"]:
        mine: list[float] = []
        other: list[float] = []
        for _ in range(options.repeats):
            mine.append(seconds(lambda spec=spec: ours(spec, episode)))  # type: ignore[misc]
            if spec in known:
                other.append(
                    seconds(lambda spec=spec: theirs(known[spec](), *(part.numpy() for part in rows)))  # type: ignore[misc]
                )
        own = statistics.median(mine)
        if other:
            peer = statistics.median(other)
            print(f"  {spec:30s} {own:8.3f} s   peer {peer:8.3f} s   {peer / own:6.1f} times", flush=True)
        else:
            print(f"  {spec:30s} {own:8.3f} s", flush=True)


if __name__ == "__main__":
    main()
