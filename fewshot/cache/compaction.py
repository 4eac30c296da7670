"""Merging segments: rows are compared with their checksums on the way, and the old files go last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewshot.cache.segment import Segment
from fewshot.cache.segment_writing import write_segment
from fewshot.cache.snapshot import SegmentError, Snapshot

if TYPE_CHECKING:
    from fewshot.cache.space import Space

_LOG = logging.getLogger("fewshot")
_LARGEST = 2**28  # bytes of rows in a merged segment: what a merge holds in memory
_SMALL = (2**16, 2**20, 2**23)  # segments below these sizes are merged with their like, ...
_TOGETHER = 12  # ... as soon as there are so many of one size


def compact(space: Space) -> int:
    """Merge all segments into as few as possible, duplicates left out; returns the number of rows.

    A damaged segment is set aside and the others are merged.
    """
    while True:
        segments = space._seen.segments
        keys = space.keys()
        if len(segments) < 2 and len(keys) == len(space) and all(one.sums is not None for one in segments):
            return len(keys)
        try:
            merge(space, segments, keys)
            space.refresh()
            return len(keys)
        except SegmentError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                space._leave_out(error.segment.path.name, error.__cause__)
            space._reopen()


def merge_small(space: Space) -> None:
    """Merge small segments where many have gathered; whatever hinders it, the rows are safe where they are.

    Several processes may do this at once: each removes only what it has copied whole, so at worst rows are
    kept twice until the next merge.
    """
    try:
        space.refresh()
        lower = 0
        for size in _SMALL:
            alike = [one for one in space._seen.segments if lower <= one.nbytes < size]
            if len(alike) >= _TOGETHER:
                merge(space, alike, Snapshot(alike).distinct_keys())
                space.refresh()
            lower = size
    except (SegmentError, OSError) as error:  # the next reader names a damaged one
        _LOG.debug("small segments of %s were not merged: %s", space.path, error)


def merge(space: Space, segments: Sequence[Segment], keys: NDArray[np.uint8]) -> None:
    """Write the rows of some segments anew, then remove these.

    Raises:
        SegmentError: one of them is gone or damaged; nothing was removed.
        OSError: the disk is full.
    """
    old = Snapshot(segments)
    step = max(1, _LARGEST // (space.dim * space.storage.itemsize))
    for start in range(0, len(keys), step):
        part = keys[start : start + step]
        rows: NDArray[Any] = np.empty((len(part), space.dim), space.storage)
        old.gather(old.find(part), rows.__setitem__)
        write_segment(space.path, space.id, part, rows)
    for segment in segments:
        try:
            segment.path.unlink(missing_ok=True)
        except OSError:  # on Windows while another process reads it
            pass
