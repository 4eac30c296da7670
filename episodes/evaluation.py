"""`evaluate`: learners on the same episodes, from arguments to results."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.arguments import check_arguments
from episodes.cell import Cell, Learns
from episodes.device import choose_device
from episodes.draw import OPEN
from episodes.environment import environment
from episodes.evaluation_loop import evaluation_mode, run, save_progress
from episodes.identity import digest_array
from episodes.learner_names import name_learners
from episodes.metrics import Metric, load_metric
from episodes.results import Results, ResultsFile
from episodes.samplers.sampler import Sampler
from episodes.source import Source

_LOG = logging.getLogger("episodes")


def evaluate(
    learners: Learns | str | Sequence[Learns | str] | Mapping[str, Learns | str],
    source: Source | Mapping[str, Source],
    sampler: Sampler,
    *,
    episodes: int = 1000,
    text: Tensor | None = None,
    metric: str | Metric = "accuracy",
    keep_predictions: bool = False,
    device: torch.device | str = "auto",
    chunk: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Results:
    """Evaluate all learners on the same episodes.

    A learner is any callable ``Episode -> logits [E, Q, N]``; it never sees the query labels. Memory is
    bounded whatever the number of episodes: one chunk of gathered rows (8 MiB on a CPU, 256 MiB on an
    accelerator, at least one episode), what the learner needs for a chunk, the indices of 1,024 episodes,
    and 8 bytes per episode and learner. Scores do not depend on the chunk.

    Args:
        learners: one learner, a list, or a mapping of names to learners; strings are spec strings, which
            the installed `fewshot` package resolves.
        source: the rows; or ``{"features": ..., "images": ...}`` when learners differ in their `inputs`.
        sampler: made from the labels of the same source.
        episodes: how many; a longer run continues a shorter one in `out`.
        text: one vector per dataset class ``[C, D]``, for learners that use class text.
        metric: what is measured in each episode: ``"accuracy"``, ``"balanced-accuracy"`` (mean over classes),
            ``"macro-f1"``, ``"ece"``, ``"log-loss"``; or, where a sampler draws queries of none of the classes
            (`OpenSetSampler`), ``"auroc"`` or ``"fpr95"`` of the learner's outlier scores: its own
            ``outlier_score(episode, logits) [E, Q]`` if it has one, else the log-odds against the most
            likely class; or a `Metric` of your own.
        keep_predictions: keep the prediction for each query, 24 bytes for each, for ``Result.predictions``,
            ``Result.confusion()`` and ``Result.per_class()``; with `out`, in a folder beside it.
        device: ``"auto"`` is the device of the rows if that is an accelerator, else CUDA if there is one.
        chunk: episodes per batch; by default as many as keep the gathered rows within the bound above. It
            is halved when memory runs out.
        out: a JSON Lines file: finished cells in it are not computed again, new ones are added, and a run that
            was interrupted resumes.
        progress: show a bar on a terminal, and say how much was known already.

    Returns:
        Per-episode scores with the full recipe.

    Raises:
        ValueError: sampler and source disagree, a learner needs rows or text that are not given, or its
            logits have the wrong shape or are not finite; the message names learner and episodes.

    >>> from episodes import EpisodeSampler, TensorSource
    >>> source = TensorSource(torch.eye(3).repeat_interleave(20, 0), [0] * 20 + [1] * 20 + [2] * 20)
    >>> sampler = EpisodeSampler(source.labels, way=2, shot=1, query=5)
    >>> results = evaluate("prototypes", source, sampler, episodes=10)
    >>> print(results["prototypes"])
    100.00 ± 14.78 (95 %, 10 episodes)
    """
    check_arguments(learners, source, sampler)
    if isinstance(episodes, bool) or not isinstance(episodes, (int, np.integer)) or episodes < 1:
        raise ValueError(f"episodes={episodes!r}; it must be at least 1, and whole.")
    if text is not None and not isinstance(text, Tensor):
        raise ValueError(f"text is {type(text).__name__}; it must be a tensor [C, D], one vector per dataset class.")
    available = getattr(sampler, "available", None)
    if available is not None and episodes > available:
        raise ValueError(f"episodes={episodes}, but {sampler!r} has {available}; ask for at most that many.")
    measured = load_metric(metric)
    if measured.function is None:
        raise ValueError(f"metric {measured.name!r} was read from a file and has no function; construct it again.")
    if measured.open_set and not (sampler.draw(0, 1).targets == OPEN).any():
        raise ValueError(
            f"metric={measured.name!r} needs queries of none of the classes; {sampler!r} draws none; "
            "take OpenSetSampler (--sampler open-set)."
        )
    named = name_learners(learners)
    sources = dict(source) if isinstance(source, Mapping) else {"": source}
    first_source = next(iter(sources.values()))
    _check_rows(sampler, first_source)
    place = choose_device(device, held=getattr(getattr(first_source, "features", None), "device", None))
    evaluation = _evaluation(first_source, sampler, text)
    if measured.name != "accuracy" or measured.recipe() != "accuracy":
        evaluation["metric"] = measured.recipe()
    computed_by = environment(place)
    file = ResultsFile(out) if out is not None else None

    cells = [
        Cell(name, learner, sources, evaluation, episodes, place, text, measured, keep_predictions)
        for name, learner in named.items()
    ]
    for cell in cells:
        if file is not None:
            _refuse_unknown(cell, file)
            cell.resume(*file.progress(cell.key), file.predictions(cell.key) if keep_predictions else None)
    todo = [cell for cell in cells if cell.done < episodes]
    if progress and len(todo) < len(cells):
        _LOG.info("%d of %d cells are in %s already.", len(cells) - len(todo), len(cells), out)
    try:
        with evaluation_mode(todo):
            run(todo, sampler, episodes, place, text, chunk, file, progress)
        for cell in todo:
            cell.draw_maps(sampler)
        finished = []
        for cell in cells:
            known_cell = file.finished(cell.key) if file is not None else None
            seconds = cell.seconds + (known_cell.seconds if known_cell else 0.0)
            result = cell.result(computed_by, seconds)
            if file is not None and (known_cell is None or known_cell.episodes < episodes):
                result = file.append(result)
            elif file is not None and keep_predictions:  # scores were known, predictions perhaps not
                result = file.keep(result) if cell in todo else result.with_kept(file.kept_at(cell.key))
            finished.append(result)
    except BaseException:
        try:
            save_progress(todo, file)
        except OSError as error:
            _LOG.warning("what was computed so far could not be saved: %s", error)
        raise
    return Results(finished)


def _refuse_unknown(cell: Cell, file: ResultsFile) -> None:
    if "unknown" in cell.recipe["learner"]:
        raise ValueError(
            f"{cell.name!r} cannot be stored in {str(file.path)!r}: {cell.recipe['learner']['unknown']} Leave out=, or "
            "give a learner whose behaviour can be read."
        )


def _check_rows(sampler: Sampler, source: Source) -> None:
    rows = getattr(sampler, "rows", len(source))
    if rows != len(source):
        raise ValueError(
            f"the sampler was made for {rows} labels, but {source.name!r} has {len(source)} rows; "
            "make it from source.labels."
        )


def _evaluation(source: Source, sampler: Sampler, text: Tensor | None) -> dict[str, Any]:
    evaluation = {"dataset": {"name": source.name, "fingerprint": source.fingerprint()}, **sampler.recipe()}
    if text is not None:
        evaluation["text"] = digest_array(text)
    return evaluation
