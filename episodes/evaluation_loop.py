"""The loop over episodes: drawn in blocks, gathered in chunks, given to each learner, scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from episodes.cell import Cell
from episodes.progress import progress_bar
from episodes.results import ResultsFile
from episodes.samplers.sampler import Sampler
from episodes.scoring import OutOfMemory, record, score
from episodes.source import Source, TensorSource

_LOG = logging.getLogger("episodes")
_BLOCK = 1024  # episodes drawn, moved and kept at a time
# Rows gathered at a time. On a CPU they should stay in the cache between being gathered and being used.
_CHUNK_BYTES = {"cpu": 8 * 2**20}
_CHUNK_BYTES_ACCELERATOR = 256 * 2**20
_SAVE_SECONDS = 10.0


def run(
    cells: list[Cell],
    sampler: Sampler,
    episodes: int,
    device: torch.device,
    text: Tensor | None,
    chunk: int | None,
    file: ResultsFile | None,
    progress: bool,
) -> None:
    """Fill the scores of all cells, each from its first missing episode."""
    if not cells:
        return
    start = min(cell.done for cell in cells)
    resident = {id(cell.source): _on_device(cell.source, device) for cell in cells}
    row_bytes = {held: source[torch.zeros(1, dtype=torch.int64)].nbytes for held, source in resident.items()}
    buffers: dict[int, Tensor | None] = {}
    text = text.to(device) if text is not None else None
    saved = time.monotonic()
    with torch.no_grad(), progress_bar(episodes, start, "episodes", show=progress) as bar:
        for first in range(start, episodes, _BLOCK):
            count = min(_BLOCK, episodes - first)
            block = sampler.draw(first, count)
            parts = [(places, part.to(device)) for places, part in block.groups()]
            for group in _by_source(cells):
                held = id(group[0].source)
                scores = {cell.name: torch.zeros(count, dtype=torch.float64, device=device) for cell in group}
                for places, drawn in parts:
                    rows, here = drawn.rows, places.to(device)
                    size, done = chunk or _chunk_size(row_bytes[held], rows.shape[1], device), 0
                    while done < len(places):
                        part = slice(done, min(done + size, len(places)))
                        try:
                            gathered = _gather(resident[held], rows[part], buffers, size)  # [E, S + Q + U, *x]
                            episode, targets = drawn[part].episode(gathered, text)
                            for cell in group:
                                if first + int(places[part][-1]) >= cell.done:
                                    scores[cell.name][here[part]] = score(cell, episode, targets)
                        except OutOfMemory:
                            if size == 1:
                                raise
                            size, chunk = size // 2, size // 2
                            buffers.clear()
                            _LOG.warning("out of memory: continuing with %d episodes at a time.", size)
                            continue
                        done = part.stop
                for cell in group:
                    record(cell, scores[cell.name], block, first)
            bar.update(count)
            if time.monotonic() - saved > _SAVE_SECONDS:
                save_progress(cells, file)
                saved = time.monotonic()


def save_progress(cells: list[Cell], file: ResultsFile | None) -> None:
    """Write what has been computed so far, so that an interrupted run resumes."""
    for cell in cells:
        if file is not None and cell.done and cell.query_count is not None and not file.has(cell.key, cell.done):
            file.save_progress(cell.key, cell.scores[: cell.done], cell.query_count, cell.predictions)


@contextmanager
def evaluation_mode(cells: list[Cell]) -> Iterator[None]:
    """Dropout and the like are off during the evaluation, and as they were afterwards."""
    modules = [cell.learner for cell in cells if isinstance(cell.learner, torch.nn.Module)]
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():  # each for itself: a part may be held in another mode than the whole
            part.training = mode


def _gather(source: Source, rows: Tensor, buffers: dict[int, Tensor | None], size: int) -> Tensor:
    if not isinstance(source, TensorSource):
        return source[rows].to(rows.device)
    if id(source) not in buffers or ((out := buffers[id(source)]) is not None and len(out) < rows.numel()):
        buffers[id(source)] = source.buffer(size * rows.shape[1])
    return source.gather(rows, buffers[id(source)])


def _by_source(cells: Iterable[Cell]) -> list[list[Cell]]:
    groups: dict[int, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(id(cell.source), []).append(cell)
    return list(groups.values())


def _chunk_size(row_bytes: int, rows: int, device: torch.device) -> int:
    budget = _CHUNK_BYTES.get(device.type, _CHUNK_BYTES_ACCELERATOR)
    return max(1, min(_BLOCK, budget // max(1, row_bytes * rows)))


def _on_device(source: Source, device: torch.device) -> Source:
    return source.to(device) if hasattr(source, "to") else source
