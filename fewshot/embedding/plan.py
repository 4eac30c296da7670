"""`Plan`: which rows of a dataset have to be computed, by the content of each and of its augmented views."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from episodes.pictures import is_deep
from episodes.sounds import is_recording
from episodes.source import StoredSource, TensorSource, tower_of

Scale = Callable[[bytes | Tensor], int]  # how many times smaller than it is a picture, as stored, is decoded
Augment = Callable[[Any, np.random.Generator], Any]  # (PIL image, random numbers) -> PIL image
_HASHED_TOGETHER = 64  # files that a thread reads in one go


class UnreadableItemError(ValueError):
    """An item cannot be embedded.

    Attributes:
        reason: which, and why, without what `embed` offers to do about it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} Repair or remove it, or skip such rows: on_error='skip', or --skip-damaged.")
        self.reason = reason


def full_size(content: bytes | Tensor) -> int:
    """The `Scale` of pictures that are decoded as they are."""
    return 1


@dataclass(frozen=True)
class Work:
    """What is to be embedded: which rows, in which views, under which keys.

    Attributes:
        source: where the rows are read.
        rows: row of each unit of work ``[n]``.
        keys: its content key ``[n, 16]``.
        fields: what its key holds besides the content (the view), ``[n]``.
        augment: makes a view of an image, or None.
        scale: see `Scale`.
    """

    source: StoredSource
    rows: list[int]
    keys: NDArray[np.uint8]
    fields: list[dict[str, int]]
    augment: Augment | None = None
    scale: Scale = full_size

    def __len__(self) -> int:
        """Units of work n."""
        return len(self.rows)


class Plan:
    """The content key of every row, and what follows from comparing them with a cache.

    Args:
        source: M rows.
        views: augmented views of each row V, or 0 for the plain row (V = 1).
        augment: makes a view.
        seed: of the views.
        threads: that read files.
        scale: of the encoder that will compute the rows; views are made of whole pictures.

    Attributes:
        keys: ``[M, V, 16]``, uint8.
        failures: row -> why it cannot be embedded, as far as is known.
        duplicates: rows (views of rows) whose content an earlier one has already.
    """

    def __init__(
        self,
        source: StoredSource,
        views: int,
        augment: Augment | None,
        seed: int,
        threads: int,
        scale: Scale = full_size,
    ) -> None:
        self.source, self.augment = source, augment
        self.scale = full_size if views or tower_of(source) == "texts" else scale
        self.fields = [{"view": view, "seed": seed} for view in range(views)] if views else [{}]
        self.keys: NDArray[np.uint8] = np.zeros((len(source), len(self.fields), 16), np.uint8)
        self.failures: dict[int, str] = {}
        if isinstance(source, TensorSource) or tower_of(source) == "texts":  # in memory: threads would only cost time
            self._hash(range(len(source)))
        else:
            starts = range(0, len(source), _HASHED_TOGETHER)
            parts = [range(start, min(start + _HASHED_TOGETHER, len(source))) for start in starts]
            if len(parts) <= 1:  # threads would take longer to start
                self._hash(range(len(source)))
            else:
                with ThreadPoolExecutor(max(1, min(threads, len(parts)))) as pool:
                    for _ in pool.map(self._hash, parts):
                        pass
        readable = np.ones(len(source), dtype=bool)
        readable[list(self.failures)] = False
        units = np.flatnonzero(np.repeat(readable, len(self.fields)))
        names = np.ascontiguousarray(self.keys.reshape(-1, 16)[units]).view("V16").reshape(-1)
        self.units = np.sort(units[np.unique(names, return_index=True)[1]])  # the first with each content
        self.duplicates = len(units) - len(self.units)

    def whole(self) -> Work:
        """Every row in all its views, whatever a cache has."""
        views = len(self.fields)
        rows = [row for row in range(len(self.source)) for _ in range(views)]
        return Work(
            self.source, rows, self.keys.reshape(-1, 16), self.fields * len(self.source), self.augment, self.scale
        )

    def missing(self, space: Any) -> Work:
        """What the space lacks, each content once, without what has failed."""
        flat, views = self.keys.reshape(-1, 16), len(self.fields)
        units = self.units
        if len(units):
            units = units[~np.asarray(space.contains(flat[units]))]
        if self.failures:
            units = units[~np.isin(units // views, list(self.failures))]
        rows = (units // views).tolist()
        fields = [self.fields[unit % views] for unit in units.tolist()]
        return Work(self.source, rows, flat[units], fields, self.augment, self.scale)

    def present(self, space: Any) -> NDArray[np.bool_]:
        """Which rows the space has, with all their views ``[M]``; notes why the others failed."""
        found: NDArray[np.bool_] = space.contains(self.keys.reshape(-1, 16))
        there: NDArray[np.bool_] = np.logical_and.reduce(found.reshape(self.keys.shape[:2]), axis=1)
        there[list(self.failures)] = False
        reasons = {self.keys[row].tobytes(): reason for row, reason in self.failures.items()}
        for row in np.flatnonzero(~there).tolist():
            if row not in self.failures and self.keys[row].tobytes() in reasons:
                self.failures[row] = reasons[self.keys[row].tobytes()]
        return there

    def read(self, space: Any, rows: NDArray[np.bool_], memory_limit: int) -> Tensor | NDArray[Any]:
        """The features of those rows ``[m, D]``; of several views, their mean."""
        keys = self.keys[rows]  # [m, V, 16]
        if keys.shape[1] == 1:
            return space.table(np.ascontiguousarray(keys[:, 0]), memory_limit_bytes=memory_limit)
        total = space.read(np.ascontiguousarray(keys[:, 0]))
        for view in range(1, keys.shape[1]):
            total += space.read(np.ascontiguousarray(keys[:, view]))
        return total.div_(keys.shape[1])

    def explain(self, row: int) -> str:
        """Why a row failed, naming the item."""
        name, reason = self.source.describe(row), self.failures[row]
        return reason if name in reason else f"cannot embed {name}: {reason.rstrip('.')}."

    def refuse_failures(self) -> None:
        """End at rows that cannot be embedded.

        Raises:
            UnreadableItemError: there are such; the first is named.
        """
        if self.failures:
            more = f" {len(self.failures) - 1} others fail as well." if len(self.failures) > 1 else ""
            raise UnreadableItemError(self.explain(min(self.failures)) + more)

    def _hash(self, rows: range) -> None:
        for row in rows:
            try:
                content = self.source.read(row)
                scale = self.scale(content)
                for view, fields in enumerate(self.fields):
                    self.keys[row, view] = np.frombuffer(content_key(self.source, content, fields, scale), np.uint8)
            except (OSError, ValueError) as error:  # a file that is missing, or no picture
                self.failures[row] = str(error)


def content_key(source: StoredSource, content: bytes | Tensor, fields: dict[str, int], scale: int = 1) -> bytes:
    """The key under which the features of a row are kept, from its content as stored.

    Pictures of more than 8 bits a channel have a field more: their grey levels were once read differently. So have
    pictures that are decoded smaller than they are: they were once decoded at full size, and still are on request.
    """
    from fewshot.cache.fingerprint import item_key

    if isinstance(content, Tensor):
        return item_key("tensor", content, **fields)
    if tower_of(source) == "texts":
        return item_key("text", content, **fields)
    if is_recording(content):
        return item_key("recording", content, **fields)
    more = ({"levels": 1} if is_deep(content) else {}) | ({"scale": scale} if scale > 1 else {})
    return item_key("file", content, **fields, **more)


def crop_and_flip(image: Any, generator: np.random.Generator) -> Any:
    """A random part of an image, 50-100 % of its area at 3/4 to 4/3 of its shape, mirrored half of the time.

    Args:
        image: PIL image.
        generator: of the random numbers.

    Reference: Szegedy, Liu, Jia et al., "Going deeper with convolutions", CVPR 2015, arXiv:1409.4842.
    """
    from PIL import Image

    width, height = image.size
    area, shape = generator.uniform(0.5, 1.0), np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
    part_width = min(width, max(1, round(width * np.sqrt(area * shape))))
    part_height = min(height, max(1, round(height * np.sqrt(area / shape))))
    left = int(generator.integers(width - part_width + 1))
    top = int(generator.integers(height - part_height + 1))
    image = image.crop((left, top, left + part_width, top + part_height))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else image


def view_generator(key: NDArray[np.uint8]) -> np.random.Generator:
    """Random numbers of one view: its key holds content, view and seed, so it depends on nothing else."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.tobytes(), "little")))
