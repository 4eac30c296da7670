"""What an exported file says of itself: all that a reader needs besides the graph, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fewshot.classifier.labels import reject_label
from fewshot.encoders.pixels import Pixels
from fewshot.encoders.preprocess import Preprocess, is_plain

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder

KEY = "fewshot"  # in the file's metadata
FORMAT = 1


def description(classifier: Any, inputs: str, preprocess: Preprocess | None, opset: int) -> str:
    """Classes, what rejection means, and how a picture becomes the graph's input, as one JSON text.

    Fields: ``format``, ``fewshot`` (version), ``classes``, ``reject``, ``reject_label``, ``temperature``,
    ``multi_label``, ``threshold``, ``inputs`` (``"pixels"`` or ``"features"``), ``preprocess``, ``learner``,
    ``encoder``, ``opset``.
    """
    from fewshot import __version__

    refuses = classifier.reject is not None or getattr(classifier, "none_", None) is not None
    label = reject_label(classifier.reject_label, classifier.classes_) if refuses else None
    many = bool(getattr(classifier, "multi_label", False))
    prepared = None if preprocess is None else {**asdict(preprocess), "decoding": _decoding(classifier.encoder_)}
    return json.dumps(
        {
            "format": FORMAT,
            "fewshot": __version__,
            "classes": classifier.classes_.tolist(),
            "reject": classifier.reject,
            "reject_label": getattr(label, "item", lambda: label)(),
            "temperature": classifier.temperature_,
            "multi_label": many,
            "threshold": classifier.threshold if many else None,
            "inputs": inputs,
            "preprocess": prepared,
            "learner": repr(classifier.learner_),
            "encoder": None if classifier.encoder_ is None else classifier.encoder_.name,
            "opset": opset,
        },
        ensure_ascii=False,
        allow_nan=False,
    )


def _decoding(encoder: Encoder) -> str:
    """``"reduced"``: large JPEG files are decoded smaller, as `Preprocess.reduction` says; ``"full"``: as they are."""
    return "reduced" if encoder.decoding == "reduced" and is_plain(encoder.transform) else "full"


def preprocess_of(encoder: Encoder) -> Preprocess:
    """How the encoder prepares a picture, as values that a reader without this library can follow.

    Raises:
        ValueError: it is a function of one's own, or pictures are taken in whatever size they have.
    """
    if isinstance(encoder.transform, Preprocess):
        return encoder.transform
    if isinstance(encoder, Pixels) and encoder.size is not None and not encoder.grey:
        return Preprocess(size=encoder.size, resize=None, interpolation="bilinear")
    prepared = "takes pictures as they are" if encoder.transform is None else "prepares pictures by code of its own"
    raise ValueError(
        f"the encoder {encoder.name!r} {prepared}, which a file cannot say to its reader; "
        "export what follows it: export(path, inputs='features')."
    )
