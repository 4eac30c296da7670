"""Pages of the reference, made from what is public: a new name, learner, adapter or encoder appears by itself."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from fewshot.adaptation import DomainAdapter
from fewshot.encoders import ENCODERS
from fewshot.learner import Learner
from fewshot.learners import LEARNERS
from fewshot.transforms import ENTRIES, TRANSFORMS

GROUPS = {  # of learners; each goes to the first that it fits
    "trained": ("Meta-trained", "They have weights that `fewshot.meta_train` learns on episodes of other classes."),
    "images": ("Tuning a network", "They tune a copy of a network on the pictures of each episode."),
    "words": ("With names of classes", "They use a text vector for each class; without examples they are zero-shot."),
    "transductive": ("All queries together", "A query's answer depends on the other queries of its episode."),
    "examples": ("From examples", "They learn from the labelled rows alone, and answer each query by itself."),
}


def write_reference(folder: Path, table: str) -> None:
    """Write ``index.rst`` and a page for each public module.

    Args:
        folder: where the pages go.
        table: the text of docs/api.md, whose table lists the modules and what is in each.
    """
    folder.mkdir(parents=True)
    public = dict(re.findall(r"^\| `((?:episodes|fewshot)[\w.]*)` \| (.+?) \|$", table, re.M))
    owners = {name: module for module in public for name in names_of(module)}  # a package comes after `fewshot`
    pages = {module: module_page(module, owners) for module in public}
    pages["fewshot.learners"] = title("fewshot.learners") + about("fewshot.learners") + learner_groups()
    pages["fewshot.encoders"] = title("fewshot.encoders") + about("fewshot.encoders") + encoder_families()
    pages["fewshot.transforms"] = title("Transforms") + transforms(False)
    pages["fewshot.adaptation"] += heading("Adapters") + transforms(True)
    for module, page in pages.items():
        (folder / f"{module}.rst").write_text(page, encoding="utf-8")
    lines = [title("Reference"), "What may be imported, from the docstrings.\n\n.. toctree::\n   :maxdepth: 1\n"]
    lines += [f"   {module}" for module in sorted(pages, key=lambda one: (not one.startswith("episodes"), one))]
    (folder / "index.rst").write_text("\n".join(lines) + "\n", encoding="utf-8")


def names_of(module: str) -> list[str]:
    """Public names of a module, as `tests/test_public_names.py` has them."""
    found: Any = import_module(module)
    classes = [name for name in dir(found) if inspect.isclass(getattr(found, name, None))]
    own = [name for name in classes if getattr(found, name).__module__.startswith(module)]
    return sorted(getattr(found, "__all__", own), key=str.lower)


def module_page(module: str, owners: dict[str, str]) -> str:
    """What the module says of itself, then its classes and functions; what another page has is linked."""
    page, found = title(module) + about(module), import_module(module)
    names = names_of(module) or [
        name for name, value in vars(found).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module and callable(value)
    ]  # fmt: skip
    elsewhere = [name for name in names if owners.get(name, module) != module]
    if elsewhere:
        rows = [f"- :py:obj:`{module}.{name} <{owners[name]}.{name}>`" for name in elsewhere]
        page += "Also here, explained with their package:\n\n" + "\n".join(rows) + "\n\n"
    return page + "".join(entry(module, name) for name in names if name not in elsewhere)


def entry(module: str, name: str) -> str:
    """One public name; its methods too, where it is a class."""
    value = getattr(import_module(module), name)
    if inspect.isclass(value):
        learner = issubclass(value, Learner) and value is not Learner  # whose methods are those of all learners
        own = (
            [] if learner else [one for one in vars(value) if not one.startswith("_") and not one.endswith("_request")]
        )
        members = f"   :members: {', '.join(own)}\n" if own else ""
        return f".. autoclass:: {module}.{name}\n{members}\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {module}.{name}\n\n"
    return f".. py:data:: {module}.{name}\n\n   ``{type(value).__name__}``\n\n"


def learner_groups() -> str:
    """All registered learners, by what they need."""
    groups: dict[str, list[str]] = {key: [] for key in GROUPS}
    for name in LEARNERS.names():
        cls = LEARNERS.get(name)
        if cls.__module__.startswith("fewshot."):
            groups[group_of(cls)].append(f".. autoclass:: fewshot.learners.{cls.__name__}\n\n")
    return "".join(heading(GROUPS[key][0]) + GROUPS[key][1] + "\n\n" + "".join(groups[key]) for key in reversed(GROUPS))


def group_of(cls: type[Learner]) -> str:
    """The key in `GROUPS`."""
    if cls.inputs == "images":
        return "images"
    if "text" in cls.needs:
        return "words"
    if cls.transductive:
        return "transductive"
    try:
        return "trained" if any(True for _ in cls().parameters()) else "examples"
    except TypeError:  # it needs an argument
        return "examples"


def encoder_families() -> str:
    """The factory or class of each family, under the name of its specs, and what they are made of."""
    page, classes = heading("Families"), set()
    for name in ENCODERS.names():
        found = ENCODERS.get(name)
        if not found.__module__.startswith("fewshot."):
            continue
        page += f".. rubric:: ``{name}:``\n\n"
        if inspect.isclass(found):
            classes.add(found.__name__)
            page += f".. autoclass:: fewshot.encoders.{found.__name__}\n\n"
        else:
            page += f".. autofunction:: {found.__module__}.{found.__name__}\n\n"
    page += heading("Of your own")
    rest = ("Encoder", "ModuleEncoder", "Preprocess", "SpeechEncoder", "TransformersEncoder")
    return page + "".join(entry("fewshot.encoders", name) for name in rest if name not in classes)


def transforms(adapters: bool) -> str:
    """Registered transforms, or those of them that look at the target."""
    page = "" if adapters else 'Written before a learner: ``"l2 | ridge(alpha=0.1)"``.\n\n'
    for name in TRANSFORMS.names():
        cls = TRANSFORMS.get(name)
        if name in ENTRIES and issubclass(cls, DomainAdapter) == adapters:
            page += f".. rubric:: ``{name}``\n\n.. autoclass:: {ENTRIES[name].replace(':', '.')}\n\n"
    return page


def about(module: str) -> str:
    """The docstring of a module."""
    return f".. automodule:: {module}\n   :no-members:\n\n"


def title(text: str) -> str:
    """The first heading of a page."""
    return f"{text}\n{'=' * len(text)}\n\n"


def heading(text: str) -> str:
    """A heading within a page."""
    return f"{text}\n{'-' * len(text)}\n\n"
