"""`Settings`: how rows are computed, and the space of the cache that follows from it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

import torch

from episodes.audio_source import AudioSource
from episodes.device import choose_device, processors
from episodes.identity import UnknownIdentityError, describe
from episodes.inputs import check_whole
from episodes.source import StoredSource, tower_of
from fewshot.embedding.forward import Forward, choose_precision
from fewshot.embedding.loading import first_input
from fewshot.embedding.plan import Augment, Plan, crop_and_flip
from fewshot.encoders import CHOICES
from fewshot.encoders.device_decoding import device_decoder


@dataclass(frozen=True)
class Settings:
    """The arguments of `embed` that say how rows are computed; workers of an engine get them as they are.

    Raises:
        ValueError: one is out of range.
    """

    batch_size: int | Literal["auto"] = "auto"
    device: str | torch.device = "auto"
    precision: str = "auto"
    storage: str = "float16"
    views: int = 0
    augment: Augment | None = None
    seed: int = 0
    workers: int | Literal["auto"] = "auto"
    on_error: str = "raise"
    runtime: str = "auto"

    def __post_init__(self) -> None:
        if self.storage not in ("float16", "float32"):
            raise ValueError(f"storage={self.storage!r}; it must be 'float16' or 'float32'.")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={self.on_error!r}; it must be 'raise' or 'skip'.")
        if self.runtime not in CHOICES["runtime"]:
            raise ValueError(f"runtime={self.runtime!r}; it must be one of {', '.join(CHOICES['runtime'])}.")
        if check_whole("views", self.views, 0) == 0 and self.augment is not None:
            raise ValueError(f"views={self.views}; it must be 0, or at least 1 where augment is given.")
        for name, value in (("workers", self.workers), ("batch_size", self.batch_size)):
            if value != "auto":
                check_whole(name, value)
        choose_precision(self.precision, choose_device(self.device, float64=False))

    @property
    def stop_at_failure(self) -> bool:
        """Whether the first item that cannot be embedded ends it."""
        return self.on_error == "raise"

    @property
    def fixed_batch_size(self) -> int | None:
        """Items in a forward pass; None: found on the work."""
        return None if self.batch_size == "auto" else int(self.batch_size)

    @property
    def threads(self) -> int:
        """That read and decode files in this process."""
        return processors() if self.workers == "auto" else int(self.workers)

    def runtime_of(self, encoder: Any) -> str:
        """What is to compute an encoder's network: as given here, else as the encoder itself says."""
        return str(encoder.runtime) if self.runtime == "auto" else self.runtime

    def plan(self, source: StoredSource, encoder: Any) -> Plan:
        """The content keys of a source, for rows of an encoder.

        Raises:
            ValueError: views of texts or samples, or mirrored ones of recordings.
        """
        if self.views and tower_of(source) != "images":
            raise ValueError(f"views={self.views}, but {source.name!r} holds {tower_of(source)}; views are of images.")
        if self.views and self.augment is None and isinstance(source, AudioSource):
            raise ValueError(
                f"views={self.views}, but {source.name!r} holds recordings, and the usual views are mirrored, which "
                "plays them backwards; give augment=, a function of a log-mel picture and random numbers."
            )
        return Plan(source, self.views, self._augmentation, self.seed, self.threads, encoder.scale_of)

    def forward(self, encoder: Any, precision: str | None = None) -> Forward:
        """The forward pass of an encoder by torch; the encoder is moved to the device.

        Args:
            encoder: to compute with.
            precision: the one that the caller of a worker has chosen; None: this one.
        """
        device = choose_device(self.device, held=encoder.device, float64=False)
        chosen = precision or choose_precision(self.precision, device)
        held = encoder if encoder.device == device else encoder.to(device)
        decoder = None if self.views else device_decoder(held, device)  # views are made of pictures that Pillow decodes
        return Forward(held, device, chosen, getattr(torch, self.storage), decoder=decoder)

    def space_spec(self, source: StoredSource, forward: Forward, *, once: bool = False) -> dict[str, Any]:
        """What `EmbeddingCache.space` is asked for: JSON values that name weights, preprocessing and precision.

        The runtime is among them only where its rows differ from torch's by more than the storage can tell, which is
        found on the control items (`fewshot.runtimes.agreement`). The decoder of pictures is, where it is not Pillow.

        Args:
            source: only its kind counts; its first row is embedded where the encoder does not know its `dim`.
            forward: whose encoder and precision count.
            once: the space will not be kept, so an encoder without an identity will do.

        Raises:
            fewshot.cache.UnfingerprintableError: the encoder has no identity that holds across processes.
        """
        encoder = forward.encoder
        try:
            identity = forward.fingerprint
        except (UnknownIdentityError, TypeError):
            if not once:
                raise
            identity = {"once": uuid.uuid4().hex}
        return {
            "encoder": identity, "kind": tower_of(source), "precision": forward.precision,
            "dim": encoder.dim or int(forward(first_input(source, encoder)).shape[1]),
            "storage": self.storage, "augment": _describe_augmentation(self._augmentation),
            **({} if forward.network is None or forward.network.shares_space else {"runtime": forward.runtime}),
            **decoder_identity(source, forward),
        }  # fmt: skip

    @property
    def _augmentation(self) -> Augment | None:
        return (self.augment or crop_and_flip) if self.views else None


def decoder_identity(source: StoredSource, forward: Forward) -> dict[str, str]:
    """What the space of a source's rows says of their decoder: nothing, where it is Pillow."""
    if forward.decoder is None or tower_of(source) != "images":
        return {}
    return {"decoding": forward.decoder.kind}


def _describe_augmentation(augment: Augment | None) -> Any:
    if augment is None:
        return None
    described = describe(augment)
    if augment is crop_and_flip:  # the module it was in when the first views were cached
        described = {**described, "library": "fewshot.embedding.views.crop_and_flip"}
    return described
