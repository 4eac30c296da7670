"""The table of all learners, made from the classes themselves."""

from __future__ import annotations

import re

from fewshot.learner import Learner
from fewshot.learners import LEARNERS


def learner_table() -> str:
    """A Markdown table: each learner, what it needs, what kind it is, what it does, and its source.

    The kind: *inductive* classifies each query alone; *transductive* uses all queries of an episode together;
    *trained* has parameters that `meta_train` learns.
    """
    lines = ["| learner | needs | kind | what it does | source |", "|---|---|---|---|---|"]
    for name in LEARNERS.names():
        cls = LEARNERS.get(name)
        needs = " + ".join({"text": "class text"}.get(need, need) for need in cls.needs)
        if cls.inputs == "images":
            needs += " (images)"
        lines.append(f"| `{name}` | {needs} | {_kind(cls)} | {_summary(cls)} | {_source(cls)} |")
    return "\n".join(lines) + "\n"


def _kind(cls: type[Learner]) -> str:
    kind = "transductive" if cls.transductive else "inductive"
    try:
        trained = any(True for _ in cls().parameters())
    except TypeError:  # a learner that needs arguments, as the adapter of any scikit-learn estimator does
        trained = False
    return kind + (", trained" if trained else "")


def _summary(cls: type[Learner]) -> str:
    first = (cls.__doc__ or "").strip().split("\n\n")[0]
    return re.sub(r"\s+", " ", first).replace("|", "\\|").replace("`", "")


def _source(cls: type[Learner]) -> str:
    """Authors (the first, where they are many), year and arXiv number of the reference."""
    reference = re.search(r"References?: (.+?)(?:\n\n|$)", cls.__doc__ or "", re.S)
    if not reference:
        return ""
    text = re.sub(r"\s+", " ", reference[1]).split("; ")[0]
    authors, _, rest = text.partition(', "')
    people = authors.split(", ")
    who = people[0] + (" et al." if len(people) > 2 else f" and {people[1]}" if len(people) == 2 else "")
    year = re.search(r"\b(?:19|20)\d\d\b", rest)
    paper = re.search(r"arXiv:(\d{4}\.\d{4,5})", rest)
    when = f" {year[0]}" if year else ""
    return f"[{who}{when}](https://arxiv.org/abs/{paper[1]})" if paper else who + when
