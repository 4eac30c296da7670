"""Settings: what a method may see, by name. Each method has one, and `evaluate` shows it no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from episodes.episode import Episode


@dataclass(frozen=True)
class Setting:
    """What a method may see beside the row that it answers. The labels of that row, the target's, none may see.

    Attributes:
        name: of the setting.
        labels: labelled rows to learn from: the support of an episode, or a source.
        unlabelled: further rows of unknown class, of the domain that is asked about.
        queries: the other rows that are asked about, together.
        meaning: in a sentence.
    """

    name: str
    labels: bool
    unlabelled: bool
    queries: bool
    meaning: str


SETTINGS = {
    one.name: one
    for one in (
        Setting("inductive", True, False, False, "learns from labelled rows; each row is answered by itself"),
        Setting("semi-supervised", True, True, False, "also from unlabelled rows; each row is answered by itself"),
        Setting("transductive", True, True, True, "answers all rows of an episode together"),
        Setting("domain-adaptation", True, True, True, "learns from labels of a source, and unlabelled target rows"),
        Setting("source-free", False, True, True, "a trained network and unlabelled target rows; no source row"),
        Setting("multi-task", True, False, False, "learns from labelled rows of several tasks at once"),
        Setting("self-taught", False, True, False, "learns a representation from unlabelled rows of any classes"),
        Setting("unsupervised", False, True, True, "finds groups in unlabelled rows"),
    )
}


def setting_of(method: Any) -> str | None:
    """The name of a method's setting; None for one that says nothing of it, such as a plain function.

    A method says so by an attribute ``setting``, or by ``transductive`` and ``needs``, as `fewshot.Learner` has them.

    Raises:
        ValueError: the setting is unknown, or what the method says of itself contradicts it.
    """
    declared = getattr(method, "setting", None)
    if isinstance(declared, str):
        if declared not in SETTINGS:
            raise ValueError(f"setting={declared!r} of {method!r}; it must be one of {', '.join(SETTINGS)}.")
        setting = SETTINGS[declared]
        if getattr(method, "transductive", False) is True and not setting.queries:
            raise ValueError(
                f"{method!r} is transductive, but its setting is {declared!r}, which sees each query alone."
            )
        if "unlabelled" in _needs(method) and not setting.unlabelled:
            raise ValueError(f"{method!r} needs unlabelled rows, but its setting is {declared!r}, which sees none.")
        return declared
    if not isinstance(getattr(method, "transductive", None), bool):
        return None
    return derived_setting(method.transductive, _needs(method))


def derived_setting(transductive: bool, needs: tuple[str, ...]) -> str:
    """The setting of a learner that sees labelled rows."""
    if transductive:
        return "transductive"
    return "semi-supervised" if "unlabelled" in needs else "inductive"


def allowed(episode: Episode, setting: str | None) -> Episode:
    """An episode as a method of that setting may see it: without unlabelled rows where these are not for it."""
    if setting is None or SETTINGS[setting].unlabelled or episode.unlabelled is None:
        return episode
    return episode.replace(unlabelled=None)


def _needs(method: Any) -> tuple[str, ...]:
    needs = getattr(method, "needs", ())
    return needs if isinstance(needs, tuple) else ()
