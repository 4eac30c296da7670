"""An encoder fine-tuned on the examples of a classifier, and held-out answers that stay honest about it."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.identity import digest
from episodes.inputs import rows_of
from fewshot.classifier.adapted import Adapted, HeldOut, task
from fewshot.classifier.calibration import expected_temperature
from fewshot.classifier.folds import held_out_folds
from fewshot.classifier.rows import embed_items
from fewshot.learner import Learner
from fewshot.maths.temperature import fit_temperature
from fewshot.transfer.tuned_encoder import TunedEncoder

_FOLDS = 3
_ENOUGH = 10  # held-out rows that tell a temperature
_LOG = logging.getLogger("fewshot")


def fine_tuned(
    encoder: Any, X: Any, labels: np.ndarray, names: list[str], how: Mapping[str, Any], cache: Any, device: Any,
    out: Path | None = None,
) -> TunedEncoder:  # fmt: skip
    """A copy of the encoder, fine-tuned on all examples.

    Args:
        encoder: frozen; it is not changed.
        X: items, as `fewshot.embed` takes them ``[n]``.
        labels: number of the class of each ``[n]``.
        names: of the classes.
        how: strategy and options, as `fewshot.fine_tune` takes them.
        cache: of embeddings and activations.
        device: as in `fewshot.fine_tune`.
        out: folder for the state of the training, which is resumed from there.

    Raises:
        ValueError: nothing can be trained that way.
    """
    from episodes.any_source import as_source
    from fewshot.transfer import fine_tune
    from fewshot.transfer.strategies import load_strategies

    if all(phase.name == "prompt" for phase in load_strategies(how["strategy"])):
        raise ValueError(
            f"strategy={how['strategy']!r} learns class text and leaves features as they are, of which alone this "
            "classifier learns; take fewshot.fine_tune(encoder, source, strategy) and its logits, or 'clip-lora'."
        )
    items = as_source(X, encoder, labels, names, what="X")
    return fine_tune(encoder, items, **how, cache=cache, device=device, out=out, progress=False)


def place_of_training(
    folder: Path, encoder: Any, X: Any, labels: np.ndarray, names: list[str], how: Mapping[str, Any]
) -> Path:
    """A folder of its own for each encoder, strategy and set of examples: another training is never resumed."""
    from episodes.any_source import as_source

    items = as_source(X, encoder, labels, names, what="X")
    return folder / digest([encoder.fingerprint, items.fingerprint(), dict(how)])


def check_tuning(tuning: Any, strategy: str | None) -> None:
    """Refuse options that `fewshot.fine_tune` does not take, or that cannot be saved.

    Raises:
        ValueError: there is one, or no strategy that they could be of.
    """
    from fewshot.registry import unknown
    from fewshot.transfer.settings import Settings

    if strategy is None:
        raise ValueError(f"tuning={tuning!r} says how a strategy trains, and strategy is None; give both or neither.")
    known = list(Settings.__dataclass_fields__)
    for name, value in dict(tuning).items():
        if name not in known:
            raise ValueError(unknown("option of tuning", name, known))
        try:
            json.dumps(value)
        except TypeError:
            raise ValueError(
                f"tuning: {name}={value!r} cannot be saved with the classifier; give numbers and strings: a spec."
            ) from None


def held_out_of_tuning(
    encoder: Any, X: Any, labels: np.ndarray, names: list[str], how: Mapping[str, Any], learner: Learner, cache: Any,
    device: torch.device, out: Path | None = None,
) -> HeldOut:  # fmt: skip
    """Answers about examples that neither the encoder was fine-tuned on nor the learner adapted to: 3 folds.

    Each fold fine-tunes anew on the other two thirds, so its encoder is a little worse than the final one.
    """
    from episodes.any_source import as_source

    given = torch.from_numpy(labels)
    folds = held_out_folds(given, _FOLDS, whole=True)
    none = torch.zeros(0, dtype=torch.int64)
    logits, places = [torch.zeros(0, len(names))], [none]
    for number, asked in enumerate(folds):
        _LOG.info("fine-tuning once more without fold %d of %d, to be asked about it", number + 1, len(folds))
        kept = np.setdiff1d(np.arange(len(labels)), asked.numpy())
        with _without_plans():
            place = None if out is None else out / f"without-fold-{number + 1}"
            tuned = fine_tuned(encoder, _some(X, kept), labels[kept], names, how, cache, device, place)
        # Encoders of folds are thrown away, and so are their features.
        seen = embed_items(as_source(_some(X, kept), tuned, what="X"), tuned, False, device)
        rows = embed_items(as_source(_some(X, asked.numpy()), tuned, what="X"), tuned, False, device)
        adapted = Adapted(copy.deepcopy(learner), task(seen, labels[kept], len(names), device))
        logits.append(torch.cat(list(adapted.logits(rows))).float())
        places.append(asked)
    rows_asked = torch.cat(places)
    return HeldOut(torch.cat(logits), given[rows_asked], torch.ones(len(rows_asked)), rows_asked)


def temperature_of(held_out: HeldOut, adapted: Adapted) -> float:
    """The temperature that held-out answers ask for; where they are too few, a guess."""
    if len(held_out.labels) < _ENOUGH:
        return expected_temperature(adapted)
    return fit_temperature(held_out.logits, held_out.labels)


def as_tensors(held_out: HeldOut) -> dict[str, Tensor]:
    """Held-out answers as `save` writes them."""
    return {f"held_out.{name}": value.contiguous() for name, value in held_out._asdict().items()}


def from_tensors(tensors: Any, classes: int, examples: int) -> HeldOut:
    """Held-out answers from a file.

    Raises:
        ValueError: they are missing, or do not belong to these classes and examples.
    """
    found = HeldOut(*(tensors.get(f"held_out.{name}", torch.zeros(0)) for name in HeldOut._fields))
    count = len(found.rows)
    whole = found.labels.dtype == found.rows.dtype == torch.int64
    if not whole or found.logits.shape != (count, classes) or found.labels.shape != (count,):
        raise ValueError("the held-out answers in model.safetensors are missing or damaged.")
    for index, limit in ((found.labels, classes), (found.rows, examples)):
        if count and not 0 <= int(index.min()) <= int(index.max()) < limit:
            raise ValueError("the held-out answers in model.safetensors are of other classes or examples.")
    return found


def _some(X: Any, index: np.ndarray) -> Any:
    rows = rows_of(X, "X")
    return [rows[place] for place in index.tolist()] if isinstance(rows, list) else rows[index]


@contextmanager
def _without_plans() -> Iterator[None]:
    """The plan was shown when all examples were trained on; those of the folds are the same."""

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    _LOG.addFilter(wanted)
    try:
        yield
    finally:
        _LOG.removeFilter(wanted)
