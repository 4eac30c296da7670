"""The rows of a training as an encoder takes them: decoded once where they fit, else when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from episodes.device import processors
from episodes.pictures import as_picture, as_values
from episodes.progress import progress_bar
from episodes.source import StoredSource, TensorSource, as_float, tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.encoders.preprocess import Preprocess

_MEMORY = 4 * 2**30  # bytes of decoded pictures that are kept


class Inputs:
    """Batches of a dataset for an encoder.

    Args:
        items: M rows.
        encoder: whose transform they go through.
        progress: show a bar while they are decoded.

    Raises:
        ValueError: an item cannot be read; it is named.
    """

    def __init__(self, items: StoredSource, encoder: Encoder, progress: bool = False) -> None:
        self.items, self.encoder, self.progress = items, encoder, progress
        self._kept: Tensor | None = None
        self._streams = tower_of(items) == "texts"  # whether rows are read whenever they are needed

    def first(self, count: int, device: torch.device) -> Any:
        """The first rows, without reading the others."""
        if tower_of(self.items) == "texts":
            return self.items.texts[:count]  # type: ignore[attr-defined]
        return self._decoded(range(min(count, len(self.items)))).to(device)

    def take(self, index: Tensor, device: torch.device) -> Any:
        """Rows ``[B]`` -> what the encoder is given: ``[B, *x]``, or B strings."""
        if self._kept is None and not self._streams:
            self._keep()
        if self._kept is not None:
            return self._kept[index.to(self._kept.device)].to(device)
        if tower_of(self.items) == "texts":
            return [self.items.texts[row] for row in index.tolist()]  # type: ignore[attr-defined]
        return self._decoded(index.tolist()).to(device)

    def _keep(self) -> None:
        """Decode all rows, if they fit."""
        if self.encoder.transform is None and isinstance(self.items, TensorSource):
            self._kept = as_float(self.items.features)
            return
        first = self._load(0)
        if first.nbytes * len(self.items) > _MEMORY:
            self._streams = True
            return
        kept = first.new_empty(len(self.items), *first.shape)
        with progress_bar(len(self.items), 0, "pictures", show=self.progress) as bar:
            for part in torch.arange(len(self.items)).split(256):
                kept[part] = self._decoded(part.tolist(), first.shape)
                bar.update(len(part))
        self._kept = kept

    def _decoded(self, rows: Sequence[int], shape: torch.Size | None = None) -> Tensor:
        with ThreadPoolExecutor(max(1, min(processors(), len(rows)))) as pool:
            pictures = list(pool.map(self._load, rows))
        for row, picture in zip(rows, pictures, strict=True):
            if picture.shape != (shape or pictures[0].shape):
                raise ValueError(
                    f"{self.items.describe(row)} becomes {list(picture.shape)} but others "
                    f"{list(shape or pictures[0].shape)}; the encoder needs a transform that crops all to one size."
                )
        return torch.stack(pictures)

    def _load(self, row: int) -> Tensor:
        try:
            content = self.items.read(row)
            if self.encoder.transform is None:
                return as_values(content)
            return torch.as_tensor(self.encoder.transform(as_picture(content)))
        except Exception as error:  # damaged files raise anything, from SyntaxError to struct.error
            raise ValueError(f"cannot read {self.items.describe(row)}: {error}") from error


def as_inputs(rows: Tensor, encoder: Encoder) -> Tensor:
    """Images ``[B, *x]``, pixels in 0..1 or of 8 bits, as a network takes them: through its encoder's transform.

    Raises:
        ValueError: rows that are no images, or of sizes that the transform leaves different.
    """
    if encoder.transform is not None and len(rows):
        at_once = _normalised(rows, encoder.transform)
        if at_once is None:
            source = TensorSource(rows, torch.zeros(len(rows), dtype=torch.int64), ["row"], name="rows", kind="images")
            at_once = Inputs(source, encoder).take(torch.arange(len(rows)), rows.device)
        rows = at_once
    weight = None if encoder.module is None else next(encoder.module.parameters(), None)
    return as_float(rows) if weight is None else as_float(rows).to(weight.dtype)


def _normalised(rows: Tensor, transform: Any) -> Tensor | None:
    """A batch of pictures that have the transform's size already, to the same bit; None: of others."""
    if type(transform) is not Preprocess or tuple(rows.shape[1:]) != (3, transform.size, transform.size):
        return None
    if transform.resize not in (None, transform.size):
        return None
    pixels = rows.detach()
    if pixels.is_floating_point():
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):  # true of NaN, too
            return None
        pixels = (pixels.float() * 255).round()
    elif pixels.dtype != torch.uint8:
        return None
    mean, std = (torch.tensor(value, device=rows.device).view(3, 1, 1) for value in (transform.mean, transform.std))
    return (pixels.float() / 255 - mean) / std


class Activations:
    """Rows that were computed beforehand ``[M, D]``, in the shape in which they cross a cut."""

    def __init__(self, features: Tensor, shape: Sequence[int]) -> None:
        self.features, self.shape = features, tuple(shape)

    def take(self, index: Tensor, device: torch.device) -> Tensor:
        """Rows ``[B]`` -> ``[B, *z]``."""
        return self.features[index.to(self.features.device)].view(len(index), *self.shape).to(device)
