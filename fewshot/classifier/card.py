"""A model card: what a saved classifier is, how far to trust it, and how to use it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.classifier.base import LearnerEstimator

_MOST = 60  # classes or prompts that are listed


def model_card(classifier: LearnerEstimator, config: dict[str, Any], name: str) -> str:
    """Markdown with the header that model hubs read.

    Args:
        classifier: fitted.
        config: what its ``config.json`` says.
        name: of the model or its repository.
    """
    kind = config["kind"]
    words = [_plain(word) for word in getattr(classifier, "words_", config["classes"])]
    parts = [
        "---\nlibrary_name: fewshot\ntags:\n- few-shot\n- zero-shot\n---",
        f"# {_plain(name)}",
        f"A `{kind}` of [fewshot](https://github.com/fewshot/fewshot): {len(words)} classes.",
        "## Classes\n\n" + _listed(words),
        "## How it was made\n\n" + "\n".join(f"- {line}" for line in _facts(classifier, config)),
        *_prompts(config),
        "## How good it is\n\n" + _estimate(classifier),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(classifier, config)),
        f"## Use\n\n```python\nfrom fewshot import {kind}\n\nclassifier = {kind}.from_pretrained({json.dumps(name)})\n"
        f"print(classifier.predict({_example(classifier)}))\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(classifier: Any, config: dict[str, Any]) -> list[str]:
    encoder = config["encoder"]
    if isinstance(encoder, dict):
        shown = f"{_code(encoder['object'])}, made in Python: `from_pretrained` needs `encoder=`"
    else:
        shown = _code(encoder) if encoder else "none: it takes features"
    lines = [f"encoder: {shown}"]
    if config["encoder_identity"]:
        lines.append(f"identity of the encoder (weights and preprocessing): `{config['encoder_identity'][:16]}`")
    if config.get("strategy"):
        lines.append(f"the encoder was fine-tuned on the examples: {_code(config['strategy'])}")
    examples = len(classifier._adapted.episode.support[0])
    lines += [f"learner: {_code(config['learner'])}", f"examples: {examples}", f"fewshot {config['fewshot']}"]
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
    return (
        f"{100 * found.accuracy:.1f} % of {found.count} held-out examples were classified right (95 % interval "
        f"{100 * low:.1f} to {100 * high:.1f}). Each was asked of a classifier that had not seen it."
    )


def _limits(classifier: Any, config: dict[str, Any]) -> list[str]:
    lines = [
        "It answers one of its classes (or rejects); what belongs to none of them gets one all the same unless "
        "`reject` or `none` is set.",
        "The estimate holds for new rows like the examples; other cameras, places or wordings may do worse.",
    ]
    labels = classifier._adapted.episode.labels
    counts = labels.flatten().bincount() if labels.numel() and not getattr(classifier, "multi_label", False) else None
    if counts is not None and int(counts[counts > 0].min()) < 5:
        lines.append("Some classes have fewer than five examples: probabilities are rough.")
    if labels.numel():
        lines.append(
            "The features of the examples are in `model.safetensors`: do not share the model with anybody who may not "
            "have those."
        )
    return lines


def _example(classifier: Any) -> str:
    encoder = getattr(classifier, "encoder_", None)
    if encoder is None:
        return "features"
    return '["photo.jpg"]' if encoder.encodes("images") else '["a text"]'


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
