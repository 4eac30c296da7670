"""`Encoder`: a frozen backbone, and all that the embedding cache needs of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from episodes.jpeg import jpeg_size
from fewshot.encoders.domain import Domain
from fewshot.encoders.preprocess import is_plain


class Encoder:
    """Turns images, texts, sounds or several of them into feature rows.

    A subclass sets the attributes, and defines `encode_images`, `encode_texts` or `encode_sounds`; that is all `embed`
    needs. It computes in the precision of what it is given (`embed` wraps it in autocast) and must treat
    each row by itself: the features of an image may not depend on the other images of its batch.

    Attributes:
        name: what messages and results call it; its spec string where it has one.
        module: the network, or None; the encoder is on the device of its parameters.
        transform: PIL image (RGB) -> tensor ``[3, H, W]``, as `encode_images` takes it. None: images are
            given as float pixels 0..1, and rows that are tensors already are given as they are.
        dim: features D of a row, or None where it depends on the data.
        domain: what its pictures looked like (`fewshot.encoders.domain.Domain`), where that is known; classifiers say
            when they are asked about others.
        rate: samples a second of the recordings that `encode_sounds` takes.
        shortest: how many samples such a recording must have.
        logit_scale: factor on cosines with class text under which they were trained, or None.
        pairs: whether it scores pairs of a text and a sentence, and embeds neither.
        source_head: classifier of the classes that it was trained on, features ``[M, D]`` -> logits ``[M, Z]``, or
            None; features do not depend on it.
        pretrained: whether its weights were learned; False where they are random, an architecture to be trained.
        decoding: ``"reduced"``: a large JPEG is decoded at the smallest scale that still has twice the pixels a side
            that a `Preprocess` resizes it to (see its `reduction`); ``"full"``: at full size; ``"device"``: at full
            size by torchvision, on the device that computes (nvJPEG on a GPU; `fewshot.encoders.device_decoding`). Rows
            of reduced pictures have content keys of their own, and those of torchvision's decoders spaces of their own,
            so none is served for another.
        runtime: what computes `module` where `embed` is not told otherwise: ``"auto"``, ``"torch"``, ``"compile"`` or
            ``"onnx"`` (see `fewshot.runtimes`). It is no part of the fingerprint: rows that differ are kept apart.
        run: tensors -> features ``[B, D]``, in the place of `graph`; on copies that `fewshot.runtimes` makes.
        copyable: whether threads may compute side by side, each with a copy of the encoder (`copy.copy`) whose network
            is other objects with the same tensors; `embed` does so on a CPU. That holds where features are made by
            `module`, and by nothing else that changes while they are made (a counter, a buffer that is written to).
            Each class says it for itself, as a subclass may keep what copies must not share.
    """

    name: str = "encoder"
    module: nn.Module | None = None
    transform: Callable[[Any], Tensor] | None = None
    dim: int | None = None
    rate: int = 16000
    shortest: int = 1
    logit_scale: float | None = None
    pairs: bool = False
    domain: Domain | None = None
    source_head: nn.Module | None = None
    pretrained: bool = True
    decoding: str = "reduced"
    runtime: str = "auto"
    run: Callable[..., Tensor] | None = None
    copyable: bool = False

    @property
    def computed_by(self) -> Encoder:
        """The encoder that computes the rows: itself, or one whose rows it gives as they are."""
        return self

    def scale_of(self, content: bytes | Tensor) -> int:
        """How many times smaller than it is a picture, as stored, is decoded: 1, 2, 4 or 8."""
        if self.decoding != "reduced" or not is_plain(self.transform) or not isinstance(content, bytes):
            return 1
        size = jpeg_size(content)
        return 1 if size is None else int(self.transform.reduction(*size))

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that the features depend on, as JSON values: weights, architecture, output, preprocessing.

        Raises:
            fewshot.cache.UnfingerprintableError: something has no identity that holds across processes.
        """
        raise TypeError(f"{type(self).__name__} does not define fingerprint; embed it with cache=False.")

    def encode_images(self, batch: Tensor) -> Tensor:
        """Features of transformed images ``[B, 3, H, W] -> [B, D]``."""
        raise TypeError(f"{self.name!r} does not encode images; {self._instead()}")

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of strings ``[B, D]``."""
        raise TypeError(f"{self.name!r} does not encode texts; {self._instead()}")

    def encode_sounds(self, sounds: Sequence[Tensor]) -> Tensor:
        """Features of recordings of one channel at `rate`, each ``[n]`` of its own length: ``[B, D]``."""
        raise TypeError(f"{self.name!r} does not encode sounds; {self._instead()}")

    def encodes(self, kind: str) -> bool:
        """Whether it has a tower for rows of this kind: ``"images"``, ``"texts"`` or ``"sounds"``."""
        tower = {"images": "encode_images", "texts": "encode_texts", "sounds": "encode_sounds"}[kind]
        return getattr(type(self), tower) is not getattr(Encoder, tower)

    def tower(self, kind: str) -> nn.Module | None:
        """The part of `module` that runs on rows of this kind, where it can be trained; else None.

        An encoder of texts that gives one also defines `forward_texts`.
        """
        return self.module if kind == "images" and self.encodes(kind) else None

    def graph(self, kind: str) -> nn.Module | None:
        """What another runtime can compute of it: a module from tensors to features ``[B, D]``; None: nothing.

        Of images the tensor is what `encode_images` takes; of texts they are what `tokens` gives, by name.
        """
        return ImageGraph(self) if self.tower(kind) is not None and kind == "images" else None

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as the tensors ``[B, L]`` that `graph` takes."""
        raise TypeError(f"{type(self).__name__} does not define tokens; its text tower is computed by torch.")

    def forward_texts(self, texts: Sequence[str]) -> Tensor:
        """`encode_texts` with gradients, in the mode that the network is in, as training needs it ``[B, D]``."""
        raise TypeError(f"{type(self).__name__} does not define forward_texts; its text tower cannot be trained.")

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        if self.module is not None:
            for tensor in chain(self.module.parameters(), self.module.buffers()):  # no further than the first
                return tensor.device
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Encoder:
        """Move it to a device, in place as modules do, and return it."""
        if self.module is not None:
            self.module.to(device)
        return self

    def __sklearn_clone__(self) -> Encoder:
        """Itself: it is frozen, and may weigh gigabytes."""
        return self

    def _instead(self) -> str:
        known = [kind for kind in ("images", "texts", "sounds") if self.encodes(kind)]
        return f"it encodes {' and '.join(known) or 'nothing'}."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dim={self.dim}, {self.device})"


class ImageGraph(nn.Module):
    """`Encoder.encode_images` as a module."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network = encoder.module
        self._encode = encoder.encode_images

    def forward(self, images: Tensor) -> Tensor:
        """Features of transformed images ``[B, D]``."""
        return self._encode(images)


class TextGraph(nn.Module):
    """A function of a text encoder, from tokens to features, as a module.

    Args:
        network: whose parameters it uses.
        encode: tensors by name -> ``[B, D]``.
        names: of the tensors, in the order in which `forward` takes them.
    """

    def __init__(self, network: nn.Module, encode: Callable[..., Tensor], names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)
        self._encode = encode

    def forward(self, *tokens: Tensor) -> Tensor:
        """Features of tokens ``[B, L]``: ``[B, D]``."""
        return self._encode(**dict(zip(self.names, tokens, strict=True)))
