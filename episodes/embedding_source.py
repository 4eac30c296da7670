"""`EmbeddingSource`: a table of embeddings that remembers what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from episodes.identity import digest, digest_array
from episodes.source import TensorSource


class EmbeddingSource(TensorSource):
    """Features ``[M, D]`` of a dataset under an encoder.

    Args:
        features: ``[M, D]``, in memory or memory-mapped.
        labels: ``[M]``, from 0.
        class_names: one name per class.
        keys: content keys of each row ``[M, V, 16]``, uint8.
        space: identity of encoder, preprocessing and precision, or None where they have none.
        name: what messages and results call it.
        report: what was found, computed and skipped.
    """

    def __init__(
        self,
        features: Tensor | ArrayLike,
        labels: Tensor,
        class_names: Sequence[str],
        *,
        keys: NDArray[np.uint8],
        space: str | None,
        name: str,
        report: dict[str, Any],
    ) -> None:
        # The cache refuses rows that are not finite, so they need not be read for that once more.
        super().__init__(features, labels, class_names, name=name, kind="features", check_finite=False, report=report)
        self.keys, self.space = keys, space
        self._made = self._state()

    def select(self, rows: Tensor | ArrayLike, name: str | None = None) -> TensorSource:
        """Some of the rows, with the same classes."""
        index = torch.as_tensor(rows)
        index = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        part = super().select(index, name)
        if isinstance(part, EmbeddingSource):
            part.keys = self.keys[index.cpu().numpy()]
        return part

    def fingerprint(self) -> str:
        """A digest of what the rows are made of (items, encoder) and their labels.

        Rows computed anew on another device differ in their last bits, yet they are the same task. Where the
        features are no longer those that were embedded (replaced, or written to), their content counts instead.
        """
        if self.space is None or self._state() != self._made:
            return super().fingerprint()
        return digest(["embedding", self.space, self.keys, self.labels])

    def _with(self, features: Tensor) -> TensorSource:
        part = super()._with(features)
        if isinstance(part, EmbeddingSource):
            untouched = self._state() == self._made
            part.space, part._made = (self.space if untouched else None), part._state()
        return part

    def _state(self) -> Any:
        """By what a change of the features is noticed; a map for reading cannot change, so its address will do."""
        at = self.features.data_ptr()
        return at if self._mapped is not None and at == self._mapped.ctypes.data else digest_array(self.features)
