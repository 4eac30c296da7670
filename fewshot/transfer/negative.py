"""Negative transfer: whether pretrained weights do harm, by paired tests on held-out rows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from fewshot.encoders.encoder import Encoder
from fewshot.transfer.candidate import Candidate, Setting
from fewshot.transfer.candidates import Frozen, Tfidf, Tunes, make_candidates
from fewshot.transfer.folds import Folds, Store
from fewshot.transfer.verdict import NegativeTransfer, NegativeTransferWarning, against


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
