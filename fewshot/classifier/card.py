"""A model card: what a saved classifier is, how far to trust it, and how to use it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.files import write_atomically
from episodes.schema import read_json

if TYPE_CHECKING:
    from fewshot.classifier.base import LearnerEstimator

_MOST = 60  # classes or prompts that are listed
_SEEN = {"images": "pictures", "sounds": "recordings", "texts": "texts"}
_ROWS = "rows of features"
_TASKS = {
    "pictures": "image-classification", "recordings": "audio-classification", "texts": "text-classification",
    _ROWS: "tabular-classification",
}  # fmt: skip
_OTHERS = {
    "pictures": "other cameras or places", "recordings": "other voices, rooms or microphones",
    "texts": "other wordings", _ROWS: "rows of another origin",
}  # fmt: skip


def model_card(classifier: LearnerEstimator, config: dict[str, Any], name: str) -> str:
    """Markdown with the header that model hubs read.

    Args:
        classifier: fitted.
        config: what its ``config.json`` says.
        name: of the model or its repository.
    """
    kind, what = config["kind"], _kind(classifier)
    words = [_plain(word) for word in getattr(classifier, "words_", config["classes"])]
    learned = "few-shot" if _examples(classifier) else "zero-shot"
    parts = [
        f"---\nlibrary_name: fewshot\npipeline_tag: {_TASKS[what]}\ntags:\n- {learned}\n---",
        f"# {_plain(name)}",
        f"Sorts {what} into {len(words)} classes. It is a `{kind}` of [fewshot](https://github.com/fewshot/fewshot).",
        "## Classes\n\n" + _listed(words),
        "## How it was made\n\n" + "\n".join(f"- {line}" for line in _facts(classifier, config)),
        *_prompts(config),
        "## How good it is\n\n" + _estimate(classifier),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(classifier, what)),
        "## Use\n\n" + _use(classifier, config, name, what),
    ]
    return "\n\n".join(parts) + "\n"


def write_card(classifier: LearnerEstimator, folder: Path, name: str | None = None) -> None:
    """Add the card, ``README.md``, to the folder that a classifier was saved to."""
    config = read_json(folder / "config.json")
    write_atomically(folder / "README.md", model_card(classifier, config, name or folder.resolve().name).encode())


def _kind(classifier: Any) -> str:
    """What is classified: ``"pictures"``, ``"recordings"``, ``"texts"`` or ``"rows of features"``."""
    encoder, seen = getattr(classifier, "encoder_", None), getattr(classifier, "_seen", None)
    if encoder is None:
        return _ROWS
    kind = (seen or "").partition(" ")[0]
    if kind in _SEEN:
        return _SEEN[kind]
    return "pictures" if encoder.encodes("images") else "texts"


def _examples(classifier: Any) -> int:
    return len(classifier._adapted.episode.support[0])


def _counts(classifier: Any) -> list[int]:
    """Examples of each class; none where an example may have several classes."""
    labels = classifier._adapted.episode.labels
    if not labels.numel() or getattr(classifier, "multi_label", False):
        return []
    counts = labels.flatten().bincount()
    return sorted(counts[counts > 0].tolist())


def _facts(classifier: Any, config: dict[str, Any]) -> list[str]:
    encoder = config["encoder"]
    if isinstance(encoder, dict):
        shown = f"{_code(encoder['object'])}, made in Python: `from_pretrained` needs `encoder=`"
    else:
        shown = _code(encoder) if encoder else "none: it takes features"
    if "packed:" in shown:
        shown += "; its weights are here, in the file or folder after `packed:`"
    lines = [f"encoder: {shown}"]
    if config["encoder_identity"]:
        lines.append(f"identity of the encoder (weights and preprocessing): `{config['encoder_identity'][:32]}`")
    if config.get("strategy"):
        lines.append(f"the encoder was fine-tuned on the examples: {_code(config['strategy'])}")
    examples, counts = f"examples: {_examples(classifier)}", _counts(classifier)
    if counts:
        examples += f" ({counts[0] if counts[0] == counts[-1] else f'{counts[0]} to {counts[-1]}'} of each class)"
    lines += [f"learner: {_code(config['learner'])}", examples, f"fewshot {config['fewshot']}"]
    if config.get("task"):
        lines.append(f"task: {_plain(config['task'])}")
    if config["reject"] is not None:
        lines.append(f"answers that are less probable than {config['reject']} are rejected")
    return lines


def _prompts(config: dict[str, Any]) -> list[str]:
    lines = [_plain(line[0]) for line in config.get("lines", ())]
    return [f"## Prompts\n\n{_listed(list(dict.fromkeys(lines)))}"] if lines else []


def _estimate(classifier: Any) -> str:
    try:
        found = classifier.estimate()
    except ValueError:
        return "Not known: it has no examples with one label each that could be held out. Score it on labelled rows."
    if not found.count:
        return "Not known: every class has one example only. Its probabilities rest on an assumption, not on examples."
    low, high = found.interval
    mean = ""
    if found.uneven:
        balanced = 100 * found.balanced_accuracy
        mean = f"The mean over classes, which differ in how many were held out, is {balanced:.1f} %. "
    return (
        f"{100 * found.accuracy:.1f} % of {found.count} held-out examples were classified right (95 % interval "
        f"{100 * low:.1f} to {100 * high:.1f}). {mean}Each was asked of a classifier that had not seen it."
    )


def _limits(classifier: Any, what: str) -> list[str]:
    lines = [
        "It answers one of its classes (or rejects); what belongs to none of them gets one all the same unless "
        "`reject` or `none` is set.",
        f"The estimate holds for new {what} like the examples; {_OTHERS[what]} may do worse.",
    ]
    counts = _counts(classifier)
    if counts and counts[0] < 5:
        lines.append("Some classes have fewer than five examples: probabilities are rough.")
    if _examples(classifier):
        lines.append(
            "The features of the examples are in `model.safetensors`: do not share the model with anybody who may not "
            "have those."
        )
    return lines


def _use(classifier: Any, config: dict[str, Any], name: str, what: str) -> str:
    """The lines that install the library, load the classifier and ask it."""
    extra = {"texts": "[text]", "recordings": "[audio]"}.get(what, "")
    given = f"{json.dumps(name)}, encoder=encoder" if isinstance(config["encoder"], dict) else json.dumps(name)
    width = classifier._adapted.episode.support.shape[-1]
    items = {"pictures": '["photo.jpg"]', "recordings": '["call.wav"]', "texts": '["a text"]'}.get(
        what, f"[[0.0] * {width}]"
    )
    lines = [
        f"from fewshot import {config['kind']}",
        "",
        f"classifier = {config['kind']}.from_pretrained({given})  # a folder, or OWNER/NAME on the hub",
        f"print(classifier.predict({items}))",
        f"print(classifier.predict_proba({items}))",
    ]
    code = "\n".join(lines)
    return f'```\npip install "fewshot{extra} @ git+https://github.com/fewshot/fewshot"\n```\n\n```python\n{code}\n```'


def _listed(names: list[str]) -> str:
    more = f"\n- and {len(names) - _MOST} more, in `config.json`" if len(names) > _MOST else ""
    return "\n".join(f"- {name}" for name in names[:_MOST]) + more


def _plain(value: Any) -> str:
    """One line without Markdown or HTML of its own."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", text)[:300]


def _code(value: Any) -> str:
    """A code span on one line."""
    text = " ".join(str(value).split()).replace("`", "'")[:300]
    return f"`{text}`"
