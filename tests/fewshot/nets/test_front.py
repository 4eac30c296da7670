"""Networks in front of a learner: what they normalise by, and that the flag `transductive` tells the truth of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from episodes import Episode
from fewshot import load_learner
from fewshot.nets.front import NetFront
from fewshot.nets.mlp import MLP
from fewshot.testing import run_check
from fewshot.transforms import L2, Pipeline

# What holds whatever the weights are. The others are about learning, which random convolutions need not do.
STRUCTURE = [
    "shape_and_dtype", "episodes_are_independent", "class_order_does_not_matter", "support_order_does_not_matter",
    "query_order_does_not_matter", "inductive_flag_is_honest", "padding_is_ignored", "is_deterministic",
    "state_is_tensors",
]  # fmt: skip


class TaskMLP(NetFront):
    """A perceptron that normalises by the task, on features."""

    name = "task-mlp"
    inputs = "features"

    def __init__(self) -> None:
        super().__init__()
        self.item_shape = (16,)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net: nn.Module = MLP((16,), (24, 12), norm="task")


def chains() -> dict[str, Pipeline]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        specs = [f"conv4(channels=4, norm='{norm}') | prototypes" for norm in ("task", "batch", "group")]
        made = {spec: load_learner(spec) for spec in [*specs, "conv4(channels=4, norm='task') | l2 | ridge"]}
    for learner in ("prototypes", "nearest", "soft-kmeans(queries=False)"):
        made[f"l2 | task-mlp | {learner}"] = Pipeline([L2(), TaskMLP()], load_learner(learner))
    return made


@pytest.mark.parametrize("check", STRUCTURE)
@pytest.mark.parametrize("name", chains())
def test_a_query_depends_on_its_support_alone(name: str, check: str) -> None:
    assert run_check(check, chains()[name]) == "passed"


def episode(**changes: object) -> Episode:
    generator = torch.Generator().manual_seed(1)
    made = Episode(
        torch.randn(3, 8, 16, generator=generator), torch.arange(4).repeat(2).expand(3, 8),
        torch.randn(3, 5, 16, generator=generator), way=4, unlabelled=torch.randn(3, 6, 16, generator=generator),
    )  # fmt: skip
    return made.replace(**changes)


def test_statistics_are_those_of_the_real_support_rows() -> None:
    front, task = TaskMLP().double(), episode()
    support, labels = task.support.double(), task.labels.clone()
    labels[:, 6:] = -1
    task = task.replace(support=support, labels=labels, query=task.query.double(), unlabelled=None)
    state = front.adapt(task)
    plain = [part for part in front.net.layers if isinstance(part, nn.Linear)]
    for e in range(3):
        known, asked = support[e, :6], task.query[e]
        for layer in plain:
            known, asked = layer(known), layer(asked)
            mean, scale = known.mean(0), (known.var(0, unbiased=False) + 1e-5).sqrt()
            known, asked = (((rows - mean) / scale).relu() for rows in (known, asked))
        torch.testing.assert_close(front(task.query, state)[e], asked)
        torch.testing.assert_close(front(support, state)[e, :6], known)
        torch.testing.assert_close(front(support.clone(), state)[e, :6], known)  # by whatever way it comes


def test_unlabelled_rows_are_normalised_by_the_support_too() -> None:
    front, task = TaskMLP(), episode()
    more = task.unlabelled
    assert more is not None
    one_by_one = [front(row, front.adapt(task)) for row in more.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(one_by_one, 1), front(more, front.adapt(task)))


def test_without_support_there_is_nothing_to_normalise_by() -> None:
    chain = Pipeline([TaskMLP()], load_learner("prototypes"))
    none = episode(support=torch.zeros(3, 0, 16), labels=torch.zeros(3, 0, dtype=torch.long))
    with pytest.raises(ValueError, match=r"normalises by the support of each episode, but there is none \(shot = 0\)"):
        chain.adapt(none)


def test_statistics_of_the_batch_are_refused() -> None:
    front = TaskMLP()
    front.net = nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(ValueError, match="normalises by the other queries and episodes of a batch"):
        Pipeline([front], load_learner("prototypes"))(episode())


def test_weights_behind_the_norm_are_trained() -> None:
    chain, task = Pipeline([TaskMLP()], load_learner("prototypes")), episode()
    chain(task).logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in chain.parameters())


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("conv4", (64,), r"which are features, but conv4 learns from pictures .*\"mlp\(item_shape=\(64,\)\)\""),
        ("resnet12", (64,), "which are features, but resnet12 learns from pictures"),
        ("conv4", (3, 32, 32), r"made for items of \[1, 28, 28\]; write \"conv4\(item_shape=\(3, 32, 32\)\)\""),
        ("mlp", (64,), r"made for items of \[512\]; write \"mlp\(item_shape=\(64,\)\)\""),
        ("mlp", (3, 8, 8), r"which are pictures, but mlp learns from features .*\"conv4\(item_shape=\(3, 8, 8\)\)\""),
    ],
)
def test_rows_of_another_shape(spec: str, shape: tuple[int, ...], message: str) -> None:
    learner = load_learner(f"{spec} | prototypes")
    with pytest.raises(ValueError, match=message):
        learner(Episode(torch.zeros(1, 4, *shape), torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 2, *shape), way=2))
