"""`advise`: which encoder, how much of it to train, or not to transfer at all, from evidence on the user's own rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from episodes.comparison import compare
from episodes.inputs import check_whole
from episodes.result import Result
from episodes.results import Results
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.advice import Advice, Option
from fewshot.transfer.candidate import Candidate, Setting
from fewshot.transfer.candidates import make_candidates
from fewshot.transfer.encoder_scores import EncoderScores, score_encoder
from fewshot.transfer.folds import Folds, Store
from fewshot.transfer.negative import baseline_of, warn_of
from fewshot.transfer.race import Race
from fewshot.transfer.race_entry import Clock, Entry
from fewshot.transfer.reasons import limits, reasons, reasons_of_scores
from fewshot.transfer.sources import labelled_source
from fewshot.transfer.verdict import NegativeTransfer, against

STRATEGIES = ("logistic", "last(1)", "last(3)", "norm", "lora(8)", "lp-ft", "full", "scratch")


def advise(
    source: Any,
    encoders: Sequence[str | Encoder] | str | Encoder,
    strategies: Sequence[str] = STRATEGIES,
    *,
    minutes: float = 5.0,
    like: Any = None,
    baseline: str | Encoder | None = "auto",
    folds: int | None = None,
    epochs: int | None = None,
    layers: bool = True,
    labels: Any = None,
    out: str | os.PathLike[str] | None = None,
    cache: Any = None,
    device: torch.device | str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> Advice:
    """Choose an encoder and how much of it to train, within a budget of minutes.

    Scores of each encoder come first (see `score_encoder`). Then strategies of the encoders, and a baseline without any
    network, are tried on cross-validated episodes of the rows given, all on the same folds: see
    `fewshot.transfer.race.Race`. The choice is what is expected to do best: by the held-out rows that it answered and,
    as far as these cannot tell, by what strategies like it gained elsewhere (`fewshot.transfer.standings.Standings`).
    The paired intervals say how sure that is. Training from scratch and the baseline also decide whether the
    pretraining helps at all: see `NegativeTransfer`.

    A run can be interrupted from the keyboard: what is known by then is returned. With `out` the same call goes on from
    what was done, and spends its minutes on what is missing.

    Args:
        source: labelled rows, as `fewshot.embed` takes them: images or texts.
        encoders: spec strings or `Encoder`; one or more.
        strategies: of `fine_tune`, and ``"logistic"``: logistic regression on frozen features.
        minutes: the budget; 0: scores only. Nothing is started that is predicted to end later; on a busy machine what
            was started may take longer.
        like: rows like those that the encoders were trained on, for the distance of the domains.
        baseline: ``"auto"``: ``"pixels(size=32)"`` for images, TF-IDF for texts; or an encoder without a network; None.
        folds: 5 by default, and no more than the smallest class has rows.
        epochs: passes over the rows; None: what `fine_tune` chooses.
        layers: also the likeness of the features of each stage with the labels.
        labels: of a plain list or array ``[M]``.
        out: a JSON Lines file of results of folds.
        cache: of embeddings and activations, as in `fewshot.embed`.
        device: ``"auto"`` is CUDA if there is one, else the CPU.
        seed: of folds and training.
        progress: show a bar on a terminal.

    Raises:
        ValueError: no encoder, two of one name, an unknown strategy, fewer than two classes, or a class with fewer than
            two rows.

    Warns:
        NegativeTransferWarning: the best transferred model does worse than from scratch, or than no network.
    """
    if not 0 <= minutes < float("inf"):
        raise ValueError(f"minutes={minutes!r}; it must be 0 (scores only) or more, and finite.")
    if epochs is not None:
        check_whole("epochs", epochs)
    models = _loaded(encoders)
    clock = Clock(minutes)
    rows = labelled_source(source, models[0], labels)
    parts = Folds(rows, folds, seed)
    trivial = baseline_of(baseline, rows)
    candidates = make_candidates(models, strategies, trivial)
    how = Setting(device, cache, epochs, seed)
    store = Store(parts, how, out)
    scored = list(models)
    extra: Any = getattr(trivial, "model", None)
    if extra is not None and extra.name not in {model.name for model in models}:
        scored.append(extra)
    shown = _shown([model.name for model in scored])
    given = {model.name: spec for model, spec in zip(models, _listed(encoders), strict=True) if isinstance(spec, str)}
    for candidate in candidates:
        own = candidate.encoder
        candidate.encoder, candidate.spec = shown.get(own, own), given.get(own, own)
    scores: list[EncoderScores] = []
    try:
        for model in scored:
            one = score_encoder(model, rows, like=like, layers=layers, cache=how.cache_of(model), device=device,
                                seed=seed)  # fmt: skip
            scores.append(replace(one, encoder=shown[model.name]))
    except KeyboardInterrupt:
        return _advice(None, candidates, scores, parts, clock)
    promise = {one.encoder: one.left_out for one in scores}
    race = Race(candidates, store, clock, promise, progress)
    if minutes:
        race.run()
    found = _advice(race, candidates, scores, parts, clock)
    if found.transfer is not None:
        warn_of(found.transfer)
    return found


def _loaded(encoders: Sequence[str | Encoder] | str | Encoder) -> list[Encoder]:
    from fewshot.encoders import load_encoder

    listed = _listed(encoders)
    if not listed:
        raise ValueError(
            "encoders is empty; give at least one, such as 'timm:mobilenetv2_100' (fewshot list encoders)."
        )
    models = [load_encoder(one) for one in listed]
    names = [model.name for model in models]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two encoders are called {twice[0]!r}; give each a name of its own.")
    return models


def _listed(encoders: Sequence[str | Encoder] | str | Encoder) -> list[str | Encoder]:
    return [encoders] if isinstance(encoders, (str, Encoder)) else list(encoders)


def _shown(names: Sequence[str]) -> dict[str, str]:
    """Names without their checkpoints, where that leaves them distinct."""
    short = [name.partition("@")[0] for name in names]
    return {name: one if short.count(one) == 1 else name for name, one in zip(names, short, strict=True)}


def _advice(
    race: Race | None, candidates: Sequence[Candidate], scores: Sequence[EncoderScores], parts: Folds, clock: Clock
) -> Advice:
    source = parts.source
    entries = [Entry(one, status="not tried") for one in candidates] if race is None else race.entries
    best = None if race is None else race.standings.choice()
    options = tuple(_ranked(race, best, entries))
    choice = options[0] if best is not None else None
    transfer = None if race is None else _transfer(race)
    why = reasons(options, scores, transfer) if choice is not None else reasons_of_scores(scores)
    held = [] if race is None else [race.joined(entry, size) for size in race.sizes for entry in race.entries
                                    if entry.parts.get(size)]  # fmt: skip
    return Advice(
        source.name, len(source), len(source.class_names), parts.count, options, tuple(scores), choice, tuple(why),
        tuple(limits(race, options, parts)), transfer, clock.budget / 60, clock.spent,
        race is None or race.interrupted, Results(held),
    )  # fmt: skip


def _ranked(race: Race | None, best: Entry | None, entries: Sequence[Entry]) -> list[Option]:
    made: list[tuple[bool, float, float, Option]] = []
    for entry in entries:
        result: Result | None = None
        paired, expected = None, None
        if race is not None and entry.size is not None:
            result = race.joined(entry, entry.size)
            expected = min(1.0, max(0.0, race.standings.outlook(entry).mean))  # a normal distribution knows no bounds
            common = [size for size in entry.parts if best is not None and best.parts.get(size)]
            if best is not None and entry is not best and common:
                paired = compare(race.joined(entry, max(common)), race.joined(best, max(common)))
        seconds = None if race is None else race.seconds_for_all(entry)
        option = Option(
            entry.candidate.encoder, entry.candidate.strategy, entry.candidate.kind, result, entry.size, expected,
            paired, None if entry.cost is None else entry.cost.trained, seconds, entry.status, entry.candidate.recipe(),
        )  # fmt: skip
        made.append((entry is not best, 0.0 if expected is None else -expected, seconds or 0.0, option))
    return [option for *_, option in sorted(made, key=lambda one: one[:3])]


def _transfer(race: Race) -> NegativeTransfer | None:
    """The best transferred model against its rivals, at the largest size that it and each of them ran."""
    moved = [entry for entry in race.entries if entry.candidate.kind == "transfer" and entry.parts]
    if not moved:
        return None
    size = max(max(entry.parts) for entry in moved)
    model = max((entry for entry in moved if entry.parts.get(size)),
                key=lambda entry: (len(entry.parts[size]), race.joined(entry, size).mean))  # fmt: skip
    rivals: dict[str, tuple[str, Entry]] = {}
    for entry in race.entries:
        one = entry.candidate
        if entry is model or not set(entry.parts) & set(model.parts):
            continue
        if one.kind == "trivial" or (one.kind == "scratch" and one.encoder == model.candidate.encoder):
            rivals[one.name] = one.kind, entry
        elif one.kind == "transfer" and one.encoder != model.candidate.encoder:
            known = rivals.get(one.encoder)
            if known is None or _mean(race, entry) > _mean(race, known[1]):
                rivals[one.encoder] = "encoder", entry
    if not rivals:
        return None
    shared = {name: max(set(entry.parts) & set(model.parts)) for name, (_, entry) in rivals.items()}
    groups = [against(race.joined(model, size), [(kind, race.joined(entry, size)) for name, (kind, entry)
                                                 in rivals.items() if shared[name] == size])
              for size in sorted(set(shared.values()), reverse=True)]  # fmt: skip
    return NegativeTransfer(model.candidate.name, tuple(rival for group in groups for rival in group.rivals))


def _mean(race: Race, entry: Entry) -> float:
    return race.joined(entry, entry.size).mean if entry.size is not None else 0.0
