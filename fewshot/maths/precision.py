"""The precision that learners compute in, and the rows that none can compute with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from episodes.episode import Episode, Rows
from episodes.source import as_float

if TYPE_CHECKING:
    from fewshot.learner import Learner

_FIELDS = ("support", "query", "text", "unlabelled")
# Lengths of all support rows together whose squares, and those of differences, stay far inside the range.
_RANGE = {torch.float32: (1e-12, 1e15), torch.float64: (1e-120, 1e120)}


def readable(episode: Rows, learner: Learner) -> Rows:
    """The episode (or its support alone) in the precision to compute in: float32 or float64.

    Half precision and integers become float32 (8-bit pixels 0..1), unless the learner itself is in half precision.
    Rows so small or so large that their squares leave float32 become float64 for learners that the scale does not
    matter to; the others, whose settings are in units of the features, refuse them. Values are read in host
    memory only, since reading them off an accelerator would stall it.

    Raises:
        ValueError: rows without features; a row that holds NaN or infinity; support rows out of range.
    """
    if 0 in episode.support.shape[2:]:
        raise ValueError(f"rows are {list(episode.support.shape[2:])}: there are no features; check what made them.")
    dtypes = {part.dtype for part in learner.parameters() if part.is_floating_point()}
    # Queries need not have been read in the precision of the support.
    rows = episode.query if isinstance(episode, Episode) else episode.support
    if rows.dtype not in (*_RANGE, *dtypes):
        episode = _converted(episode, as_float)
    if dtypes and rows.device.type == "cpu":  # a net may make finite logits of anything
        refuse_non_finite(episode.support, "support", episode.labels >= 0)
        if isinstance(episode, Episode):
            refuse_non_finite(episode.query, "query")
    support = episode.support.detach()
    if support.device.type != "cpu" or not support.numel() or support.dtype not in _RANGE:
        return episode
    low, high = _RANGE[support.dtype]
    # Reading every row costs as much as a cheap learner. One per episode shows whether the whole is out of range;
    # NaN in the others shows in the logits.
    length = torch.linalg.vector_norm(support[:, :1].flatten(1), dim=1)  # [E]
    if bool(((length > low) & (length < high)).all()):
        return episode
    episode = _without_bad_padding(episode)
    largest = episode.support.detach().abs().flatten(1).amax(1)  # [E]
    inside = (largest == 0) | ((largest > low) & (largest < high))
    if bool(inside.all()):
        return episode
    if support.dtype == torch.float64 or "scale" not in learner.invariant:
        e = int((~inside).nonzero()[0])
        raise ValueError(
            f"the largest number in the support of episode {e} is {largest[e]:.3g}, which {learner!r} cannot compute "
            f"with: its settings suit features between {low:.0e} and {high:.0e}. Scale the features, or put 'l2 |' "
            "in front."
        )
    return _in_double(episode)


def second_look(episode: Episode, learner: Learner) -> Episode | None:
    """What to compute again with where logits came out NaN or infinite; None where that is the learner's answer.

    Raises:
        ValueError: a row that holds NaN or infinity.
    """
    cleaned = _without_bad_padding(episode)
    for name in ("query", "text", "unlabelled"):
        if (rows := getattr(episode, name)) is not None:
            refuse_non_finite(rows, name)
    if episode.query.dtype != torch.float64 and "scale" in learner.invariant:
        return _in_double(cleaned)  # products may have left float32
    return None if bool(episode.support.isfinite().all()) else cleaned


def _in_double(episode: Rows) -> Rows:
    """The same rows in float64."""
    return _converted(episode, Tensor.double)


def refuse_non_finite(rows: Tensor, what: str, counted: Tensor | None = None) -> None:
    """Name the first row that holds NaN or infinity.

    Args:
        rows: ``[E, R, *x]``.
        what: what the message calls them.
        counted: rows that matter ``[E, R]``; all by default.

    Raises:
        ValueError: there is one.
    """
    bad = ~rows.detach().flatten(2).isfinite().all(-1)  # [E, R]
    bad = bad if counted is None else bad & counted
    if bad.any():
        e, r = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{what} row {r} of episode {e} contains NaN or infinity; drop or impute such rows, "
            "or check what produced them."
        )


def _without_bad_padding(episode: Rows) -> Rows:
    """Padding may hold anything: NaN there becomes zero."""
    known = episode.labels >= 0
    refuse_non_finite(episode.support, "support", known)
    mask = known.view(*known.shape, *[1] * (episode.support.ndim - 2))
    return episode.replace(support=torch.where(mask, episode.support, torch.zeros_like(episode.support)))


def _converted(episode: Rows, convert: Any) -> Rows:
    held = {name: getattr(episode, name, None) for name in _FIELDS}  # a support has no query
    return episode.replace(**{name: convert(rows) for name, rows in held.items() if rows is not None})
