"""Templates: sentences with ``{label}`` in them, by name, from a file, or as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from episodes.schema import read_json
from fewshot.registry import unknown

_PLACES = re.compile(r"\{(?:c|class|classname|class_name|name)?\}")  # how other collections write {label}
_SETS: dict[str, tuple[str, ...]] = {
    "name": ("{label}",),
    "photo": ("a photo of a {label}",),
    "photos": (
        "a photo of a {label}", "a photo of the {label}", "a close-up photo of a {label}",
        "a bright photo of a {label}", "a dark photo of a {label}",
        "a blurry photo of a {label}", "a photo of many {label}", "a photo of one {label}",
    ),
    "media": (
        "a photo of a {label}", "a drawing of a {label}", "a painting of a {label}", "a sketch of a {label}",
        "a rendering of a {label}", "an illustration of a {label}", "a sculpture of a {label}", "an icon of a {label}",
    ),
    "text": ("This text is about {label}.",),
    "topics": (
        "This text is about {label}.", "The topic is {label}.", "{label}", "An article about {label}.", "{label} news.",
    ),
    "sentiment": ("The sentiment of this text is {label}.", "The author's opinion is {label}.", "A {label} review."),
    "intent": ("The customer wants to ask about {label}.", "This message is about {label}.", "{label}"),
}  # fmt: skip
_OPEN_CLIP = {"openai": "OPENAI_IMAGENET_TEMPLATES", "openai-simple": "SIMPLE_IMAGENET_TEMPLATES"}


def list_templates() -> list[str]:
    """Names of the template sets: our own, and OpenAI's 80 and 7 for ImageNet, which open_clip carries."""
    return sorted([*_SETS, *_OPEN_CLIP])


def load_templates(templates: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """A list of templates with ``{label}``.

    Args:
        templates: the name of a set (`list_templates`); one template; a list of them; or a JSON file with a list, or
            with a mapping of dataset names to lists, of which ``file.json#dataset`` takes one. ``{}``, ``{c}`` and
            ``{classname}``, as other collections write it, are read as ``{label}``.

    Raises:
        ValueError: unknown name, nothing in the list, or a template without its ``{label}``.
        FileNotFoundError: there is no such file.

    >>> load_templates("openai")[:2], len(load_templates("openai"))
    (['a bad photo of a {label}.', 'a photo of many {label}.'], 80)
    >>> load_templates("a sketch of a {c}")
    ['a sketch of a {label}']
    """
    if isinstance(templates, (str, os.PathLike)):
        found = _named(os.fspath(templates))
    else:
        found = list(templates)
    if not found:
        raise ValueError("the list of templates is empty; give at least one, such as 'a photo of a {label}'.")
    return [check_template(template) for template in found]


def check_template(template: str) -> str:
    """A template in our syntax.

    Raises:
        ValueError: it is no string, empty, or has no ``{label}``.
    """
    if not isinstance(template, str) or not template.strip():
        raise ValueError(
            f"{template!r} is no template; write a sentence with {{label}}, like 'a photo of a {{label}}'."
        )
    template = _PLACES.sub("{label}", template)
    others = set(re.findall(r"\{(.*?)\}", template)) - {"label"}
    if "{label}" not in template or others:
        what = f"has {{{others.pop()}}}" if others else "has no {label}"
        raise ValueError(f"the template {template!r} {what}; the class name goes where {{label}} stands.")
    return template


def _named(spec: str) -> list[str]:
    if spec in _SETS:
        return list(_SETS[spec])
    if spec in _OPEN_CLIP:
        import open_clip

        return [template("{label}") for template in getattr(open_clip, _OPEN_CLIP[spec])]
    path, _, part = spec.partition("#")
    if path.endswith(".json"):
        return _from_file(Path(path).expanduser(), part)
    if "{" in spec:
        return [spec]
    raise ValueError(unknown("template set", spec, list_templates()) + " A template of your own has {label} in it.")


def _from_file(path: Path, part: str) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of templates {str(path)!r}.")
    content = read_json(path)
    if isinstance(content, dict):
        if part not in content:
            raise ValueError(f"{str(path)!r} holds several sets; add '#' and one of {', '.join(sorted(content))}.")
        content = content[part]
    if not isinstance(content, list):
        raise ValueError(f"{str(path)!r} must hold a JSON list of templates, not a {type(content).__name__}.")
    return content
