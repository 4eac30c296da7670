"""Image and text towers of open_clip: CLIP, SigLIP and related models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from episodes.identity import UnknownIdentityError, describe, describe_architecture, digest_weights
from fewshot.encoders.encoder import Encoder, TextGraph
from fewshot.encoders.long_texts import check_long_text, encode_long
from fewshot.encoders.open_clip_loading import LOCAL, from_file, from_folder, from_tag
from fewshot.encoders.preprocess import Preprocess, per_channel


class OpenClipEncoder(Encoder):
    """Both towers of a contrastive model, with its own preprocessing, tokenizer and logit scale.

    Written ``open_clip:ViT-B-32/laion2b_s34b_b79k`` (weights by tag), ``open_clip:local-dir:PATH`` (a folder with
    ``open_clip_config.json`` and the weights) or ``open_clip:ViT-B-32@PATH`` (a file of weights). A file does
    not contain the preprocessing: where the trainings of that model differ in it, give ``like="tag"``.

    Short texts cost what they are long: the causal tower is run on as many positions as the longest text of the
    batch takes, which changes nothing (later positions are never attended to).

    Args:
        model: as above.
        checkpoint: file of weights.
        like: tag of the training that a checkpoint comes from; sets preprocessing and activation.
        long_text: ``"warn"`` (truncate, with a warning), ``"average"`` (encode in parts) or ``"truncate"``.

    Attributes:
        logit_scale: factor on cosines, as learned.
        logit_bias: added to them under a sigmoid (SigLIP), or None.

    Raises:
        ValueError: unknown model or tag (the message suggests near ones), or a checkpoint of unknown preprocessing.
        FileNotFoundError: no such folder or file.
        ConnectionError: weights or tokenizer are not on this machine and there is no network; found out at once.

    Reference: Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021,
    arXiv:2103.00020; Zhai, Mustafa, Kolesnikov, Beyer, "Sigmoid loss for language image pre-training", ICCV 2023,
    arXiv:2303.15343.
    """

    module: nn.Module
    copyable = True

    def __init__(
        self,
        model: str,
        checkpoint: str | None = None,
        *,
        like: str | None = None,
        long_text: str = "warn",
    ) -> None:
        check_long_text(long_text)
        import open_clip

        if model.startswith(LOCAL):
            if checkpoint or like:
                raise ValueError(f"'{model}' brings its weights and preprocessing; leave checkpoint and like out.")
            self.module, self.tokenizer = from_folder(Path(model[len(LOCAL) :]).expanduser())
        elif checkpoint is not None:
            self.module, self.tokenizer = from_file(model, Path(checkpoint).expanduser(), like)
        else:
            self.module, self.tokenizer = from_tag(model)
        self.module.eval()
        self.long_text = long_text
        self.name = f"open_clip:{model}" + (f"@{Path(checkpoint).name}" if checkpoint else "")
        settings = open_clip.transform.PreprocessCfg(**self.module.visual.preprocess_cfg)  # type: ignore
        self.transform = _preprocess(settings)
        self.logit_scale = float(self.module.logit_scale.detach().exp())  # type: ignore
        bias = getattr(self.module, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias.detach())
        self.context_length = int(self.tokenizer.context_length)
        with torch.inference_mode():
            self.dim = self.encode_texts(["a"]).shape[1]

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Architecture, weights, preprocessing and tokenizer, by value."""
        return {
            "family": "open_clip",
            "architecture": describe_architecture(self.module),
            "weights": digest_weights(self.module),
            "preprocess": describe(self.transform),
            "tokenizer": _describe_tokenizer(self.tokenizer),
            "context": self.context_length,
            "long_text": self.long_text,
        }

    def encode_images(self, batch: Tensor) -> Tensor:
        """Features of transformed images ``[B, 3, H, W] -> [B, D]``, not normalised."""
        features: Tensor = self.module.encode_image(batch)  # type: ignore[operator]
        return features

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``, not normalised."""
        capacity = self.context_length - 2  # without the start and end tokens
        return encode_long(texts, self._encode, self._count, capacity, self.long_text, self.name)

    def tower(self, kind: str) -> nn.Module | None:
        """The image tower, or the text tower."""
        if kind == "images":
            return self.module.visual  # type: ignore[return-value]
        text = getattr(self.module, "text", None)
        return text if isinstance(text, nn.Module) else TextTower(self.module)

    def graph(self, kind: str) -> nn.Module | None:
        """The image tower, or the text tower behind its tokenizer."""
        return TextGraph(self.module, self._network, ("tokens",)) if kind == "texts" else super().graph(kind)

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Numbers of tokens ``[B, L]``, of a causal tower up to the last end token of the batch."""
        tokens = self.tokenizer(list(texts))
        if _causal(getattr(self.module, "text", self.module)):
            tokens = tokens[:, : int(tokens.argmax(-1).max()) + 1]  # the end token has the largest number
        return {"tokens": tokens.to(self.device)}

    def forward_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``: `encode_texts` stops no gradient."""
        return self.encode_texts(texts)

    def word_vectors(self, text: str) -> Tensor:
        """What the text tower looks up for the tokens of a text, without positions ``[M, W]``."""
        tower = self._causal_tower()
        tokens = self.tokenizer([text])[0].to(self.device)
        with torch.no_grad():
            vectors: Tensor = tower.token_embedding(tokens[1 : int(tokens.argmax())])
        return vectors

    def encode_after(self, context: Tensor, texts: Sequence[str]) -> Tensor:
        """Features of texts behind word vectors ``[M, W]`` that all of them begin with, with gradients ``[B, D]``.

        Raises:
            ValueError: a text does not fit behind them, or the text tower is not causal.
        """
        tower, count = self._causal_tower(), len(context)
        long = [text for text in texts if self._count(text) > self.context_length - 2 - count]
        if long:
            raise ValueError(
                f"{long[0]!r} has {self._count(long[0])} tokens, and behind a context of {count} {self.name!r} reads "
                f"{max(0, self.context_length - 2 - count)}; shorten the context or the name."
            )
        tokens = self.tokenizer(list(texts)).to(self.device)
        room = tokens.new_zeros(len(tokens), count)  # number 0 is below that of the end token, by which texts are read
        tokens = torch.cat([tokens[:, :1], room, tokens[:, 1:]], dim=1)[:, : self.context_length]
        return _trimmed(tower, tokens[:, : int(tokens.argmax(-1).max()) + 1], context)

    def _causal_tower(self) -> Any:
        tower = getattr(self.module, "text", self.module)
        if not _causal(tower):
            raise ValueError(
                f"the text tower of {self.name!r} is none into which word vectors can be put; take a CLIP."
            )
        return tower

    def _encode(self, texts: list[str]) -> Tensor:
        return (self.run or self._network)(**self.tokens(texts))

    def _network(self, tokens: Tensor) -> Tensor:
        tower = getattr(self.module, "text", self.module)
        if _causal(tower):
            return _trimmed(tower, tokens)
        features: Tensor = self.module.encode_text(tokens)  # type: ignore[operator]
        return features

    def _count(self, text: str) -> int:
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None:  # one of transformers
            return len(inner(text, add_special_tokens=False)["input_ids"])
        return len(self.tokenizer.encode(text))


class TextTower(nn.Module):
    """The parts of a CLIP that run on texts, in the order in which they run; they are the CLIP's own.

    `open_clip.CLIP` keeps them side by side with its image tower, in no order.
    """

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        for name in ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection"):
            if isinstance(part := getattr(clip, name, None), (nn.Module, nn.Parameter)):
                setattr(self, name, part)


def _causal(tower: Any) -> bool:
    """Whether a position sees only those before it, and the text's vector is that at its end token."""
    mask = getattr(tower, "attn_mask", None)
    pool = getattr(tower, "text_pool_type", getattr(tower, "pool_type", ""))
    plain = getattr(tower, "cls_emb", None) is None and not getattr(tower, "use_pad_mask", False)
    return isinstance(mask, Tensor) and pool == "argmax" and plain and hasattr(tower, "token_embedding")


def _trimmed(tower: Any, tokens: Tensor, context: Tensor | None = None) -> Tensor:
    """The causal text tower on as many positions as are given.

    Args:
        tower: of open_clip.
        tokens: ``[B, L]``, the last end token among them.
        context: word vectors in the place of the tokens behind the first ``[M, W]``.
    """
    ends, length = tokens.argmax(-1), tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens).to(dtype)
    if context is not None:
        x = torch.cat([x[:, :1], context.to(dtype).expand(len(x), -1, -1), x[:, 1 + len(context) :]], dim=1)
    x = x + tower.positional_embedding[:length].to(dtype)
    x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))  # [B, L, width]
    x = x[torch.arange(x.shape[0], device=x.device), ends]  # `len` would become a constant of a graph
    projection = tower.text_projection
    if projection is None:
        return x
    projected: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return projected


def _preprocess(settings: Any) -> Any:
    import open_clip

    size = settings.size if isinstance(settings.size, int) else settings.size[0]
    square = isinstance(settings.size, int) or settings.size[0] == settings.size[1]
    if square and settings.resize_mode in ("shortest", "squash") and settings.interpolation in ("bicubic", "bilinear"):
        mean, std = per_channel(settings.mean), per_channel(settings.std)
        resize = size if settings.resize_mode == "shortest" else None
        return Preprocess(size=size, resize=resize, mean=mean, std=std, interpolation=settings.interpolation)
    return open_clip.image_transform_v2(settings, is_train=False)


def _describe_tokenizer(tokenizer: Any) -> dict[str, Any]:
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if getattr(inner, "backend_tokenizer", None) is not None:
        content = describe(inner)
    elif hasattr(inner, "encoder") and hasattr(inner, "bpe_ranks"):
        text = json.dumps([sorted(inner.encoder.items()), sorted(map(list, inner.bpe_ranks))])
        content = hashlib.sha256(text.encode()).hexdigest()
    else:
        raise UnknownIdentityError(f"the tokenizer {type(inner).__name__} does not expose its vocabulary; cache=False.")
    plain = {name: value for name, value in vars(tokenizer).items() if isinstance(value, (bool, int, str, type(None)))}
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    return {"class": type(inner).__name__, "clean": clean, "settings": plain, "content": content}
