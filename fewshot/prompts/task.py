"""A task description weighs templates: the task decides how class names become sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.prompts.pool import Entry, pool, roles_of

SHARPNESS = 10.0  # of the overlap of words, against that of text similarity in standard deviations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STOP = _set("""
a an the of in on at to for by with and or is are was be it its this that these those which what whose who how please
classify classifying recognise recognize identify tell name determine decide find predict assign say into according
based each every one given i we you they do does can should whether image images picture pictures photo photos
photograph photographs text texts sentence sentences object objects thing things
""")
_PICTURES = "photo|photograph|picture|image|drawing|sketch|painting|scan|x-ray|view|shot|frame|rendering|icon|print"
_OF = re.compile(rf"\b((?:[\w\-]+ ){{0,3}}(?:{_PICTURES}))e?s? of ((?:[\w\-]+ ){{0,2}}[\w\-]+)")
_KIND_OF = re.compile(
    r"\b(?:type|kind|species|breed|sort|class|variety|model|make|categor(?:y|ie))s? of ((?:[\w\-]+ ){0,1}[\w\-]+)"
)
# In "the texture of the shape" the shape is the thing that has it, not what the task is about.
_OWNER = re.compile(r"(?<=\w )of (?:the|a|an|each|every) (?:shape|figure|form)s?\b")
_VAGUE = _set("""
object objects thing things item items image images picture pictures photo photos them it scene scenes shape shapes
color colors colour colours text texts class classes
""")


class TaskWeights(NamedTuple):
    """Templates with their weights, and why.

    Attributes:
        templates: sentences with ``{label}``.
        weights: sum to one ``[T]``.
        overlap: words that task and template share, 0..1 ``[T]``.
        similarity: of their texts, in standard deviations ``[T]``; zeros without text vectors.
        reason: one sentence.
    """

    templates: list[str]
    weights: NDArray[np.float64]
    overlap: NDArray[np.float64]
    similarity: NDArray[np.float64]
    reason: str


def candidates(task: str, kind: str = "images") -> list[Entry]:
    """The pool, and templates that use the task's own words for its medium and its kind of things.

    ``"night camera-trap pictures of owls"`` adds ``a night camera-trap picture of a {label}, a type of owl``.
    """
    entries = pool(kind)
    words = _words(task)
    if kind == "images":
        lowered = " ".join(re.findall(r"[\w\-]+", task.lower()))
        medium, thing = "", ""
        if found := _OF.search(lowered):
            medium, thing = _without_stop(found[1]), _thing(found[2])
        if found := _KIND_OF.search(lowered):
            thing = _thing(found[1]) or thing
        roles = roles_of(words)
        own = frozenset(words)
        if thing:
            entries += [Entry(f"a photo of a {{label}}, a type of {thing}", roles | own),
                        Entry(f"a photo of a {thing}: a {{label}}", roles | own)]  # fmt: skip
        if medium and len(medium.split()) > 1:
            article = "an" if medium[0] in "aeiou" else "a"
            entries.append(Entry(f"{article} {medium} of a {{label}}", roles | own))
            if thing:
                entries.append(Entry(f"{article} {medium} of a {{label}}, a type of {thing}", roles | own))
    return entries


def weigh_templates(
    task: str,
    kind: str = "images",
    task_vector: Tensor | None = None,
    template_vectors: Tensor | None = None,
) -> TaskWeights:
    """How well each template of the pool fits a task; deterministic, offline, and explained.

    ``w = softmax(10 J + z)`` over templates: J is the overlap (intersection over union, rare words counting for
    more) of the content words of task and template, synonyms and roles taken together; z the similarity of
    their text vectors in standard deviations. A task without words in common with any template selects none: the
    templates that fit any task then share the weight.

    Args:
        task: ``"the colour of the background"``, ``"species of owls"``, ...
        kind: ``"images"`` or ``"texts"``.
        task_vector: of the description ``[D]``.
        template_vectors: mean vector of each candidate over the classes ``[T, D]``, in their order.

    Raises:
        ValueError: an empty description, or vectors that do not fit the candidates.
    """
    if not task.strip():
        raise ValueError("the task description is empty; leave it out, or describe what the classes are about.")
    entries = candidates(task, kind)
    words = _words(_OWNER.sub(" ", task.lower()))
    wanted = roles_of(words) | frozenset(words)
    overlap = _overlap(wanted, [entry.roles | frozenset(_words(entry.template)) for entry in entries])
    similarity = np.zeros(len(entries))
    if task_vector is not None and template_vectors is not None:
        if len(template_vectors) != len(entries):
            raise ValueError(f"{len(template_vectors)} template vectors for {len(entries)} candidates of {task!r}.")
        cosine = normalize(template_vectors.double(), dim=-1) @ normalize(task_vector.double(), dim=-1)
        similarity = ((cosine - cosine.mean()) / cosine.std().clamp(min=1e-6)).cpu().numpy()
    if not overlap.any():
        general = np.array([not entry.roles for entry in entries], float)
        reason = f"nothing in {task!r} names a role that the pool knows: the general templates, evenly"
        weights = general / general.sum()
    else:
        logits = SHARPNESS * overlap + similarity
        weights = torch.from_numpy(logits).softmax(0).numpy()
        roles = ", ".join(sorted(roles_of(words))) or "words of the task"
        reason = f"{task!r} asks for: {roles}"
    return TaskWeights([entry.template for entry in entries], weights, overlap, similarity, reason)


def _overlap(wanted: frozenset[str], offered: Sequence[frozenset[str]]) -> NDArray[np.float64]:
    """Weighted intersection over union: a word counts by how few templates have it."""
    total = len(offered)

    def weight(words: frozenset[str]) -> float:
        return sum(np.log(1 + total / (1 + sum(word in other for other in offered))) for word in words)

    known = frozenset().union(*offered)
    wanted = wanted & known  # words that are in no template cannot select one
    return np.array([weight(wanted & words) / max(weight(wanted | words), 1e-9) if words else 0.0 for words in offered])


def _words(text: str) -> list[str]:
    """Content words, lower case, plurals cut."""
    found = re.findall(r"[a-z][a-z\-]*[a-z]", text.lower().replace("{label}", " "))
    return [word for word in found if word not in _STOP]


def _without_stop(phrase: str) -> str:
    words = phrase.split()
    while words and words[0] in _STOP and words[0] not in _PICTURES.split("|"):
        words.pop(0)
    return " ".join(words)


def _thing(phrase: str) -> str:
    words = [word for word in phrase.split() if word not in ("a", "an", "the", "different", "various", "many", "all")]
    for stop in ("in", "on", "at", "from", "taken", "by", "with", "and", "is", "are", "shown", "seen"):
        if stop in words:
            words = words[: words.index(stop)]
    if not words or words[-1] in _VAGUE:
        return ""
    last = words[-1]
    if last.endswith("ies") and len(last) > 4 and last != "species":
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "sses", "xes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")) and last != "species":
        last = last[:-1]
    return " ".join([*words[:-1], last])
