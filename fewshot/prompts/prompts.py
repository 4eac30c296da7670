"""`Prompts`: from class names to text vectors, each string encoded once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.prompts.descriptions import STYLES, as_prompt, load_descriptions
from fewshot.prompts.random_words import random_features
from fewshot.prompts.task import TaskWeights, candidates, weigh_templates
from fewshot.prompts.templates import load_templates

if TYPE_CHECKING:
    from fewshot.encoders.encoder import Encoder

_CHUNK = 8192  # vectors averaged at a time
_LEAST = 1e-4  # a template with less weight is left out: it would be encoded for nothing


class Line(NamedTuple):
    """One sentence for a class."""

    text: str
    label: int
    weight: float  # those of a class sum to one


class Prompts:
    """Sentences for each class, and how much each counts.

    ``t_c = normalise(Σ_l w_l normalise(E(l)))`` over the sentences l of class c. They come from templates, from
    descriptions of the classes, or both; a task description chooses and weighs templates.

    Args:
        class_names: the classes; underscores are read as spaces.
        templates: name of a set (``"openai"``), a template, a list, or a JSON file: see `load_templates`. By default
            ``a photo of a {label}``, the bare name for encoders of texts alone, and ``This text is about {label}.``
            for models of entailment (of which a task chooses one template, the likeliest); with
            descriptions or a task, those alone.
        descriptions: class name -> sentences or features, or a JSON file of that. A feature ("two legs") completes
            the first template; a sentence stands for itself.
        description_style: ``"sentence"``, ``"feature"``, or ``"auto"``: a sentence is what names its class or has a
            capital and a full stop.
        task: what the task is, in words: templates of a pool are weighed by how well they fit it
            (`weigh_templates`). With `templates` given, only those are weighed, by text similarity.
        random_words: pairs of random-word and random-letter features, the control for descriptions.
        seed: of the random words.

    Raises:
        ValueError: no classes, two of one name, an empty name or description, a template without ``{label}``.

    >>> prompts = Prompts(["barn_owl", "crow"], "a photo of a {label}")
    >>> [line.text for line in prompts.lines()]
    ['a photo of a barn owl', 'a photo of a crow']
    """

    def __init__(
        self,
        class_names: Sequence[str],
        templates: str | os.PathLike[str] | Sequence[str] | None = None,
        *,
        descriptions: Mapping[str, Sequence[str] | str] | str | os.PathLike[str] | None = None,
        description_style: str = "auto",
        task: str | None = None,
        random_words: int = 0,
        seed: int = 0,
    ) -> None:
        self.class_names = _clean(class_names)
        if description_style not in STYLES:
            raise ValueError(f"description_style={description_style!r}; it must be one of {', '.join(STYLES)}.")
        if random_words < 0:
            raise ValueError(f"random_words={random_words}; it must be at least 0.")
        if task is not None and not task.strip():
            raise ValueError("the task description is empty; leave it out, or describe what the classes are about.")
        self.templates = None if templates is None else load_templates(templates)
        self.descriptions = None if descriptions is None else load_descriptions(descriptions, self.class_names)
        self.description_style, self.task = description_style, task
        self.random_words, self.seed = random_words, seed

    def lines(self, encoder: Encoder | str | None = None, **embedding: Any) -> list[Line]:
        """All sentences with class and weight.

        Args:
            encoder: what a task description is compared in; without one the overlap of words alone weighs.
            **embedding: as for `encode`.
        """
        model = _load(encoder)
        kind = "images" if model is None or model.encodes("images") else "texts"
        templates, weights = self._weighted(kind, model, embedding)
        first = templates[0] if templates else {"images": "a photo of a {label}", "texts": "{label}"}[kind]
        features = random_features(self.class_names, self.random_words, self.seed) if self.random_words else []
        found = []
        for label, name in enumerate(self.class_names):
            own = [] if self.descriptions is None else self.descriptions[label]
            texts = [(as_prompt(text, name, first, self.description_style), 1.0) for text in own]
            if self.descriptions is None or self.templates is not None or self.task is not None or not own:
                # A class without descriptions falls back on templates rather than on nothing.
                plain = templates or [first]
                share = weights if templates else [1.0]
                scale = len(plain) if own or features else 1.0  # each description counts as one template
                texts += [
                    (template.replace("{label}", name), weight * scale)
                    for template, weight in zip(plain, share, strict=True)
                ]
            texts += [(as_prompt(feature, name, first, "feature"), 1.0) for feature in features]
            total = sum(weight for _, weight in texts)
            found += [Line(text, label, weight / total) for text, weight in texts]
        return found

    def encode(self, encoder: Encoder | str, *, lines: Sequence[Line] | None = None, **embedding: Any) -> Tensor:
        """Unit vectors of the classes ``[C, D]``, float32, in host memory.

        Every distinct string is encoded once, ever: the embedding cache keeps it, so a changed list encodes only what
        is new. Memory is bounded however many classes and templates there are.

        Args:
            encoder: with a tower for texts.
            lines: instead of `lines(encoder)`.
            **embedding: arguments of `fewshot.embed`: cache, device, batch_size, progress, ...
        """
        model = _load(encoder)
        assert model is not None
        known = list(lines) if lines is not None else self.lines(model, **embedding)
        texts = list(dict.fromkeys(line.text for line in known))
        rows = encode_strings(texts, model, **embedding)
        place = {text: row for row, text in enumerate(texts)}
        vectors = torch.zeros(len(self.class_names), rows.shape[1])
        for start in range(0, len(known), _CHUNK):
            part = known[start : start + _CHUNK]
            units = normalize(rows[torch.tensor([place[line.text] for line in part])].float(), dim=-1)
            weights = torch.tensor([line.weight for line in part], dtype=torch.float32).unsqueeze(1)
            vectors.index_add_(0, torch.tensor([line.label for line in part]), weights * units)
        return normalize(vectors, dim=-1)

    def encode_each(self, encoder: Encoder | str, **embedding: Any) -> tuple[Tensor, list[str]]:
        """Unit vectors of each class under each template ``[C, T, D]``, and the templates; no descriptions.

        Args:
            encoder: with a text tower, or its spec.
            **embedding: ``cache``, ``device`` and other options of `fewshot.embed`.

        Raises:
            ValueError: there are descriptions or random words, which classes do not share.
        """
        model = _load(encoder)
        assert model is not None
        if self.descriptions is not None or self.random_words:
            raise ValueError("encode_each is of templates that all classes share; leave descriptions out.")
        kind = "images" if model.encodes("images") else "texts"
        templates, _ = self._weighted(kind, model, embedding)
        texts = [template.replace("{label}", name) for name in self.class_names for template in templates]
        unique = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(unique)}
        rows = encode_strings(unique, model, **embedding)[torch.tensor([place[text] for text in texts])]
        return normalize(rows.float(), dim=-1).view(len(self.class_names), len(templates), -1), templates

    def weigh(self, encoder: Encoder | str | None = None, **embedding: Any) -> TaskWeights:
        """The weights that the task description gives to the pool.

        Raises:
            ValueError: there is no task description.
        """
        if self.task is None:
            raise ValueError("these prompts have no task description; give task='...'.")
        model = _load(encoder)
        kind = "images" if model is None or model.encodes("images") else "texts"
        if model is None:
            return weigh_templates(self.task, kind)
        offered = [entry.template for entry in candidates(self.task, kind)]
        return weigh_templates(self.task, kind, *self._vectors(offered, model, embedding))

    def _weighted(self, kind: str, model: Encoder | None, embedding: dict[str, Any]) -> tuple[list[str], list[float]]:
        """Templates and their weights, which sum to one."""
        if model is not None and model.pairs:
            return self._hypothesis()
        if self.task is None:
            default = None if self.descriptions is not None else ("photo" if kind == "images" else "name")
            templates = self.templates or (load_templates(default) if default else [])
            return templates, [1 / max(1, len(templates))] * len(templates)
        if self.templates is not None:
            if model is None:
                return self.templates, [1 / len(self.templates)] * len(self.templates)
            task, vectors = self._vectors(self.templates, model, embedding)
            cosine = normalize(vectors, dim=-1) @ normalize(task, dim=-1)
            spread = cosine.std() if len(cosine) > 1 else torch.ones(())
            return self.templates, ((cosine - cosine.mean()) / spread.clamp(min=1e-6)).softmax(0).tolist()
        found = self.weigh(model, **embedding)
        kept = [number for number, weight in enumerate(found.weights) if weight >= _LEAST]
        total = sum(found.weights[number] for number in kept)
        return [found.templates[number] for number in kept], [found.weights[number] / total for number in kept]

    def _hypothesis(self) -> tuple[list[str], list[float]]:
        """As `_weighted`, for a model of entailment, which has no vectors, and for which each template costs a pass."""
        if self.templates is not None:
            return self.templates, [1 / len(self.templates)] * len(self.templates)
        if self.task is not None:
            found = weigh_templates(self.task, "texts")
            if found.overlap.any():
                return [found.templates[int(found.weights.argmax())]], [1.0]
        return ([] if self.descriptions is not None and self.task is None else load_templates("text")), [1.0]

    def _vectors(self, templates: Sequence[str], model: Encoder, embedding: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Vector of the task ``[D]``, and the mean vector of each template over the classes ``[T, D]``."""
        assert self.task is not None
        names = self.class_names[:64]  # enough to represent a template
        texts = [template.replace("{label}", name) for template in templates for name in names]
        unique = list(dict.fromkeys([self.task, *texts]))
        rows = normalize(encode_strings(unique, model, **embedding).float(), dim=-1)
        place = {text: row for row, text in enumerate(unique)}
        each = rows[torch.tensor([place[text] for text in texts])].view(len(templates), len(names), -1)
        return rows[0], each.mean(1)

    def __len__(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    def __repr__(self) -> str:
        parts = [f"{len(self)} classes"]
        if self.templates is not None:
            parts.append(f"{len(self.templates)} templates")
        if self.descriptions is not None:
            parts.append(f"{sum(map(len, self.descriptions))} descriptions")
        if self.task is not None:
            parts.append(f"task={self.task!r}")
        return f"Prompts({', '.join(parts)})"


def encode_strings(texts: Sequence[str], encoder: Encoder, **embedding: Any) -> Tensor:
    """Features of strings ``[M, D]``, float32, through the embedding cache."""
    from episodes.text_source import TextSource
    from fewshot.embedding import embed

    source = TextSource(list(texts), torch.zeros(len(texts), dtype=torch.int64), ["text"], name="prompts")
    given = {"storage": "float32", "progress": False, **embedding}
    return embed(source, encoder, **given).features


def _load(encoder: Encoder | str | None) -> Encoder | None:
    if encoder is None:
        return None
    from fewshot.encoders import load_encoder

    model = load_encoder(encoder)
    if not model.encodes("texts"):
        raise ValueError(
            f"{model.name!r} has no tower for texts, so it cannot read class names; use one that has: 'open_clip:...', "
            "'text:...' or 'fewshot:tiny-clip'."
        )
    return model


def _clean(class_names: Sequence[str]) -> list[str]:
    if isinstance(class_names, str):
        raise ValueError(f"class_names is the string {class_names!r}; give a list of names.")
    names = [str(name).replace("_", " ").strip() for name in class_names]
    if not names:
        raise ValueError("there are no class names; give at least one.")
    if "" in names:
        raise ValueError(f"class {names.index('')} has an empty name.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"two classes are called {twice[0]!r}; no sentence could distinguish them. Rename one.")
    return names
