"""ProtoNet and ridge evaluation end to end, sampling included, against peers and the floor, in one process.

    python benchmarks/end_to_end.py

All read the same feature bank (20 classes x 600 x 640, float32) on one thread: this library; easyfsl's episode
loop (its sampler does not run on current torch, so ours feeds it, at no cost to it); learn2learn's task sets;
scikit-learn, one fit per episode; and the floor: gathering the same rows with ``index_select(..., out=)``.
Rounds of all contenders alternate, the least processor time of each counts; what matters are the ratios.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from episodes import EpisodeSampler, TensorSource, evaluate

WAY, QUERY = 5, 15


def bank() -> TensorSource:
    """20 Gaussian classes, apart enough for about 60 % in 5-way 1-shot."""
    generator = torch.Generator().manual_seed(0)
    centres = 0.22 * torch.randn(20, 640, generator=generator)
    rows = centres.repeat_interleave(600, 0) + torch.randn(12_000, 640, generator=generator)
    return TensorSource(rows, torch.arange(20).repeat_interleave(600), name="bank")


def floor(source: TensorSource, sampler: EpisodeSampler, episodes: int) -> float:
    """Gather the rows of the episodes, 1,000 episodes to a reused buffer at a time."""
    rows = sampler.draw(0, episodes).rows
    parts = [part.reshape(-1) for part in rows.split(1000)]
    out = torch.empty(len(parts[0]), 640)
    begin = time.process_time()
    for part in parts:
        torch.index_select(source.features, 0, part, out=out[: len(part)])
    return (time.process_time() - begin) / episodes


def ours(learner: str) -> Callable[[TensorSource, EpisodeSampler, int], float]:
    """`evaluate`, drawing included."""

    def run(source: TensorSource, sampler: EpisodeSampler, episodes: int) -> float:
        begin = time.process_time()
        accuracies.setdefault(f"ours, {learner}", {})[sampler.shot] = evaluate(
            learner, source, sampler, episodes=episodes, progress=False
        )[learner].mean
        return (time.process_time() - begin) / episodes

    return run


def easyfsl(source: TensorSource, sampler: EpisodeSampler, episodes: int) -> float:
    """Its DataLoader, collate function and evaluation loop over a dataset of features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from easyfsl.methods import PrototypicalNetworks
        from easyfsl.samplers import TaskSampler
        from easyfsl.utils import evaluate as easyfsl_evaluate

    class Bank(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(source)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return source.features[index], int(source.labels[index])

    tasks = object.__new__(TaskSampler)  # its constructor calls torch's Sampler in a way that no longer exists
    labels = source.labels.tolist()
    tasks.n_way, tasks.n_shot, tasks.n_query, tasks.n_tasks = WAY, sampler.shot, QUERY, episodes
    tasks.items_per_label = {c: [i for i, y in enumerate(labels) if y == c] for c in set(labels)}
    loader = torch.utils.data.DataLoader(Bank(), batch_sampler=tasks, collate_fn=tasks.episodic_collate_fn)
    model = PrototypicalNetworks(torch.nn.Identity())
    random.seed(0)
    begin = time.process_time()
    accuracies.setdefault("easyfsl", {})[sampler.shot] = easyfsl_evaluate(model, loader, use_tqdm=False, device="cpu")
    return (time.process_time() - begin) / episodes


def learn2learn(source: TensorSource, sampler: EpisodeSampler, episodes: int, fused: bool = True) -> float:
    """Its task sets and prototypical classifier, with the fast fused transform or as in its tutorials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import learn2learn as l2l
        from learn2learn.data.transforms import (
            ConsecutiveLabels,
            FusedNWaysKShots,
            KShots,
            LoadData,
            NWays,
            RemapLabels,
        )
        from learn2learn.nn import PrototypicalClassifier

    global _meta
    if _meta is None:
        _meta = l2l.data.MetaDataset(torch.utils.data.TensorDataset(source.features, source.labels))
    size = sampler.shot + QUERY
    draw = [FusedNWaysKShots(_meta, n=WAY, k=size)] if fused else [NWays(_meta, WAY), KShots(_meta, size)]
    steps = [*draw, LoadData(_meta), RemapLabels(_meta), ConsecutiveLabels(_meta)]
    tasks = l2l.data.Taskset(_meta, task_transforms=steps, num_tasks=-1)
    right = 0.0
    begin = time.process_time()
    for _ in range(episodes):
        rows, labels = tasks.sample()
        (support, known), (query, targets) = l2l.data.partition_task(rows, labels, shots=sampler.shot)
        logits = PrototypicalClassifier(support, known)(query)
        right += (logits.argmax(1) == targets).float().mean().item()
    accuracies.setdefault("learn2learn" if fused else "learn2learn, tutorial", {})[sampler.shot] = right / episodes
    return (time.process_time() - begin) / episodes


def learn2learn_tutorial(source: TensorSource, sampler: EpisodeSampler, episodes: int) -> float:
    """The form of its tutorials: NWays, then KShots."""
    return learn2learn(source, sampler, episodes, fused=False)


def sklearn(kind: str) -> Callable[[TensorSource, EpisodeSampler, int], float]:
    """One fit per episode, as most people begin."""

    def run(source: TensorSource, sampler: EpisodeSampler, episodes: int) -> float:
        from sklearn.linear_model import RidgeClassifier
        from sklearn.neighbors import NearestCentroid

        rows, drawn, right = source.features.numpy(), sampler.draw(0, episodes), 0.0
        labels, targets = drawn.labels[0].numpy(), drawn.targets[0].numpy()
        begin = time.process_time()
        for e in range(episodes):
            model = NearestCentroid() if kind == "prototypes" else RidgeClassifier()
            model.fit(rows[drawn.support[e]], labels)
            right += (model.predict(rows[drawn.query[e]]) == targets).mean()
        accuracies.setdefault(f"scikit-learn, {kind}", {})[sampler.shot] = right / episodes
        return (time.process_time() - begin) / episodes

    return run


CONTENDERS: list[tuple[str, Callable[[TensorSource, EpisodeSampler, int], float], int]] = [
    ("floor", floor, 10_000),
    ("ours, prototypes", ours("prototypes"), 10_000),
    ("ours, ridge", ours("ridge(alpha=1.0)"), 5_000),
    ("easyfsl", easyfsl, 300),
    ("learn2learn", learn2learn, 300),
    ("learn2learn, tutorial", learn2learn_tutorial, 60),
    ("scikit-learn, prototypes", sklearn("prototypes"), 200),
    ("scikit-learn, ridge", sklearn("ridge"), 200),
]
accuracies: dict[str, dict[int, float]] = {}
_meta = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all contenders (default 5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # scikit-learn's centroids divide by zero at one shot
    source = bank()
    for shot in (1, 5):
        sampler = EpisodeSampler(source.labels, WAY, shot, QUERY, seed=0)
        best: dict[str, float] = {}
        for _ in range(options.rounds):
            for name, run, episodes in CONTENDERS:
                try:
                    best[name] = min(best.get(name, 9e9), run(source, sampler, episodes))
                except ImportError as error:
                    print(f"{name} left out: {error}")
        print(f"\n5-way {shot}-shot, {QUERY} queries per class, {torch.get_num_threads()} thread")
        print(f"{'':26}{'µs/episode':>12}{'x floor':>9}{'x ours':>9}{'accuracy':>10}")
        for name, seconds in best.items():
            reference = best["ours, ridge" if name.endswith("ridge") else "ours, prototypes"]
            found = accuracies.get(name, {}).get(shot)
            accuracy = "" if found is None else f"{100 * found:.1f}"
            print(
                f"{name:26}{1e6 * seconds:12.1f}{seconds / best['floor']:9.2f}{seconds / reference:9.1f}{accuracy:>10}"
            )


if __name__ == "__main__":
    np.random.seed(0)  # noqa: NPY002 (learn2learn draws from the global generators)
    main()
