"""`ModuleEncoder`: any `nn.Module` with its transform as an encoder, at any layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from episodes.identity import UnknownIdentityError, describe, describe_architecture, digest_weights
from episodes.pixels import as_input
from fewshot.encoders.encoder import Encoder
from fewshot.encoders.preprocess import Preprocess
from fewshot.registry import unknown

POOLS = ("mean", "max", "cls", "flatten")
_evaluating: dict[nn.Module, tuple[int, list[nn.Module]]] = {}  # modules in use, and what to restore
_lock = Lock()


class ModuleEncoder(Encoder):
    """Features of a network: its output, or that of one of its layers, pooled to a vector.

    The module runs in evaluation mode (batch normalisation with its running statistics), whatever mode it
    is in, and keeps that mode. It is not copied: train it on, and its fingerprint follows its weights.

    Args:
        module: images ``[B, 3, H, W]`` -> features.
        transform: PIL image -> tensor ``[3, H, W]`` (or what `episodes.pixels.as_input` makes one of); None: pixels
            0..1 as they are.
        layer: name of the submodule whose output is taken (as in ``module.named_modules()``); what comes
            after it is not computed. None: the output of the module.
        pool: how maps ``[B, D, H, W]`` and tokens ``[B, T, D]`` become vectors: ``"mean"``, ``"max"``,
            ``"cls"`` (the first token) or ``"flatten"``. None: the mean of maps; tokens need a choice.
        version: stands for what cannot be fingerprinted (a lambda, a class without source); change it
            whenever that changes.
        name: what messages call it; by default the class of the module.
        dim: features D of a row; found by a trial where it is not given.

    Raises:
        ValueError: unknown layer (the message suggests near ones) or pool.

    Example:
        >>> encoder = ModuleEncoder(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), layer="0")
        >>> encoder.encode_images(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 8])
    """

    module: nn.Module
    copyable = True

    def __init__(
        self,
        module: nn.Module,
        transform: Callable[[Any], Tensor] | None = None,
        *,
        layer: str | None = None,
        pool: str | None = None,
        version: str | None = None,
        name: str | None = None,
        dim: int | None = None,
    ) -> None:
        if pool is not None and pool not in POOLS:
            raise ValueError(f"pool={pool!r}; it must be one of {', '.join(POOLS)}, or None.")
        if layer is not None:
            layers = [known for known, _ in module.named_modules() if known]
            if layer not in layers:
                raise ValueError(unknown("layer", layer, layers))
        self.module, self.transform = module, transform
        self.layer, self.pool, self.version = layer, pool, version
        self.name = name or type(module).__name__
        self._dim = dim

    @property
    def dim(self) -> int | None:  # type: ignore[override]
        """Features D of a row; None where images of unknown size decide it."""
        if self._dim is None and self.transform is not None:
            self._dim = self._dim_of_blank(self.transform)
        return self._dim

    def _dim_of_blank(self, transform: Callable[[Any], Any]) -> int | None:
        """D by a blank image, where the transform makes all images of one size; else it depends on the data."""
        from PIL import Image

        try:
            wide, tall = (as_input(transform(Image.new("RGB", size))) for size in ((256, 192), (96, 128)))
            if wide.shape != tall.shape:
                return None
            with torch.inference_mode():
                return self.encode_images(wide.unsqueeze(0).to(self.device)).shape[1]
        except Exception:  # the first image of the data raises the same error, with its name
            return None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Architecture, weights, layer, pooling and preprocessing, by value."""
        own = type(self).__module__.partition(".")[0] == "fewshot"
        return {
            "family": "module",
            **({} if own else {"encoder": self._identity(type(self), describe)}),  # a class that overrides something
            "architecture": self._identity(self.module, describe_architecture),
            "weights": digest_weights(self.module),
            "layer": self.layer,
            "pool": self.pool,
            "preprocess": self._identity(self.transform, _describe_transform),
            "version": self.version,
        }

    def encode_images(self, batch: Tensor) -> Tensor:
        """Features of transformed images ``[B, 3, H, W] -> [B, D]``."""
        own = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), batch.dtype)
        if batch.is_floating_point():
            batch = batch.to(own)  # a module in half precision takes no other
        with evaluation_mode(self.module):
            return self.forward(batch)

    def forward(self, batch: Tensor) -> Tensor:
        """The same in the mode that the module is in, as training needs it ``[B, D]``."""
        output = self.module(batch) if self.layer is None else self._at_layer(batch, self.layer)
        return pooled(output, self.pool, self.name)  # [B, D]

    def _at_layer(self, batch: Tensor, layer: str) -> Any:
        caught: list[Any] = []

        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            caught.append(output)
            raise _LayerReached

        stop.transient = True  # type: ignore[attr-defined]  # it is not part of what the module computes
        handle = self.module.get_submodule(layer).register_forward_hook(stop)
        try:
            self.module(batch)
        except _LayerReached:
            return caught[0]
        finally:
            handle.remove()
        raise ValueError(f"layer {layer!r} of {self.name!r} is not used in its forward pass; choose another.")

    def _identity(self, value: Any, describer: Callable[[Any], Any]) -> Any:
        try:
            return describer(value)
        except UnknownIdentityError:
            if self.version is None:
                raise
            return "see version"


class _LayerReached(Exception):
    """Ends a forward pass at the requested layer."""


def pooled(output: Any, pool: str | None, name: str) -> Tensor:
    """A layer's output as one vector per image ``[B, D]``.

    Raises:
        ValueError: the output is no tensor, or its shape leaves the choice of pooling open.
    """
    if not isinstance(output, Tensor):
        raise ValueError(
            f"{name!r} gives a {type(output).__name__}, not a tensor; choose a layer= whose output is one, "
            "or wrap the module."
        )
    if output.ndim == 2 or pool == "flatten":
        return output.flatten(1)
    if output.ndim == 4 and pool in (None, "mean", "max"):
        return output.amax((2, 3)) if pool == "max" else output.mean((2, 3))
    if output.ndim == 3 and pool in ("mean", "max", "cls"):
        return {"mean": output.mean(1), "max": output.amax(1), "cls": output[:, 0]}[pool]
    if output.ndim == 3:
        raise ValueError(f"{name!r} gives tokens {list(output.shape)}; choose pool='mean', 'max' or 'cls'.")
    raise ValueError(
        f"{name!r} gives {list(output.shape)}, which pool={pool!r} does not make a vector; "
        "use pool='flatten' or another layer."
    )


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Run with batch normalisation and dropout frozen, then restore the mode of every submodule.

    Threads may share a module: the first one in freezes it, and the last one out restores it.
    """
    with _lock:
        users, training = _evaluating.get(module, (0, []))
        if not users:
            training = [part for part in module.modules() if part.training]
        for part in training:
            part.training = False
        _evaluating[module] = users + 1, training
    try:
        yield
    finally:
        with _lock:
            users, training = _evaluating.pop(module)
            if users > 1:
                _evaluating[module] = users - 1, training
            else:
                for part in training:
                    part.training = True


def _describe_transform(transform: Any) -> Any:
    if isinstance(transform, Preprocess):  # by its values alone: rewording its class must not empty caches
        return {"preprocess": asdict(transform)}
    return None if transform is None else describe(transform)
