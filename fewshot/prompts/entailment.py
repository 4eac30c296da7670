"""Classes as sentences that a text entails or not: scores of pairs, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewshot.prompts.prompts import Line, Prompts

if TYPE_CHECKING:
    from episodes.source import TensorSource
    from fewshot.encoders.encoder import Encoder

_PAIRS = 65_536  # strings that are made at a time


def sentence_scores(
    texts: Sequence[str], sentences: Sequence[str], model: Encoder, *, apart: bool = False, **embedding: Any
) -> Tensor:
    """How much each text entails each sentence ``[n, L]``, float32.

    Logits of entailment, whose softmax over classes is the answer; with `apart` those less the logits of
    contradiction, whose sigmoid is the answer for each class by itself.

    Each pair is a row of the embedding cache under its own content: new classes, new texts or another choice of
    both cost only the pairs that are new.

    Args:
        texts: n of them.
        sentences: L of them.
        model: ``nli:NAME``.
        apart: each sentence by itself.
        **embedding: arguments of `fewshot.embed`.
    """
    from episodes.text_source import TextSource
    from fewshot.embedding import embed
    from fewshot.encoders.entailment import pair

    found = torch.zeros(len(texts), len(sentences))
    step = max(1, _PAIRS // max(1, len(sentences)))
    for start in range(0, len(texts), step):
        part = texts[start : start + step]
        pairs = [pair(text, sentence) for text in part for sentence in sentences]
        source = TextSource(pairs, torch.zeros(len(pairs), dtype=torch.int64), ["pair"], name="pairs")
        rows = embed(source, model, **{"storage": "float32", "progress": False, **embedding}).features
        logits = rows.float().view(len(part), len(sentences), 2)
        found[start : start + step] = logits[..., 0] - logits[..., 1] if apart else logits[..., 0]
    return found


def sentences_of(lines: Sequence[Line]) -> list[str]:
    """The distinct sentences of some classes, in order."""
    return list(dict.fromkeys(line.text for line in lines))


def weights_of(lines: Sequence[Line], classes: int) -> Tensor:
    """How much each sentence counts for each class ``[C, L]``."""
    place = {text: number for number, text in enumerate(sentences_of(lines))}
    weights = torch.zeros(classes, len(place))
    for line in lines:
        weights[line.label, place[line.text]] += line.weight
    return weights


def class_scores(
    dataset: Any, prompts: Prompts, encoder: str | Encoder, **embedding: Any
) -> tuple[TensorSource, Tensor]:
    """Texts as scores of sentences, and classes as weights of them: what ``evaluate`` takes.

    ``P(y | x, T) = softmax_y(Σ_l w_yl s_l(x))`` with the logit s of entailment of sentence l, which the template (or
    the task description T) and the class name make. The learner is ``zero-shot(scale=1.0, similarity='product')``.

    Args:
        dataset: labelled texts: a `Source`, or the name of a dataset.
        prompts: of its classes.
        encoder: ``nli:NAME``.
        **embedding: arguments of `fewshot.embed`.

    Returns:
        Rows ``[M, L]`` with the labels of the dataset, and class text ``[C, L]``.

    Raises:
        ValueError: the dataset holds no texts, or the encoder is no model of entailment.

    Reference: Yin, Hay, Roth, "Benchmarking zero-shot text classification: datasets, evaluation and entailment
    approach", EMNLP 2019, arXiv:1909.00161.
    """
    from episodes import TensorSource, load_dataset
    from episodes.any_source import as_source
    from fewshot.encoders import load_encoder

    model = load_encoder(encoder)
    if not model.pairs:
        raise ValueError(f"{model.name!r} embeds texts; embed(dataset, encoder) and Prompts.encode are for it.")
    source = as_source(load_dataset(dataset) if isinstance(dataset, str) else dataset, model)
    texts = getattr(source, "texts", None)
    if texts is None:
        raise ValueError(f"{source.name!r} holds no texts, which {model.name!r} reads.")
    lines = prompts.lines(model, **embedding)
    rows = sentence_scores(texts, sentences_of(lines), model, **embedding)
    scores = TensorSource(rows, source.labels, source.class_names, name=f"{source.name} @ {model.name}")
    return scores, weights_of(lines, len(prompts))
