"""Language models of transformers as encoders of texts: BERT, RoBERTa, GPT and their kin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.identity import describe, describe_architecture, digest_weights
from fewshot.encoders.checkpoint import require_network
from fewshot.encoders.encoder import Encoder, TextGraph
from fewshot.encoders.long_texts import check_long_text, encode_long
from fewshot.encoders.module import evaluation_mode
from fewshot.encoders.speech_models import SPEECH, SpeechEncoder

POOLS = ("mean", "cls", "last")
_INSTALL = 'models of transformers are an extra: pip install "fewshot[text]"'
_LONGEST = 100_000  # tokenizers without a limit say 10**30


def transformers_model(
    model: str, *, pool: str | None = None, layer: int | None = None, long_text: str = "warn"
) -> Encoder:
    """A language model (BERT, GPT, ...; see `TransformersEncoder`) or speech model (wav2vec2, ..., `SpeechEncoder`).

    Args:
        model: a folder that ``save_pretrained`` wrote, or a name on the hub.
        pool: of texts: ``"mean"``, ``"cls"`` or ``"last"``; sounds have the mean.
        layer: number of the hidden state taken; None: the last.
        long_text: of texts: ``"warn"``, ``"average"`` or ``"truncate"``.

    Raises:
        ValueError: an option that the model has no use for, or a folder that holds no such model.
        ImportError: transformers is missing.
        ConnectionError: the model is not on this machine and there is no network.
    """
    try:
        import transformers
    except ImportError:
        raise ImportError(_INSTALL) from None
    where = local_or_hub(model)
    try:
        kind = transformers.AutoConfig.from_pretrained(where, trust_remote_code=False).model_type
    except (OSError, ValueError, KeyError):
        kind = ""  # the encoder of texts says what a folder must hold
    if kind not in SPEECH:
        return TransformersEncoder(model, pool=pool, layer=layer, long_text=long_text)
    if pool not in (None, "mean") or long_text != "warn":
        given = "long_text" if pool in (None, "mean") else "pool"
        raise ValueError(f"{given} is for texts, but 'transformers:{model}' is a speech model; leave it out.")
    with quiet():
        return SpeechEncoder(model, where, layer=layer)


class TransformersEncoder(Encoder):
    """``transformers:NAME`` or ``transformers:FOLDER``: a language model's last hidden states, pooled to one vector.

    Padding has no part in any pooling, on whichever side a model's tokenizer would put it. Texts without any token get
    zeros.

    Args:
        model: a folder that ``save_pretrained`` wrote, with a tokenizer, or a name on the hub. Weights are read from
            safetensors alone, and no code of a model's folder is run.
        pool: ``"mean"`` of the tokens, ``"cls"`` (the first), ``"last"``; None: the last token of decoders (GPT), which
            alone has seen all others, the mean of encoders (BERT).
        layer: number of the hidden state taken, 0 (the word vectors) to the number of layers, or negative from the
            end; None: the last.
        long_text: ``"warn"`` (cut, with a warning), ``"average"`` (encode in parts) or ``"truncate"``.

    Raises:
        ValueError: an unknown pool or layer, or a folder that holds no such model.
        ImportError: transformers is missing.
        ConnectionError: the model is not on this machine and there is no network.

    Reference: Devlin, Chang, Lee, Toutanova, "BERT: pre-training of deep bidirectional transformers for language
    understanding", NAACL 2019; Radford et al., "Language models are unsupervised multitask learners", 2019.
    """

    module: nn.Module
    copyable = True

    def __init__(
        self, model: str, *, pool: str | None = None, layer: int | None = None, long_text: str = "warn"
    ) -> None:
        check_long_text(long_text)
        if pool is not None and pool not in POOLS:
            raise ValueError(f"pool={pool!r}; it must be one of {', '.join(POOLS)}, or None.")
        try:
            import transformers
        except ImportError:
            raise ImportError(_INSTALL) from None
        where = local_or_hub(model)
        safe: dict[str, Any] = {"trust_remote_code": False}
        try:
            with quiet():
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(where, **safe)
                self.module = transformers.AutoModel.from_pretrained(where, use_safetensors=True, **safe)
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()
            raise ValueError(
                f"'transformers:{model}' holds no language model that can be read ({first[0] if first else error}). It "
                "needs config.json, model.safetensors and the tokenizer's files, as save_pretrained writes them."
            ) from error
        self.module.eval()
        config: Any = self.module.config
        if self.tokenizer.pad_token is None:  # decoders have none; what stands there is masked
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"
        layers = int(config.num_hidden_layers)
        if layer is not None and not -layers - 1 <= layer <= layers:
            raise ValueError(f"layer={layer}; 'transformers:{model}' has hidden states 0..{layers}.")
        self.layer = layer
        self.pool = pool or ("last" if _is_causal(config) else "mean")
        self.name, self.long_text, self.dim = f"transformers:{model}", long_text, int(config.hidden_size)
        longest = getattr(config, "max_position_embeddings", None) or _LONGEST
        self.context_length = min(int(self.tokenizer.model_max_length), int(longest), _LONGEST)
        self._marks = int(self.tokenizer.num_special_tokens_to_add())

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Network, weights, tokenizer, pooling and layer, by value."""
        return {
            "family": "transformers",
            "architecture": describe_architecture(self.module),
            "weights": digest_weights(self.module),
            "tokenizer": describe(self.tokenizer),
            "pool": self.pool,
            "layer": self.layer,
            "context": self.context_length,
            "long_text": self.long_text,
        }

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``."""
        with evaluation_mode(self.module):
            return self.forward_texts(texts)

    def tower(self, kind: str) -> nn.Module | None:
        """The model, for texts."""
        return self.module if kind == "texts" else None

    def graph(self, kind: str) -> nn.Module | None:
        """The model behind its tokenizer."""
        names = list(self.tokens(["a"])) if kind == "texts" else []
        return TextGraph(self.module, self._network, names) if names else None

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Numbers and masks of tokens ``[B, L]``."""
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.context_length, return_tensors="pt"
        )
        return {name: value.to(self.device) for name, value in tokens.items()}

    def forward_texts(self, texts: Sequence[str]) -> Tensor:
        """The same with gradients, in the mode that the model is in ``[B, D]``."""
        capacity = self.context_length - self._marks
        return encode_long(texts, self._encode, self._count, capacity, self.long_text, self.name)

    def _encode(self, texts: list[str]) -> Tensor:
        tokens = self.tokens(texts)
        mask = tokens["attention_mask"]
        if not mask.any(1).all():  # a model may not be asked about nothing
            rows = torch.zeros(len(texts), self.dim or 0, device=self.device)
            known = mask.any(1)
            if known.any():
                rows[known] = self._encode([text for text, k in zip(texts, known, strict=True) if k])
            return rows
        return (self.run or self._network)(**tokens)

    def _network(self, **tokens: Tensor) -> Tensor:
        found = self.module(**tokens, output_hidden_states=self.layer is not None)
        states = found.last_hidden_state if self.layer is None else found.hidden_states[self.layer]  # [B, T, D]
        return pooled_tokens(states, tokens["attention_mask"], self.pool)

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def pooled_tokens(states: Tensor, mask: Tensor, pool: str) -> Tensor:
    """One vector for each text ``[B, D]`` from hidden states ``[B, T, D]`` and what is no padding ``[B, T]``.

    >>> pooled_tokens(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]), "mean").tolist()
    [[2.0]]
    """
    if pool == "mean":
        weights = mask.to(states.dtype).unsqueeze(-1)  # [B, T, 1]
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    places = torch.arange(mask.shape[1], device=mask.device)
    first, last = mask.argmax(1), torch.where(mask > 0, places, -1).amax(1).clamp(min=0)
    return states[torch.arange(states.shape[0], device=states.device), first if pool == "cls" else last]


def _is_causal(config: Any) -> bool:
    """Whether a position sees only those before it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as causal
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as masked

    kind = config.model_type
    return bool(getattr(config, "is_decoder", False)) or (kind in causal and kind not in masked)


def local_or_hub(model: str, family: str = "transformers") -> str:
    """A local folder, or a name on the hub whose files are here or can be fetched."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder)
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise FileNotFoundError(f"there is no folder {model!r}; give one that save_pretrained wrote, or a hub name.")
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT

    if not isinstance(try_to_load_from_cache(model, "config.json"), str):
        require_network(
            f"{ENDPOINT}/{model}", f"'{family}:{model}'",
            f"Save model and tokenizer elsewhere with save_pretrained, and give the folder: '{family}:FOLDER'.",
        )  # fmt: skip
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's bars and remarks on weights that a model without its head does not need."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
