"""Checks of the logits: their shape and type, what is learned, and the edges of the contract."""

from __future__ import annotations

import copy

import torch

from fewshot.testing.trial import Skip, Trial


def shape_and_dtype(trial: Trial) -> None:
    """Logits are ``[E, Q, N]``, finite, in the precision of the rows."""
    for dtype in (torch.float32, torch.float64):
        episode, targets = trial.make(dtype=dtype)
        logits = copy.deepcopy(trial.learner).to(dtype)(episode)
        expected = [*targets.shape, episode.way]
        assert list(logits.shape) == expected, f"logits are {list(logits.shape)}, expected [E, Q, N] = {expected}"
        assert logits.dtype == dtype, f"{dtype} rows gave {logits.dtype} logits"
        assert logits.isfinite().all(), "logits are not finite"


def learns_separable_classes(trial: Trial) -> None:
    """More than 80 % right where classes lie far apart."""
    trial.demand_accuracy(trial.logits(), trial.targets, 0.8, "separable classes")


def zero_shot(trial: Trial) -> None:
    """Without support: text alone classifies; where text is not used, a `ValueError` names what is missing."""
    episode, targets = trial.make(shot=0)
    if "text" in trial.learner.needs:
        trial.demand_accuracy(trial.logits(episode), targets, 0.6, "text without support")
        return
    try:
        trial.logits(episode)
    except ValueError as error:
        assert "support" in str(error), f"the error does not name the support: {error}"
        return
    raise AssertionError("an episode without support and text is classified, expected a ValueError")


def missing_text_is_refused(trial: Trial) -> None:
    """A learner that needs text says so where there is none."""
    if "text" not in trial.learner.needs:
        raise Skip("needs no text")
    try:
        trial.logits(trial.episode.replace(text=None))
    except ValueError as error:
        assert "text" in str(error), f"the error does not name the text: {error}"
        return
    raise AssertionError("an episode without text is classified, expected a ValueError")


def one_shot(trial: Trial) -> None:
    """One row per class is enough."""
    episode, targets = trial.make(shot=1)
    trial.demand_accuracy(trial.logits(episode), targets, 0.6, "one shot of separable classes")


def unequal_shots(trial: Trial) -> None:
    """Shots may differ among classes and episodes; a padded batch gives what each episode gives alone."""
    episode, labels = trial.episode, trial.episode.labels.clone()
    for e in range(len(labels)):
        for n in range(trial.way):  # class n of episode e keeps 1, 2 or 3 rows
            labels[e, (labels[e] == n).nonzero()[1 + (e + n) % 3 :, 0]] = -1
    batch = trial.logits(episode.replace(labels=labels))
    trial.demand_accuracy(batch, trial.targets, 0.6, "1, 2 and 3 shots of separable classes")
    for e, alone in enumerate(episode.replace(labels=labels)):
        kept = alone.labels[0] >= 0
        alone = alone.replace(support=alone.support[:, kept], labels=alone.labels[:, kept])
        trial.same(trial.logits(alone), batch[e : e + 1], "an unpadded episode against a padded batch")


def one_query(trial: Trial) -> None:
    """A single query is enough."""
    logits = trial.logits(trial.episode.replace(query=trial.episode.query[:, :1]))
    expected = [len(trial.episode), 1, trial.way]
    assert list(logits.shape) == expected, f"logits of one query are {list(logits.shape)}, expected {expected}"
    assert logits.isfinite().all(), "logits of one query are not finite"


def absent_classes_are_never_chosen(trial: Trial) -> None:
    """A class with neither support nor text has logit ``-inf``; one with text stays possible."""
    episode, way = trial.episode, torch.arange(trial.way)
    # Episode 0 lacks class 0, episode 1 all classes but 1, episode 2 none.
    present = torch.stack([way != 0, way == 1, way >= 0])  # [E, N]
    labels = torch.where(present.gather(1, episode.labels), episode.labels, -1)
    logits = trial.logits(episode.replace(labels=labels))
    if episode.text is not None:
        assert logits.isfinite().all(), "a class with text but no support must stay possible"
        return
    present = present.unsqueeze(1).expand_as(logits)
    assert (logits[~present] == -torch.inf).all(), "the logit of a class without support must be -inf"
    assert logits[present].isfinite().all(), "the other classes' logits are not finite"


def episode_numbers_are_optional(trial: Trial) -> None:
    """``episode.ids`` may be None."""
    assert trial.logits(trial.episode.replace(ids=None)).isfinite().all(), "logits without ids are not finite"


def unlabelled_rows_are_accepted(trial: Trial) -> None:
    """Used or not, unlabelled rows give valid logits, and stay within their episode."""
    episode, targets = trial.make(unlabelled=6)
    logits = trial.logits(episode)
    trial.demand_accuracy(logits, targets, 0.6, "with unlabelled rows")
    one_by_one = torch.cat([trial.logits(alone) for alone in episode])
    trial.same(logits, one_by_one, "a batch with unlabelled rows against its episodes one by one")


def degenerate_rows_give_no_nan(trial: Trial) -> None:
    """Equal rows, zero rows, a constant feature, negative rows, queries of one class: all finite."""
    episode = trial.episode
    first, zeros = episode.support[:, :1], torch.zeros_like(episode.support)
    cases = {
        "all support rows equal": episode.replace(support=first.expand_as(episode.support).clone()),
        "zero rows": episode.replace(support=zeros, query=torch.zeros_like(episode.query)),
        "negative rows": episode.replace(support=-episode.support.abs(), query=-episode.query.abs()),
        "queries of one class": episode.replace(query=episode.query[:, :1].expand_as(episode.query).clone()),
        "duplicated rows": episode.replace(
            support=episode.support.repeat(1, 2, *[1] * len(trial.item_shape)), labels=episode.labels.repeat(1, 2)
        ),
        "one shot of zero rows": episode.replace(
            support=zeros[:, : trial.way], labels=torch.arange(trial.way).expand(len(episode), -1)
        ),
    }
    support, query = episode.support.clone(), episode.query.clone()
    support[..., 0] = query[..., 0] = 1.0
    cases["a constant feature"] = episode.replace(support=support, query=query)
    for name, case in cases.items():
        assert trial.logits(case).isfinite().all(), f"with {name}, logits are not finite"
