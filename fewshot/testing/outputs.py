"""Checks of the logits: their shape and type, what is learned, and the edges of the contract."""

from __future__ import annotations

import copy

import torch

from fewshot.testing.exam import Exam, Skip


def shape_and_dtype(exam: Exam) -> None:
    """Logits are ``[E, Q, N]``, finite, in the precision of the rows."""
    for dtype in (torch.float32, torch.float64):
        episode, targets = exam.make(dtype=dtype)
        logits = copy.deepcopy(exam.learner).to(dtype)(episode)
        expected = [*targets.shape, episode.way]
        assert list(logits.shape) == expected, f"logits are {list(logits.shape)}, expected [E, Q, N] = {expected}"
        assert logits.dtype == dtype, f"{dtype} rows gave {logits.dtype} logits"
        assert logits.isfinite().all(), "logits are not finite"


def learns_separable_classes(exam: Exam) -> None:
    """More than 80 % right where classes lie far apart."""
    exam.demand_accuracy(exam.logits(), exam.targets, 0.8, "separable classes")


def zero_shot(exam: Exam) -> None:
    """Without support: text alone classifies; where text is not used, a `ValueError` names what is missing."""
    episode, targets = exam.make(shot=0)
    if "text" in exam.learner.needs:
        exam.demand_accuracy(exam.logits(episode), targets, 0.6, "text without support")
        return
    try:
        exam.logits(episode)
    except ValueError as error:
        assert "support" in str(error), f"the error does not name the support: {error}"
        return
    raise AssertionError("an episode without support and text is classified, expected a ValueError")


def missing_text_is_refused(exam: Exam) -> None:
    """A learner that needs text says so where there is none."""
    if "text" not in exam.learner.needs:
        raise Skip("needs no text")
    try:
        exam.logits(exam.episode.replace(text=None))
    except ValueError as error:
        assert "text" in str(error), f"the error does not name the text: {error}"
        return
    raise AssertionError("an episode without text is classified, expected a ValueError")


def one_shot(exam: Exam) -> None:
    """One row per class is enough."""
    episode, targets = exam.make(shot=1)
    exam.demand_accuracy(exam.logits(episode), targets, 0.6, "one shot of separable classes")


def unequal_shots(exam: Exam) -> None:
    """Shots may differ among classes and episodes; a padded batch gives what each episode gives alone."""
    episode, labels = exam.episode, exam.episode.labels.clone()
    for e in range(len(labels)):
        for n in range(exam.way):  # class n of episode e keeps 1, 2 or 3 rows
            labels[e, (labels[e] == n).nonzero()[1 + (e + n) % 3 :, 0]] = -1
    batch = exam.logits(episode.replace(labels=labels))
    exam.demand_accuracy(batch, exam.targets, 0.6, "1, 2 and 3 shots of separable classes")
    for e, alone in enumerate(episode.replace(labels=labels)):
        kept = alone.labels[0] >= 0
        alone = alone.replace(support=alone.support[:, kept], labels=alone.labels[:, kept])
        exam.same(exam.logits(alone), batch[e : e + 1], "an unpadded episode against a padded batch")


def one_query(exam: Exam) -> None:
    """A single query is enough."""
    logits = exam.logits(exam.episode.replace(query=exam.episode.query[:, :1]))
    expected = [len(exam.episode), 1, exam.way]
    assert list(logits.shape) == expected, f"logits of one query are {list(logits.shape)}, expected {expected}"
    assert logits.isfinite().all(), "logits of one query are not finite"


def absent_classes_are_never_chosen(exam: Exam) -> None:
    """A class with neither support nor text has logit ``-inf``; one with text stays possible."""
    episode, way = exam.episode, torch.arange(exam.way)
    # Episode 0 lacks class 0, episode 1 all classes but 1, episode 2 none.
    present = torch.stack([way != 0, way == 1, way >= 0])  # [E, N]
    labels = torch.where(present.gather(1, episode.labels), episode.labels, -1)
    logits = exam.logits(episode.replace(labels=labels))
    if episode.text is not None:
        assert logits.isfinite().all(), "a class with text but no support must stay possible"
        return
    present = present.unsqueeze(1).expand_as(logits)
    assert (logits[~present] == -torch.inf).all(), "the logit of a class without support must be -inf"
    assert logits[present].isfinite().all(), "the other classes' logits are not finite"


def episode_numbers_are_optional(exam: Exam) -> None:
    """``episode.ids`` may be None."""
    assert exam.logits(exam.episode.replace(ids=None)).isfinite().all(), "logits without ids are not finite"


def unlabelled_rows_are_accepted(exam: Exam) -> None:
    """Used or not, unlabelled rows give valid logits, and stay within their episode."""
    episode, targets = exam.make(unlabelled=6)
    logits = exam.logits(episode)
    exam.demand_accuracy(logits, targets, 0.6, "with unlabelled rows")
    one_by_one = torch.cat([exam.logits(alone) for alone in episode])
    exam.same(logits, one_by_one, "a batch with unlabelled rows against its episodes one by one")


def degenerate_rows_give_no_nan(exam: Exam) -> None:
    """Equal rows, zero rows, a constant feature, negative rows, queries of one class: all finite."""
    episode = exam.episode
    first, zeros = episode.support[:, :1], torch.zeros_like(episode.support)
    cases = {
        "all support rows equal": episode.replace(support=first.expand_as(episode.support).clone()),
        "zero rows": episode.replace(support=zeros, query=torch.zeros_like(episode.query)),
        "negative rows": episode.replace(support=-episode.support.abs(), query=-episode.query.abs()),
        "queries of one class": episode.replace(query=episode.query[:, :1].expand_as(episode.query).clone()),
        "duplicated rows": episode.replace(
            support=episode.support.repeat(1, 2, *[1] * len(exam.item_shape)), labels=episode.labels.repeat(1, 2)
        ),
        "one shot of zero rows": episode.replace(
            support=zeros[:, : exam.way], labels=torch.arange(exam.way).expand(len(episode), -1)
        ),
    }
    support, query = episode.support.clone(), episode.query.clone()
    support[..., 0] = query[..., 0] = 1.0
    cases["a constant feature"] = episode.replace(support=support, query=query)
    for name, case in cases.items():
        assert exam.logits(case).isfinite().all(), f"with {name}, logits are not finite"
