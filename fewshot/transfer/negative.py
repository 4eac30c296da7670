"""Negative transfer: whether pretrained weights do harm, by paired tests on held-out rows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from episodes.comparison import Comparison, compare
from episodes.printable import printable
from episodes.result import Result
from episodes.statistics import episodes_needed, holm
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.candidates import Candidate, Frozen, Setting, Tfidf, Tunes, make_candidates
from fewshot.transfer.folds import Folds, Store

_LEVEL = 0.05
_WORDS = {"scratch": "the same architecture from scratch", "trivial": "no network at all",
          "encoder": "another encoder"}  # fmt: skip


class NegativeTransferWarning(UserWarning):
    """The pretrained network does worse than what it is compared with."""


@dataclass(frozen=True)
class Rival:
    """What the transferred model was compared with.

    Attributes:
        kind: ``"scratch"``, ``"trivial"`` or ``"encoder"``.
        comparison: transferred minus rival, row by row, its p-value adjusted for the number of rivals.
        needed: held-out rows that would show the difference seen, where it is not shown; else None.
    """

    kind: str
    comparison: Comparison
    needed: int | None

    @property
    def hurts(self) -> bool:
        """Whether the transferred model is worse, and chance does not explain it."""
        return self.comparison.difference < 0 and self.comparison.p < _LEVEL

    @property
    def helps(self) -> bool:
        """Whether it is better, and chance does not explain it."""
        return self.comparison.difference > 0 and self.comparison.p < _LEVEL

    def __str__(self) -> str:
        how = "worse than" if self.hurts else "better than" if self.helps else "not told apart from"
        needed = "" if self.needed is None else f"; about {self.needed:,} held-out rows would show this difference"
        return f"{how} {_WORDS[self.kind]}: {written(self.comparison)}{needed}"


@dataclass(frozen=True)
class NegativeTransfer:
    """The verdict on a transferred model.

    Attributes:
        transferred: name of the model.
        rivals: what it was compared with.
    """

    transferred: str
    rivals: tuple[Rival, ...]

    @property
    def harmful(self) -> bool:
        """Whether it is worse than from scratch, or than no network at all."""
        return any(rival.hurts for rival in self.rivals if rival.kind != "encoder")

    @property
    def verdict(self) -> str:
        """``"no transfer"``, ``"transfer"`` (better than from scratch and than no network), or ``"undecided"``."""
        own = [rival for rival in self.rivals if rival.kind != "encoder"]
        if self.harmful:
            return "no transfer"
        return "transfer" if own and all(rival.helps for rival in own) else "undecided"

    @property
    def warning(self) -> str | None:
        """What is to be said where it does harm, in words; else None."""
        worse = [rival for rival in self.rivals if rival.hurts and rival.kind != "encoder"]
        if not worse:
            return None
        found = "; ".join(f"{_WORDS[rival.kind]} ({printable(rival.comparison.b)}) is "
                          f"{-100 * rival.comparison.difference:.0f} points better" for rival in worse)  # fmt: skip
        return (
            f"negative transfer: {found} than {printable(self.transferred)} on the same held-out rows, and chance does "
            "not explain it. The pretraining does not serve this task."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "transferred": self.transferred, "verdict": self.verdict, "warning": self.warning,
            "rivals": [{"kind": rival.kind, "hurts": rival.hurts, "helps": rival.helps, "needed": rival.needed,
                        **rival.comparison.to_json()} for rival in self.rivals],
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{printable(self.transferred)}: {self.verdict}", *(f"  {rival}" for rival in self.rivals)]
        return "\n".join([*lines, *([f"  Warning: {self.warning}"] if self.warning else [])])


def written(comparison: Comparison) -> str:
    """A comparison of rows in words: ``+12.0 ± 9.1 points (95 %, 50 paired rows), p = 0.012``."""
    from episodes.comparison import format_p

    half = f"{100 * comparison.ci95:.1f}" if np.isfinite(comparison.ci95) else "?"
    return (
        f"{100 * comparison.difference:+.1f} ± {half} points against {printable(comparison.b)} (95 %, "
        f"{comparison.episodes} paired rows), {format_p(comparison.p)}"
    )


def against(transferred: Result, rivals: Sequence[tuple[str, Result]]) -> NegativeTransfer:
    """Compare a model with its rivals on rows that all have answered.

    Args:
        transferred: scores of each row, 1 or 0.
        rivals: kind and scores of each.
    """
    found = [compare(transferred, rival) for _, rival in rivals]
    adjusted = holm([one.p_value for one in found]).tolist() if found else []
    made = []
    for (kind, rival), one, p in zip(rivals, found, adjusted, strict=True):
        paired = transferred.scores[: one.episodes] - rival.scores[: one.episodes]
        clear = p < _LEVEL or one.difference == 0 or one.episodes < 2 or not paired.std()
        needed = None if clear else max(one.episodes, episodes_needed(paired, one.difference))
        made.append(Rival(kind, replace(one, p_adjusted=p), needed))
    return NegativeTransfer(transferred.learner, tuple(made))


def negative_transfer(
    encoder: str | Encoder, source: Any, strategy: str = "logistic", *, rivals: Sequence[str | Encoder] = (),
    baseline: str | Encoder | None = "auto", scratch: bool = True, folds: int | None = None, size: int | None = None,
    epochs: int | None = None, out: str | os.PathLike[str] | None = None, cache: Any = None,
    device: torch.device | str = "auto", seed: int = 0,
) -> NegativeTransfer:  # fmt: skip
    """Does a pretrained network do worse than none? Cross-validated on the same rows, paired row by row.

    It is compared with the same architecture trained from scratch, with no network (logistic regression on pixels, or
    on TF-IDF of texts), and with other encoders under the same strategy. p-values are exact (of the signs of the
    differences; for answers that is McNemar's test) and adjusted by Holm's method.

    Args:
        encoder: spec string or `Encoder`.
        source: labelled rows, as `advise` takes them.
        strategy: of `fine_tune`, or ``"logistic"``: logistic regression on frozen features.
        rivals: other encoders.
        baseline: ``"auto"``: ``"pixels(size=32)"`` for images, TF-IDF for texts; or an encoder without a network; None.
        scratch: whether to train from scratch, which takes longest.
        folds: 5 by default, and no more than the smallest class has rows.
        size: rows of each class to learn from; None: all that are not held out.
        epochs: passes over the rows; None: what `fine_tune` chooses.
        out: a JSON Lines file of results; what is in it is not computed again.
        cache: of embeddings, as in `fewshot.embed`.
        device: where it runs.
        seed: of folds and training.

    Raises:
        ValueError: rows that cannot be folded, or nothing to compare with.

    Warns:
        NegativeTransferWarning: it does harm; the message says by how much.

    Reference: Wang, Dai, Póczos, Carbonell, "Characterizing and avoiding negative transfer", CVPR 2019,
    arXiv:1811.09751.
    """
    from fewshot.encoders import load_encoder
    from fewshot.transfer.sources import labelled_source

    model = load_encoder(encoder)
    source = labelled_source(source, model)
    main = make_candidates([model], [strategy])
    others: list[tuple[str, Candidate]] = []
    if scratch and model.module is not None and main[0].kind != "scratch":
        others.append(("scratch", Tunes(model, "scratch")))
    trivial = baseline_of(baseline, source)
    if trivial is not None and trivial.name != main[0].name:
        others.append(("trivial", trivial))
    others += [("encoder", one) for one in make_candidates([load_encoder(rival) for rival in rivals], [strategy])]
    if not others:
        raise ValueError(f"{model.name!r} with {strategy!r}: there is nothing to compare; give rivals= or a baseline=.")
    parts = Folds(source, folds, seed)
    size = parts.largest if size is None else min(size, parts.largest)
    store = Store(parts, Setting(device, cache, epochs, seed), out)
    results = [store.joined(one, size, [store.run(one, size, fold) for fold in range(parts.count)])
               for one in [main[0], *(other for _, other in others)]]  # fmt: skip
    found = against(results[0], [(kind, result) for (kind, _), result in zip(others, results[1:], strict=True)])
    warn_of(found)
    return found


def warn_of(found: NegativeTransfer) -> None:
    """Warn where it does harm."""
    if found.warning is not None:
        warnings.warn(found.warning, NegativeTransferWarning, stacklevel=3)


def baseline_of(baseline: str | Encoder | None, source: Any) -> Candidate | None:
    """What needs no network on rows of this kind.

    Raises:
        ValueError: it is a network.
    """
    from fewshot.encoders import load_encoder

    if baseline is None:
        return None
    if not isinstance(baseline, str) or baseline != "auto":
        model = load_encoder(baseline)
        if model.module is not None:
            raise ValueError(f"baseline={model.name!r} is a network; give one without, like 'pixels', or None.")
        return Frozen(model, "trivial")
    if source.kind == "texts":
        return Tfidf()
    flat = getattr(source, "features", None)
    return Frozen(load_encoder("pixels" if flat is not None and flat.ndim == 2 else "pixels(size=32)"), "trivial")
