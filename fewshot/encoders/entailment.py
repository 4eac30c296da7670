"""``nli:NAME``: whether a text entails a sentence, by sequence classifiers of transformers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from episodes.identity import describe, describe_architecture, digest_weights
from fewshot.encoders.encoder import Encoder
from fewshot.encoders.module import evaluation_mode
from fewshot.encoders.transformer_models import local_or_hub, quiet

LABELS = ("entailment", "contradiction")
_AGAINST = ("contradict", "not_entail", "not entail", "non_entail", "non-entail", "not-entail")
_INSTALL = 'models of transformers are an extra: pip install "fewshot[text]"'
_LONGEST = 100_000


class EntailmentModel(Encoder):
    """A model of natural language inference: pairs of a text and a sentence -> logits of `LABELS`.

    It embeds neither, so learners on features cannot use it. `ZeroShotClassifier` asks it about each text with a
    sentence for each class ("This text is about sport."), and `fewshot.prompts.class_scores` does so for `evaluate`.
    A pair is written as one string by `pair`; that is what the embedding cache keeps logits of.

    Args:
        model: a folder that ``save_pretrained`` wrote, with a tokenizer, or a name on the hub. Weights are read from
            safetensors alone, and no code of a model's folder is run.
        long_text: ``"warn"`` (texts are cut, with a warning) or ``"truncate"``; sentences are never cut.

    Raises:
        ValueError: the folder holds no such model, or none of its labels is called entailment.
        ImportError: transformers is missing.
        ConnectionError: the model is not on this machine and there is no network; found out at once.

    Reference: Yin, Hay, Roth, "Benchmarking zero-shot text classification: datasets, evaluation and entailment
    approach", EMNLP 2019, arXiv:1909.00161.
    """

    module: nn.Module
    pairs = True
    dim = len(LABELS)
    logit_bias = 0.0  # a class by itself is entailed or contradicted: no words for anything stand against it

    def __init__(self, model: str, *, long_text: str = "warn") -> None:
        if long_text not in ("warn", "truncate"):
            raise ValueError(f"long_text={long_text!r}; it must be 'warn' or 'truncate': an answer has no average.")
        try:
            import transformers
        except ImportError:
            raise ImportError(_INSTALL) from None
        where, safe = local_or_hub(model, "nli"), {"trust_remote_code": False}
        try:
            with quiet():
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(where, **safe)
                self.module = transformers.AutoModelForSequenceClassification.from_pretrained(
                    where, use_safetensors=True, **safe
                )
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()
            raise ValueError(
                f"'nli:{model}' holds no sequence classifier that can be read ({first[0] if first else error}). It "
                "needs config.json, model.safetensors and the tokenizer's files, as save_pretrained writes them."
            ) from error
        self.module.eval()
        config: Any = self.module.config
        self.columns = entailment_columns(config.id2label, f"nli:{model}")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token
            config.pad_token_id = self.tokenizer.pad_token_id
        self.tokenizer.truncation_side = "right"
        self.name, self.long_text = f"nli:{model}", long_text
        longest = getattr(config, "max_position_embeddings", None) or _LONGEST
        self.context_length = min(int(self.tokenizer.model_max_length), int(longest), _LONGEST)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Network, weights, tokenizer and which labels are meant, by value."""
        return {
            "family": "nli",
            "architecture": describe_architecture(self.module),
            "weights": digest_weights(self.module),
            "tokenizer": describe(self.tokenizer),
            "columns": list(self.columns),
            "context": self.context_length,
            "long_text": self.long_text,
        }

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Logits of entailment and contradiction ``[B, 2]`` of pairs, each written by `pair`.

        Raises:
            ValueError: a string is no pair.
        """
        split = [self._split(text) for text in texts]
        firsts, seconds = [first for first, _ in split], [second for _, second in split]
        if self.long_text == "warn":
            self._warn_of_long(firsts, seconds)
        tokens = self.tokenizer(
            firsts, seconds, padding=True, truncation="only_first", max_length=self.context_length, return_tensors="pt"
        )
        with evaluation_mode(self.module):
            logits: Tensor = self.module(**{name: value.to(self.device) for name, value in tokens.items()}).logits
        return logits[:, list(self.columns)]

    def _split(self, text: str) -> tuple[str, str]:
        try:
            first, second = json.loads(text)
            if isinstance(first, str) and isinstance(second, str):
                return first, second
        except ValueError:
            pass
        raise ValueError(
            f"{self.name!r} scores pairs of a text and a sentence, and has no features of {text[:40]!r} alone; take "
            "ZeroShotClassifier, `fewshot classify`, or fewshot.prompts.class_scores."
        )

    def _warn_of_long(self, firsts: Sequence[str], seconds: Sequence[str]) -> None:
        whole = self.tokenizer(list(firsts), list(seconds), verbose=False)["input_ids"]
        long = [row for row, tokens in enumerate(whole) if len(tokens) > self.context_length]
        if long:
            first = firsts[long[0]]
            warnings.warn(
                f"{len(long)} of {len(firsts)} texts exceed with their sentence the {self.context_length} tokens that "
                f"{self.name!r} reads, and are truncated: {first if len(first) <= 60 else first[:60] + '...'!r} has "
                f"{len(whole[long[0]])}.",
                stacklevel=3,
            )


def pair(text: str, sentence: str) -> str:
    """A text and a sentence as one string, from which both can be read again.

    >>> pair("It rained.", "This is about weather.")
    '["It rained.", "This is about weather."]'
    """
    return json.dumps([text, sentence], ensure_ascii=False)


def entailment_columns(id2label: dict[int, str], name: str) -> tuple[int, int]:
    """Numbers of the labels for entailment and contradiction, by their names.

    Raises:
        ValueError: one of them is not there.

    >>> entailment_columns({0: "CONTRADICTION", 1: "neutral", 2: "entailment"}, "nli:x")
    (2, 0)
    """
    labels = {int(number): str(label).lower() for number, label in id2label.items()}
    wanted = [number for number, label in labels.items() if label.startswith("entail")]
    against = [number for number, label in labels.items() if label.startswith(_AGAINST)]
    if len(wanted) != 1 or len(against) != 1:
        raise ValueError(
            f"{name!r} has the labels {list(id2label.values())}, of which one must begin with 'entail' and one with "
            "'contradict' or 'not_entail'; it is no model of entailment, or set id2label in its config.json."
        )
    return wanted[0], against[0]
