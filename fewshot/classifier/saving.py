"""A fitted classifier as a folder: ``config.json`` for people, ``model.safetensors`` for numbers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.learner import Learner
from fewshot.learners import load_learner

if TYPE_CHECKING:
    from fewshot.classifier.base import LearnerEstimator

FORMAT = 1
KINDS = ("FewShotClassifier", "ZeroShotClassifier")


def save(classifier: LearnerEstimator, folder: Path) -> Path:
    """Write a fitted classifier; each file appears whole or not at all.

    Raises:
        ValueError: the learner's spec string does not make it again.
        fewshot.cache.UnfingerprintableError: nothing would tell the encoder from another one.
    """
    from safetensors.torch import save as to_bytes

    from fewshot import __version__

    learner, encoder = classifier.learner_, classifier.encoder
    tensors = {f"learner.{name}": value.cpu().contiguous() for name, value in learner.state_dict().items()}
    more, own = classifier._saved_state()
    tensors |= own
    model = to_bytes(tensors)
    config = {
        "format": FORMAT,
        "kind": type(classifier).__name__,
        "fewshot": __version__,
        "learner": _spec(learner),
        "encoder": encoder if encoder is None or isinstance(encoder, str) else {"object": repr(encoder)},
        "encoder_identity": _identity(classifier.encoder_),
        "classes": classifier.classes_.tolist(),
        "classes_dtype": classifier.classes_.dtype.str,
        "temperature": classifier.temperature_,
        **{name: getattr(classifier, name) for name in classifier.saved_parameters},
        "feature_names": getattr(classifier, "feature_names_in_", np.array([])).tolist(),
        **more,
        "model_sha256": hashlib.sha256(model).hexdigest(),
    }
    # Only a numpy scalar among the parameters needs `default`.
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False, default=np.generic.item) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    # The digest in config.json, which is written last, tells a pair of files that belong together.
    _write(folder / "model.safetensors", model)
    _write(folder / "config.json", text.encode())
    return folder


def load(cls: type[Any], folder: Path, changes: Mapping[str, Any]) -> Any:
    """Read what `save` wrote.

    Raises:
        ValueError: missing, damaged or later files, or an encoder that is not the same.
    """
    from safetensors.torch import load as from_bytes

    config, model = _read(folder, cls.__name__)
    encoder = changes.get("encoder", config["encoder"])
    if isinstance(encoder, dict):
        raise ValueError(
            f"{str(folder)!r} was saved with an encoder made in Python, {encoder['object']}; "
            f"make it again and pass it: {cls.__name__}.load(path, encoder=...)."
        )
    tensors = from_bytes(model)
    weights = {name.removeprefix("learner."): value for name, value in tensors.items() if name.startswith("learner.")}
    learner = config["learner"]
    if weights:
        learner = load_learner(learner)
        learner.load_state_dict(weights)
    saved = {name: config[name] for name in cls.saved_parameters if name in config}  # older files have fewer
    classifier = cls(**{**saved, "learner": learner, **changes, "encoder": encoder})
    classes = np.array(config["classes"], dtype=_label_type(config["classes_dtype"], folder))
    classifier._restore(
        tensors, classes, temperature=float(config["temperature"]), columns=config["feature_names"], more=config
    )
    if _identity(classifier.encoder_) != config["encoder_identity"]:
        raise ValueError(
            f"the encoder {encoder!r} is not the one that {str(folder)!r} was fitted with: its weights or "
            "preprocessing differ. Give the same encoder, or fit again."
        )
    return classifier


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


def _read(folder: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        model = (folder / "model.safetensors").read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{str(folder)!r} is not a saved classifier: {Path(error.filename).name} is missing; "
            f"give the folder that {kind}.save wrote."
        ) from None
    except ValueError:
        raise ValueError(f"config.json in {str(folder)!r} is damaged: it is not JSON. Save it again.") from None
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else None
        other = f" It is that of a {found}: use {found}.load." if found in KINDS else ""
        raise ValueError(f"config.json in {str(folder)!r} is not that of a {kind}.{other}")
    if config["format"] != FORMAT:
        raise ValueError(
            f"{str(folder)!r} has format {config['format']}, written by fewshot {config['fewshot']}; "
            f"this version reads format {FORMAT}. Upgrade fewshot."
        )
    if hashlib.sha256(model).hexdigest() != config["model_sha256"]:
        raise ValueError(
            f"model.safetensors in {str(folder)!r} is not the one that config.json was written for; "
            "one of them is damaged or from another save. Save the classifier again."
        )
    return config, model


def _label_type(name: str, folder: Path) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in "biufUO":
        raise ValueError(f"config.json in {str(folder)!r} says that classes are {name!r}, which labels never are.")
    return dtype


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
