"""Checks of what must not matter: batch, order, padding, other queries, device."""

from __future__ import annotations

import copy

import torch

from fewshot.testing.exam import Exam, Skip


def episodes_are_independent(exam: Exam) -> None:
    """A batch of episodes gives what its episodes give one by one."""
    one_by_one = torch.cat([exam.logits(episode) for episode in exam.episode])
    exam.same(exam.logits(), one_by_one, "a batch against its episodes one by one")


def class_order_does_not_matter(exam: Exam) -> None:
    """Renumbering the classes renumbers the logits."""
    order = torch.arange(exam.way).roll(1)  # new class n is old class order[n]
    episode = exam.episode
    renamed = episode.replace(
        labels=torch.argsort(order)[episode.labels],
        text=None if episode.text is None else episode.text[:, order],
    )
    exam.same(exam.logits(renamed), exam.logits()[..., order], "renumbered classes")


def support_order_does_not_matter(exam: Exam) -> None:
    """Support rows are a set."""
    episode = exam.episode
    order = _permutation(episode.labels.shape[1])
    shuffled = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
    exam.same(exam.logits(shuffled), exam.logits(), "shuffled support")


def query_order_does_not_matter(exam: Exam) -> None:
    """Shuffling the queries shuffles the logits."""
    order = _permutation(exam.targets.shape[1])
    shuffled = exam.episode.replace(query=exam.episode.query[:, order])
    exam.same(exam.logits(shuffled), exam.logits()[:, order], "shuffled queries")


def inductive_flag_is_honest(exam: Exam) -> None:
    """Unless it is flagged transductive, a query's logits do not depend on the other queries."""
    if exam.learner.transductive:
        raise Skip("declared transductive")
    single = [exam.logits(exam.episode.replace(query=query)) for query in exam.episode.query.split(1, dim=1)]
    exam.same(torch.cat(single, 1), exam.logits(), "queries one at a time (transductive = False)")


def padding_is_ignored(exam: Exam) -> None:
    """Support rows labelled -1 change nothing, whatever they hold."""
    episode = exam.episode
    garbage = 1e3 * torch.randn(episode.support[:, :3].shape, generator=torch.Generator().manual_seed(0))
    mark = torch.full_like(episode.labels[:, :1], -1)
    padded = episode.replace(
        support=torch.cat([garbage[:, :1], episode.support, garbage[:, 1:]], 1),
        labels=torch.cat([mark, episode.labels, mark, mark], 1),
    )
    exam.same(exam.logits(padded), exam.logits(), "with padding rows")
    if episode.text is not None:
        nothing = episode.replace(support=garbage, labels=mark.expand(-1, 3))
        exam.same(exam.logits(nothing), exam.logits(exam.make(shot=0)[0].replace(query=episode.query)),
                  "only padding against no support")  # fmt: skip


def is_deterministic(exam: Exam) -> None:
    """Asked twice, it answers the same."""
    first, second = exam.logits(), exam.logits()
    assert torch.equal(first, second), f"a second call differs by {(first - second).abs().max():.3g}"


def accelerator_equals_cpu(exam: Exam) -> None:
    """The same logits on a GPU, which stay there."""
    if not torch.cuda.is_available():
        raise Skip("no GPU here")
    episode, _ = exam.make(dtype=torch.float64)
    learner = copy.deepcopy(exam.learner).double()
    found = copy.deepcopy(learner).to("cuda")(episode.to("cuda"))
    assert found.device.type == "cuda", f"rows on the GPU gave logits on {found.device}"
    exam.same(found.cpu(), learner(episode), "on the GPU")


def _permutation(count: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))
