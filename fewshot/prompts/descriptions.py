"""Descriptions of classes: sentences of their own, or features that complete a template."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from episodes.schema import read_json

STYLES = ("auto", "sentence", "feature")


def load_descriptions(
    descriptions: Mapping[str, Sequence[str] | str] | str | os.PathLike[str], class_names: Sequence[str]
) -> list[list[str]]:
    """Descriptions of each class, in the order of the names; classes without any get an empty list.

    Args:
        descriptions: class name -> one or several strings; or a JSON file that holds that. Underscores, hyphens and
            capitals in names do not matter.
        class_names: the classes.

    Raises:
        ValueError: a name that is no class (the message lists some), an empty description, or no JSON mapping.
    """
    if isinstance(descriptions, (str, os.PathLike)):
        path = Path(descriptions).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"there is no file of descriptions {str(path)!r}.")
        descriptions = read_json(path)
    if not isinstance(descriptions, Mapping):
        raise ValueError("descriptions must map class names to lists of strings.")
    places = {_plain(name): number for number, name in enumerate(class_names)}
    found: list[list[str]] = [[] for _ in class_names]
    for name, texts in descriptions.items():
        if _plain(name) not in places:
            known = ", ".join(class_names[:8]) + (", ..." if len(class_names) > 8 else "")
            raise ValueError(f"there are descriptions of {name!r}, which is no class; the classes are {known}.")
        listed = [texts] if isinstance(texts, str) else list(texts)
        for text in listed:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"a description of {name!r} is {text!r}; descriptions are non-empty strings.")
        found[places[_plain(name)]] += [text.strip() for text in listed]
    return found


def as_prompt(description: str, class_name: str, template: str, style: str) -> str:
    """A description as the text that is encoded.

    A sentence stands for itself. A feature completes the template: ``a photo of a hen, which has two legs``; the
    verb is one that fits its first word.

    >>> as_prompt("two legs", "hen", "a photo of a {label}", "auto")
    'a photo of a hen, which has two legs'
    >>> as_prompt("A hen has two legs.", "hen", "a photo of a {label}", "auto")
    'A hen has two legs.'
    """
    if style == "sentence" or (style == "auto" and _is_sentence(description, class_name)):
        return description
    words = description.split()
    first = words[0].lower()
    if first in ("a", "an", "the", "used", "made"):
        clause = f"which is {description}"
    elif first in ("has", "is", "often", "typically", "usually", "may", "can", "lives", "eats"):
        clause = f"which {description}"
    else:
        clause = f"which has {description}"
    head = template.replace("{label}", class_name).rstrip(" .")
    return f"{head}, {clause}"


def _is_sentence(description: str, class_name: str) -> bool:
    names = _plain(class_name) in _plain(description)
    return names or (description[0].isupper() and description.endswith((".", "!")) and len(description.split()) > 4)


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name).strip().lower()
