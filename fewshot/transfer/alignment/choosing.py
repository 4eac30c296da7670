"""`choose_alignment`: which alignment, or none, by scores that know no label of the target."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from episodes.episode import Support
from fewshot.adaptation.adapter import AdaptationWarning
from fewshot.adaptation.choosing import NOTHING, Choice, choose
from fewshot.adaptation.importance import importance
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.alignment import list_alignments
from fewshot.transfer.alignment.target import without_labels
from fewshot.transfer.fine_tuning import fine_tune
from fewshot.transfer.source_free.shares import information
from fewshot.transfer.sources import labelled_source
from fewshot.transfer.tuned_encoder import TunedEncoder

SCORES = ("importance", "information")


def choose_alignment(
    encoder: str | Encoder, source: Any, target: Any, candidates: Sequence[str] | None = None, *,
    score: str = "information", held_out: float = 0.2, seeds: Sequence[int] = (0,), **options: Any,
) -> Choice:  # fmt: skip
    """Tune with each alignment and with none, on a part of the source, and name the best, or none.

    ``"information"`` is how sure and how varied the answers about the target are; ``"importance"`` is the accuracy on
    the source rows that were held out, weighted by how much likelier their features, under the network tuned without
    alignment, are in the target. ``docs/domain_adaptation.md`` says what each is blind to. Nothing stays chosen
    unless another is better by 0.02, and by two standard errors over the seeds where there are several.

    Args:
        encoder: spec string or `Encoder`.
        source: labelled rows, as `fine_tune` takes them.
        target: rows of the target; labels are not read.
        candidates: specs of alignments; None: all, with their defaults.
        score: see above.
        held_out: share of the source rows, of each class, that is not trained on.
        seeds: one run of each candidate for each.
        options: of `fine_tune`, such as ``strategy="last(2)"``.

    Raises:
        ValueError: an unknown score, or a class with fewer than two rows.

    Warns:
        AdaptationWarning: some candidate is clearly worse than nothing; or the weights rest on a handful of rows.

    Reference: Sugiyama, Krauledat, Müller, JMLR 8 (2007); on features of a network: You, Wang, Long, Jordan, "Towards
    accurate model selection in deep unsupervised domain adaptation", ICML 2019 (whose control variate is left out).
    """
    if score not in SCORES:
        raise ValueError(f"score={score!r}; it must be one of {', '.join(SCORES)}.")
    from fewshot.encoders import load_encoder

    given = load_encoder(encoder)
    rows = labelled_source(source, given)
    unlabelled = without_labels(target, given)
    specs = list_alignments() if candidates is None else list(candidates)
    found: dict[str, list[float]] = {name: [] for name in (NOTHING, *specs)}
    for seed in seeds:
        kept = _held_out(rows.labels, len(rows.class_names), held_out, seed)
        train, test = rows.select(~kept), rows.select(kept)
        weights: Tensor | None = None
        for name in found:
            aligned = {} if name == NOTHING else {"target": unlabelled, "alignment": name}
            tuned = fine_tune(given, train, seed=seed, **{"progress": False, **options, **aligned})
            if score == "information":
                answers = tuned.logits(unlabelled, cache=options.get("cache")).softmax(-1)
                found[name].append(information(answers))
                continue
            if weights is None:
                weights = _weights(tuned, test, unlabelled, options.get("cache"))  # [M]
            right = tuned.logits(test, cache=options.get("cache")).argmax(1).cpu() == test.labels
            found[name].append(float((weights * right).sum() / weights.sum()))
    choice = choose({name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()})
    if choice.warning is not None:
        warnings.warn(choice.warning, AdaptationWarning, stacklevel=2)
    return choice


def _weights(tuned: TunedEncoder, test: Any, target: Any, cache: Any) -> Tensor:
    from fewshot.embedding import embed

    of_test, of_target = (
        embed(part, tuned, cache=cache, storage="float32", progress=False).features.float().cpu()
        for part in (test, target)
    )
    task = Support(of_test[None], torch.zeros(1, len(of_test), dtype=torch.int64), way=1)
    return importance(task, of_target[None])[0].double()


def _held_out(labels: Tensor, classes: int, share: float, seed: int) -> Tensor:
    """Which rows are held out ``[M]``: of each class that share, at least one and not all."""
    random = torch.Generator().manual_seed(seed)
    kept = torch.zeros(len(labels), dtype=torch.bool)
    for number in range(classes):
        own = (labels == number).nonzero().squeeze(1)
        if len(own) < 2:
            raise ValueError(f"class {number} has {len(own)} row(s); one is held out and one is learned from.")
        count = min(max(1, round(share * len(own))), len(own) - 1)
        kept[own[torch.randperm(len(own), generator=random)[:count]]] = True
    return kept
