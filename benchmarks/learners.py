"""Every batched learner against the peer's loop over episodes, and against its arithmetic, on one thread.

    python benchmarks/learners.py

5-way, 1 and 5 shots, 15 queries per class, 640 features of a bank of 20 classes x 600. Two comparisons in the same run,
rounds alternating, medians of processor time. *Method*: the same gathered episodes are handed to both; the peer is
called once per episode, as its own evaluation does. *End to end*: `evaluate` here (drawing, gathering and scoring
included) against the peer with its collate function and loop. The floor is the products of matrices that the formula
cannot do without, at the rate this thread multiplies large ones.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from episodes import Episode, EpisodeSampler, TensorSource, evaluate
from fewshot import load_learner

WAY, QUERY, D = 5, 15, 640


@dataclass
class Contest:
    """One learner and the peer's method with the same hyper-parameters."""

    spec: str
    peer: str
    options: dict[str, Any]
    flops: Callable[[int, int], float]  # support rows, query rows -> products of an episode
    ours: int = 1000
    theirs: int = 60
    target: float = 0.0
    total: float = 0.0  # features of this sum instead of length one


def head(steps: int, transductive: bool) -> Callable[[int, int], float]:
    """Forward and backward of a linear head, each step; then the predictions."""
    return lambda s, q: steps * 4 * (s + q * transductive) * WAY * D + 2 * q * WAY * D


CONTESTS = [
    Contest("prototypes", "PrototypicalNetworks", {}, lambda s, q: 2 * (s + q) * WAY * D, 8000, 400, 10),
    Contest("prototypes(distance='cosine')", "SimpleShot", {}, lambda s, q: 2 * (s + q) * WAY * D, 8000, 400, 10),
    Contest("bd-cspn(sharpness=1.0, shift_logits=False)", "BDCSPN", {},
            lambda s, q: 2 * (s + 2 * q + s + q) * WAY * D, 4000, 300, 5),
    Contest("laplacian-shot(sharpness=1.0, neighbours=2, regularisation=0.7, rectify=True)",
            "LaplacianShot", {"knn": 3},
            lambda s, q: 2 * (s + q) * WAY * D + 2 * q * q * D + 20 * 2 * q * q * WAY, 2000, 150, 3),
    Contest("tim(steps=50, lr=1e-4, scale=10.0, cross_entropy=1.0, metric='cosine')", "TIM", {},
            head(50, True), 300, 12, 4),
    Contest("fine-tune(head='cosine', steps=50, lr=1e-4, optimizer='adam', weight_decay=0.0, scale=1.0)", "Finetune",
            {"fine_tuning_steps": 50}, head(50, False), 1000, 30, 10),
    Contest("transductive-finetune(steps=10, lr=5e-5, scale=1.0, entropy=1.0, metric='euclidean')",
            "TransductiveFinetuning", {"fine_tuning_steps": 10}, head(10, True), 1000, 60),
    *(Contest("pt-map(lr=0.2, normalise=False, tightness=None, means=0.0)", "PTMAP", {},
              lambda s, q: 2 * (s + q) ** 2 * D + 10 * 3 * 2 * q * WAY * (s + q), 60, 2, 20, total=total)
      for total in (1.0, 8.0, 12.0)),
]  # fmt: skip


def bank(total: float = 0.0) -> TensorSource:
    """20 classes of non-negative features, of length one, or for PT-MAP of a sum.

    The larger the sum, the longer the peer's Sinkhorn iterations take; where exp(-10 d²) leaves the range of its
    float32, it predicts one class.
    """
    generator = torch.Generator().manual_seed(0)
    centres = 0.22 * torch.randn(20, D, generator=generator)
    rows = (centres.repeat_interleave(600, 0) + torch.randn(12_000, D, generator=generator)).relu()
    rows = total * normalize(rows, p=1, dim=-1) if total else normalize(rows, dim=-1)
    return TensorSource(rows, torch.arange(20).repeat_interleave(600), name=f"bank {total}")


def timed(work: Callable[[], Any], episodes: int, least: float = 0.2) -> float:
    """Seconds per episode, over as many repetitions as fill the least time."""
    begin, repetitions = time.process_time(), 0
    while (spent := time.process_time() - begin) < least or not repetitions:
        work()
        repetitions += 1
    return spent / repetitions / episodes


def peer_predictions(contest: Contest, episode: Episode) -> Tensor:
    """Predictions of the peer, an episode at a time, as its `evaluate` does."""
    from easyfsl import methods

    predictions = []
    for e in range(len(episode)):
        classifier = getattr(methods, contest.peer)(nn.Identity(), **contest.options)
        classifier.process_support_set(episode.support[e], episode.labels[e])
        predictions.append(classifier(episode.query[e]).argmax(-1))
    return torch.stack(predictions)


def peer_end_to_end(contest: Contest, source: TensorSource, shot: int) -> None:
    """Its loader, collate function and evaluation; its sampler draws as it always did."""
    from easyfsl import methods
    from easyfsl.samplers import TaskSampler
    from easyfsl.utils import evaluate as peer_evaluate

    class Bank(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(source)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return source.features[index], int(source.labels[index])

    tasks = object.__new__(TaskSampler)  # its constructor calls torch's Sampler in a way that no longer exists
    tasks.n_way, tasks.n_shot, tasks.n_query, tasks.n_tasks = WAY, shot, QUERY, contest.theirs
    tasks.items_per_label = {c: list(range(600 * c, 600 * (c + 1))) for c in range(20)}
    loader = torch.utils.data.DataLoader(Bank(), batch_sampler=tasks, collate_fn=tasks.episodic_collate_fn)
    peer_evaluate(
        getattr(methods, contest.peer)(nn.Identity(), **contest.options), loader, use_tqdm=False, device="cpu"
    )


def rate() -> float:
    """Floating-point operations a second of a large product on this thread."""
    a, b = torch.randn(1500, 1500), torch.randn(1500, 1500)
    seconds = min(timed(lambda: a @ b, 1) for _ in range(3))
    return 2 * 1500**3 / seconds


def logistic(source: TensorSource, shot: int, rounds: int) -> tuple[float, float, float]:
    """Our regression and scikit-learn's loop to the same optimum: seconds of both, and how often they agree."""
    from sklearn.linear_model import LogisticRegression

    sampler = EpisodeSampler(source.labels, WAY, shot, QUERY, seed=0)
    drawn = sampler.draw(0, 400)
    episode, _ = drawn.episode(source)
    learner, ours, theirs, agree = load_learner("logistic(C=1.0)"), [], [], 0.0
    for _ in range(rounds):
        ours.append(timed(lambda: evaluate(learner, source, sampler, episodes=400, progress=False), 400))

        def loop() -> None:
            nonlocal agree
            found = []
            for e in range(40):
                model = LogisticRegression(C=learner.C, max_iter=1000, tol=1e-6)
                model.fit(episode.support[e].numpy(), episode.labels[e].numpy())
                found.append(torch.from_numpy(model.predict(episode.query[e].numpy())))
            agree = float((torch.stack(found) == learner(episode[:40]).argmax(-1)).float().mean())

        theirs.append(timed(loop, 40))
    return median(ours), median(theirs), agree


def measure(contest: Contest, shot: int, rounds: int, peak: float) -> str:
    """A row of the table."""
    source = bank(contest.total)
    sampler = EpisodeSampler(source.labels, WAY, shot, QUERY, seed=0)
    drawn, learner = sampler.draw(0, contest.ours), load_learner(contest.spec)

    def part(first: int, last: int) -> Episode:
        rows = slice(first, last)
        return drawn[rows].episode(source)[0]

    size = max(1, min(contest.ours, 8 * 2**20 // (4 * D * (WAY * shot + WAY * QUERY))))  # as `evaluate` does
    parts = [part(first, min(first + size, contest.ours)) for first in range(0, min(contest.ours, 4 * size), size)]
    held, few = sum(len(episode) for episode in parts), part(0, contest.theirs)

    def call() -> None:
        with torch.no_grad():
            for episode in parts:
                learner(episode)

    def whole() -> None:
        evaluate(learner, source, sampler, episodes=contest.ours, progress=False)

    times = []
    for _ in range(rounds):
        times.append([
            timed(call, held),
            timed(lambda: peer_predictions(contest, few), contest.theirs),
            timed(whole, contest.ours),
            timed(lambda: peer_end_to_end(contest, source, shot), contest.theirs),
        ])  # fmt: skip
    ours, peer, end, loop = (1e6 * median(column) for column in zip(*times, strict=True))
    with torch.no_grad():
        same = (learner(few).argmax(-1) == peer_predictions(contest, few)).float().mean()
    floor = 1e6 * contest.flops(WAY * shot, WAY * QUERY) / peak
    target = f"{contest.target:.0f}" if contest.target else ""
    name = f"`{contest.spec}`" + (f", features of sum {contest.total:.0f}" if contest.total else "")
    return (f"| {name} | {shot} | {floor:.1f} | {ours:.0f} | {peer:.0f} | {peer / ours:.1f} | {end:.0f} "
            f"| {loop:.0f} | {loop / end:.1f} | {target} | {100 * same:.1f} % |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="learners whose spec begins like this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)  # the peer's sampler draws from the global generator
    warnings.simplefilter("ignore")
    peak = rate()
    print(f"µs per episode; a large product runs at {peak / 1e9:.0f} GFLOP/s on this thread\n")
    print("| learner | shots | floor | ours | peer | ratio | ours, end to end | peer | ratio | target | agreement |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for contest in [contest for contest in CONTESTS if contest.spec.startswith(options.only)]:
        for shot in (1, 5):
            print(measure(contest, shot, options.rounds, peak), flush=True)
    for shot in (1, 5) if "logistic".startswith(options.only) else ():
        ours, theirs, agree = logistic(bank(), shot, options.rounds)
        print(f"| `logistic(C=1.0)`, scikit-learn | {shot} | | | | | {1e6 * ours:.0f} | {1e6 * theirs:.0f} "
              f"| {theirs / ours:.1f} | 20 | {100 * agree:.1f} % |")  # fmt: skip


if __name__ == "__main__":
    main()
