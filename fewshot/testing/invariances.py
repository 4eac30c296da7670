"""Checks of what must not matter: batch, order, padding, other queries, device."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.maths.held_out import without_rows
from fewshot.testing.trial import Skip, Trial

_ROWS = ("support", "query", "unlabelled")


def episodes_are_independent(trial: Trial) -> None:
    """A batch of episodes gives what its episodes give one by one."""
    one_by_one = torch.cat([trial.logits(episode) for episode in trial.episode])
    trial.same(trial.logits(), one_by_one, "a batch against its episodes one by one")


def class_order_does_not_matter(trial: Trial) -> None:
    """Renumbering the classes renumbers the logits."""
    order = torch.arange(trial.way).roll(1)  # new class n is old class order[n]
    episode = trial.episode
    renamed = episode.replace(
        labels=torch.argsort(order)[episode.labels],
        text=None if episode.text is None else episode.text[:, order],
    )
    trial.same(trial.logits(renamed), trial.logits()[..., order], "renumbered classes")


def support_order_does_not_matter(trial: Trial) -> None:
    """Support rows are a set."""
    episode = trial.episode
    order = _permutation(episode.labels.shape[1])
    shuffled = episode.replace(support=episode.support[:, order], labels=episode.labels[:, order])
    trial.same(trial.logits(shuffled), trial.logits(), "shuffled support")


def query_order_does_not_matter(trial: Trial) -> None:
    """Shuffling the queries shuffles the logits."""
    order = _permutation(trial.targets.shape[1])
    shuffled = trial.episode.replace(query=trial.episode.query[:, order])
    trial.same(trial.logits(shuffled), trial.logits()[:, order], "shuffled queries")


def inductive_flag_is_honest(trial: Trial) -> None:
    """Unless it is flagged transductive, a query's logits do not depend on the other queries."""
    if trial.learner.transductive:
        raise Skip("declared transductive")
    single = [trial.logits(trial.episode.replace(query=query)) for query in trial.episode.query.split(1, dim=1)]
    trial.same(torch.cat(single, 1), trial.logits(), "queries one at a time (transductive = False)")


def padding_is_ignored(trial: Trial) -> None:
    """Support rows labelled -1 change nothing, whatever they hold."""
    episode = trial.episode
    garbage = 1e3 * torch.randn(episode.support[:, :3].shape, generator=torch.Generator().manual_seed(0))
    padding = torch.full_like(episode.labels[:, :1], -1)
    padded = episode.replace(
        support=torch.cat([garbage[:, :1], episode.support, garbage[:, 1:]], 1),
        labels=torch.cat([padding, episode.labels, padding, padding], 1),
    )
    trial.same(trial.logits(padded), trial.logits(), "with padding rows")
    if episode.text is not None:
        nothing = episode.replace(support=garbage, labels=padding.expand(-1, 3))
        trial.same(trial.logits(nothing), trial.logits(trial.make(shot=0)[0].replace(query=episode.query)),
                  "only padding against no support")  # fmt: skip


def rows_can_be_left_out(trial: Trial) -> None:
    """`adapt_without` answers as a learner does that has adapted to the other rows."""
    episode = trial.episode[0]
    support, labels = episode.without_query(), episode.labels[0]
    first = torch.stack([(labels == number).nonzero()[0, 0] for number in labels.unique()])
    left = torch.zeros(2, len(labels), dtype=torch.bool)
    left[0, first] = True  # one row of every class
    left[1, (labels == labels[0]).nonzero().squeeze(1)[:2]] = True  # two of one class
    query = episode.query.expand(2, *episode.query.shape[1:])
    with torch.no_grad():
        found = trial.learner.predict(trial.learner.adapt_without(trial.learner.adapt(support), support, left), query)
        expected = trial.learner.predict(trial.learner.adapt(without_rows(support, left)), query)
    trial.same(found, expected, "without some rows")


def offset_does_not_matter(trial: Trial) -> None:
    """Where `invariant` says so: rows far from zero, as a sensor's, are classified like the same rows near it."""
    if "offset" not in trial.learner.invariant:
        raise Skip("predictions depend on the offset of the rows")
    columns = torch.zeros(trial.item_shape, dtype=torch.float64)
    columns.flatten()[0] = 101_325.0
    for what, offset in (("101,325 in one feature", columns), ("3,000 in all features", torch.full_like(columns, 3e3))):
        # Rounded far from zero and brought back exactly, so that both are the same rows.
        far = _rows(trial.make(dtype=torch.float64)[0], offset=offset, dtype=torch.float32)
        near = _rows(_rows(far, dtype=torch.float64), offset=-offset, dtype=torch.float32)
        found, expected = trial.logits(far), trial.logits(near)
        _demand_same_predictions(found, expected, f"with an offset of {what}")
        gap = (found.softmax(-1) - expected.softmax(-1)).abs().max().item()
        assert gap < 0.01, f"with an offset of {what}, probabilities differ by {gap:.3g}"


def scale_does_not_matter(trial: Trial) -> None:
    """Where `invariant` says so: a factor on all rows changes no prediction, not even where squares leave float32."""
    if "scale" not in trial.learner.invariant:
        raise Skip("predictions depend on the scale of the rows")
    expected = trial.logits()
    for power in (-100, -12, 12, 100):  # powers of two round nothing
        scaled = _rows(trial.episode, scale=2.0**power)
        _demand_same_predictions(trial.logits(scaled), expected, f"with all rows times 2^{power}")


def is_deterministic(trial: Trial) -> None:
    """Called twice, it gives the same logits."""
    first, second = trial.logits(), trial.logits()
    assert torch.equal(first, second), f"a second call differs by {(first - second).abs().max():.3g}"


def accelerator_equals_cpu(trial: Trial) -> None:
    """The same logits on a GPU, which stay there."""
    if not torch.cuda.is_available():
        raise Skip("no GPU here")
    episode, _ = trial.make(dtype=torch.float64)
    learner = copy.deepcopy(trial.learner).double()
    found = copy.deepcopy(learner).to("cuda")(episode.to("cuda"))
    assert found.device.type == "cuda", f"rows on the GPU gave logits on {found.device}"
    trial.same(found.cpu(), learner(episode), "on the GPU")


def _rows(
    episode: Episode, scale: float = 1.0, offset: Tensor | float = 0.0, dtype: torch.dtype | None = None
) -> Episode:
    """The episode with ``scale x + offset`` for support, query and unlabelled rows, in another precision."""
    dtype = dtype or episode.query.dtype
    rows = {name: scale * value + offset for name in _ROWS if (value := getattr(episode, name)) is not None}
    text = None if episode.text is None else episode.text.to(dtype)
    return episode.replace(**{name: value.to(dtype) for name, value in rows.items()}, text=text)


def _demand_same_predictions(found: Tensor, expected: Tensor, what: str) -> None:
    assert found.isfinite().all(), f"{what}: logits are not finite"
    same = (found.argmax(-1) == expected.argmax(-1)).float().mean().item()
    assert same == 1, f"{what}: {1 - same:.0%} of the predictions change"


def _permutation(count: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))
