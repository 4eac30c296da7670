"""A fitted classifier as a folder: ``config.json`` for people, ``model.safetensors`` for numbers."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.files import write_atomically
from fewshot.classifier.fitted_encoder import same_features
from fewshot.classifier.saved_files import FORMAT, KINDS, read_config, read_model
from fewshot.encoders.named_files import refuse_local
from fewshot.learner import Learner
from fewshot.learners import load_learner
from fewshot.transfer.packing import pack, unpack

TUNED = "tuned"  # folder of what fine-tuning changed in the encoder

if TYPE_CHECKING:
    from fewshot.classifier.base import LearnerEstimator

_ASKED = ("asked.logits", "asked.labels")  # of rows that `calibrate` was given, which sets of classes rest on
_IMPOSSIBLE = -1e30  # a logit of minus infinity, as tensors of a file are finite


def save(classifier: LearnerEstimator, folder: Path, *, weights: bool = True) -> Path:
    """Write a fitted classifier; each file appears whole or not at all.

    Args:
        classifier: fitted.
        folder: made where it is not there.
        weights: a file of weights that the encoder's spec names is copied into the folder.

    Raises:
        ValueError: the learner's spec string does not make it again, or the encoder was changed after `fit`.
        fewshot.cache.UnfingerprintableError: nothing would tell the encoder from another one.
    """
    from safetensors.torch import save as to_bytes

    from fewshot import __version__

    classifier._check_encoder()
    learner, encoder = classifier.learner_, classifier.encoder
    encoder = os.fspath(encoder) if isinstance(encoder, os.PathLike) else encoder
    tensors = {f"learner.{name}": value.cpu().contiguous() for name, value in learner.state_dict().items()}
    more, own = classifier._saved_state()
    tensors |= own
    if classifier._adapted.asked is not None:
        logits, labels = classifier._adapted.asked
        tensors |= dict(zip(_ASKED, (logits.clamp(min=_IMPOSSIBLE).contiguous(), labels.contiguous()), strict=True))
    model = to_bytes(tensors)
    if getattr(classifier, "strategy", None) is not None:
        classifier.encoder_.save(folder / TUNED)
    packed = None
    if weights:
        encoder, packed = pack(encoder, folder)
    config = {
        "format": FORMAT,
        "kind": next(base.__name__ for base in type(classifier).__mro__ if base.__name__ in KINDS),
        "fewshot": __version__,
        "learner": _spec(learner),
        "encoder": encoder if encoder is None or isinstance(encoder, str) else {"object": repr(encoder)},
        "encoder_sha256": packed,
        "encoder_identity": _identity(classifier.encoder_),
        "encoder_fingerprint": None if classifier.encoder_ is None else classifier.encoder_.fingerprint,
        "classes": classifier.classes_.tolist(),
        "classes_dtype": classifier.classes_.dtype.str,
        "temperature": classifier.temperature_,
        "seen": getattr(classifier, "_seen", None),
        **{name: getattr(classifier, name) for name in classifier.saved_parameters},
        "feature_names": getattr(classifier, "feature_names_in_", np.array([])).tolist(),
        **more,
        "model_sha256": hashlib.sha256(model).hexdigest(),
    }
    # Only a numpy scalar among the parameters needs `default`.
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False, default=np.generic.item) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    # The digest in config.json, which is written last, tells a pair of files that belong together.
    write_atomically(folder / "model.safetensors", model)
    write_atomically(folder / "config.json", text.encode())
    return folder


def load(cls: type[Any], folder: Path, changes: Mapping[str, Any]) -> Any:
    """Read what `save` wrote.

    Raises:
        ValueError: missing, damaged or later files, an encoder that is not the same, or one that names files of
            this machine and was not confirmed by ``encoder=``.
    """
    kind = (
        cls.__name__ if cls.__name__ in KINDS else next(base.__name__ for base in cls.__mro__ if base.__name__ in KINDS)
    )
    config = read_config(folder, kind)
    encoder = changes.get("encoder", config["encoder"])
    if "encoder" not in changes:
        given, encoder = encoder, unpack(encoder, config["encoder_sha256"], folder)
        if encoder is given:
            refuse_local(encoder, folder)
    if isinstance(encoder, dict):
        raise ValueError(
            f"{str(folder)!r} was saved with an encoder made in Python, {encoder['object'][:200]}; "
            f"make it again and pass it: {kind}.load(path, encoder=...)."
        )
    tensors = read_model(folder, config, kind)
    weights = {name.removeprefix("learner."): value for name, value in tensors.items() if name.startswith("learner.")}
    with _naming(folder, "learner"):
        learner = load_learner(config["learner"])
        if weights:
            learner.load_state_dict(weights)
    saved = {name: config[name] for name in cls.saved_parameters}
    given = {**saved, "learner": learner if weights else config["learner"], **changes, "encoder": encoder}
    with _naming(folder, "learner, encoder or another parameter"):
        classifier = cls(**given)
        if given.get("strategy") is not None:
            classifier._tuned_at = folder / TUNED
        classifier._restore(
            tensors, config["classes"], temperature=config["temperature"], columns=config["feature_names"], more=config
        )
    classifier._seen = config["seen"]
    _check_encoder(classifier.encoder_, config, folder)
    classifier._adapted.asked = _asked(tensors, len(classifier.classes_), folder)
    return classifier


def _check_encoder(encoder: Any, config: Mapping[str, Any], folder: Path) -> None:
    """The encoder must be the one of `fit`; code around the same weights and preprocessing may have changed.

    Raises:
        ValueError: it has other weights or another preprocessing.
    """
    before = config["encoder_identity"]
    if _identity(encoder) == before:
        return
    if encoder is not None and before is not None:
        was, now = config["encoder_fingerprint"], json.loads(json.dumps(encoder.fingerprint))
        if config["format"] == 1:
            warnings.warn(
                f"{str(folder)!r} was saved by a version whose record of the encoder cannot be compared any more; "
                "if the encoder is the same, save the classifier again.",
                stacklevel=4,
            )
            return
        if was is not None and same_features(was, now):
            warnings.warn(
                f"the encoder of {str(folder)!r} has the same weights and preprocessing as in fit, but other code or "
                "settings around them (another version?); check its answers.",
                stacklevel=4,
            )
            return
    raise ValueError(
        f"the encoder {encoder!r} is not the one that {str(folder)!r} was fitted with: its weights or "
        "preprocessing differ. Give the same encoder, or fit again."
    )


def _asked(tensors: Mapping[str, Tensor], ways: int, folder: Path) -> tuple[Tensor, Tensor] | None:
    """Logits ``[M, N]`` and classes ``[M]`` of rows that `calibrate` was given, where it was.

    Raises:
        ValueError: they do not fit the classes.
    """
    if not any(name in tensors for name in _ASKED):
        return None
    logits, labels = (tensors.get(name, torch.zeros(0)) for name in _ASKED)
    fits = logits.is_floating_point() and logits.ndim == 2 and logits.shape[1] == ways and labels.ndim == 1
    fits = fits and labels.dtype == torch.int64 and 0 < len(logits) == len(labels)
    if not fits or labels.min() < 0 or labels.max() >= ways:
        where = str(folder / "model.safetensors")
        raise ValueError(f"{where!r}: the tensors {' and '.join(_ASKED)} are not logits of {ways} classes.")
    return logits.masked_fill(logits <= _IMPOSSIBLE, -torch.inf), labels


@contextmanager
def _naming(folder: Path, fields: str) -> Iterator[None]:
    """Errors name the file; what is well formed may still be no classifier, such as weights of another learner."""
    try:
        yield
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        where = str(folder / "config.json")
        raise ValueError(f"{where!r} describes no usable classifier (field {fields}): {error}") from error


def _identity(encoder: Any) -> str | None:
    if encoder is None:
        return None
    return hashlib.sha256(json.dumps(encoder.fingerprint, sort_keys=True).encode()).hexdigest()


def _spec(learner: Learner) -> str:
    try:
        same = type(load_learner(repr(learner))) is type(learner)
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"{learner!r} cannot be made again from its spec string; add its class to the entry-point group "
            "'fewshot.learners' of your package, so that load_learner knows it."
        )
    return repr(learner)
