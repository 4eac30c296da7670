"""JSON Lines of results: a damaged line costs that line only, and what was appended is there or an error is raised."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes import schema
from episodes.files import open_regular, sync_folder, write_atomically
from episodes.identity import digest_array
from episodes.predictions import Predictions, load_predictions, predictions_path
from episodes.result import Result, longest
from episodes.result_fields import SCHEMA

_LOG = logging.getLogger("episodes")
_LONGEST_LINE = 2**28  # bytes, which hold the scores of ten million episodes
# A line of ours that was cut or damaged still shows one of our fields, or is a piece of a list of numbers, or holds the
# zeros that a crash leaves.
_OURS = re.compile(
    rb'"(schema|key|learner|recipe|episodes|mean|interval|seconds|environment|provenance|query_count|correct|scores|checksum)"'
    rb"|^[-\d.,\se\]}]+$|\0"
)


_CHECKED = b'"checksum": "'


def read_lines(path: Path) -> Iterator[Result]:
    """The cells of a JSON Lines file, read as bytes.

    Lines that were cut by a crash, are no text or no JSON any more, or do not agree with the checksum that they carry
    are left out with a warning: a bad line costs that line.

    Raises:
        ValueError: a line without a checksum (of version 0.1, or made by hand) is sound JSON but no sound result, or
            was never written by this library; the message names file, line and field.
    """
    number, ours = 0, False
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        ours = ours or bool(_OURS.search(line)) or b'{"schema"'.startswith(line)
        try:
            data = json.loads(line.decode(), parse_constant=_refuse_constant)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            foreign = not _OURS.search(line) and _CHECKED not in line
            if isinstance(error, json.JSONDecodeError) and line.endswith(b"\n") and foreign:
                raise ValueError(f"{where}: not JSON ({error.msg}); not a results file?") from None
            what = "damaged" if line.endswith(b"\n") else "incomplete (an interrupted write)"
            _LOG.warning("%s is %s and left out: %s.", where, what, error)
            continue
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            if _CHECKED not in line:
                raise ValueError(f"{where}: JSON that is no result: {reason}.") from None
            _LOG.warning("%s is damaged and left out: %s.", where, reason)
            continue
        try:
            cell = Result.from_json(data, where)
        except ValueError as error:
            if _CHECKED not in line:
                raise
            _LOG.warning("%s is damaged or was edited, and left out: %s", where, error)
            continue
        kept = predictions_path(path, cell.key)
        yield cell.with_kept(kept) if kept.is_file() else cell
    if number and not ours and path.read_bytes().strip():
        raise ValueError(f"{path} has {number:,} lines, and none is a result; not a results file?")


class ResultsFile:
    """A JSON Lines file that a run adds to, and from which the same run resumes.

    Each finished cell is one appended line, flushed to disk, so several processes may share the file. A cell
    in progress has a small side file ``.<name>.<key>.partial`` that is replaced as it grows, and removed when its line
    is on the disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._cells = {cell.key: cell for cell in longest(read_lines(self.path))} if self.path.exists() else {}

    def finished(self, key: str) -> Result | None:
        """The cell with that key, if the file has it."""
        return self._cells.get(key)

    def has(self, key: str, episodes: int) -> bool:
        """Whether the file has that cell with so many episodes at least."""
        return key in self._cells and self._cells[key].episodes >= episodes

    def progress(self, key: str) -> tuple[NDArray[np.float64], int | None]:
        """Scores known for that key, of a shorter or an interrupted run, and their `query_count`."""
        cell = self.finished(key)
        known, count = (cell.scores, cell.query_count) if cell else (np.zeros(0), None)
        side = self._side(key)
        if side.exists():
            try:
                scores, partial_count = _read_partial(side)
            except (ValueError, OSError) as error:
                _LOG.warning("%s; the work it stands for is done again.", error)
            else:
                if len(scores) > len(known):
                    return scores, partial_count
        return known, count

    def save_progress(
        self, key: str, scores: NDArray[np.float64], query_count: int, predictions: Predictions | None = None
    ) -> None:
        """Keep the scores of a cell in progress, and its predictions."""
        if predictions is not None:
            predictions.save(self.kept_at(key), key)
        data = {"schema": SCHEMA, "query_count": query_count, "scores": scores.tolist()}
        write_atomically(self._side(key), json.dumps({**data, "checksum": _checksum(scores)}).encode())

    def predictions(self, key: str) -> Predictions | None:
        """Predictions that were kept for that key; None where there are none, or they cannot be read."""
        path = self.kept_at(key)
        if not path.exists():
            return None
        try:
            return load_predictions(path, key)
        except ValueError as error:
            _LOG.warning("%s The work it stands for is done again.", error)
            return None

    def keep(self, cell: Result) -> Result:
        """Write the predictions of a cell, if there are any, beside the file; they are in the result no longer."""
        if not isinstance(cell.kept, Predictions):
            return cell
        path = self.kept_at(cell.key)
        cell.kept.save(path, cell.key)
        return cell.with_kept(path)

    def kept_at(self, key: str) -> Path:
        """Where predictions of that key are kept."""
        return predictions_path(self.path, key)

    def append(self, cell: Result) -> Result:
        """Add a finished cell; whatever happens, it is in the file as a whole, or not and an error is raised.

        Returns:
            The cell, its predictions in the file beside this one where they were kept.
        """
        cell = self.keep(cell)
        new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            with _locked(handle) as alone:
                _append_line(handle, line_of(cell).encode(), mend=alone)
        finally:
            os.close(handle)
        if new:
            sync_folder(self.path.parent)
        self._cells[cell.key] = cell
        self._side(cell.key).unlink(missing_ok=True)
        return cell

    def _side(self, key: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{key}.partial")


def line_of(cell: Result) -> str:
    """A cell as one line, ASCII only, so that no character of a name can break it."""
    return json.dumps(cell.to_json(), allow_nan=False) + "\n"


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON value")


def _lines(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_regular(path), "rb") as file:
        while line := file.readline(_LONGEST_LINE):
            yield line
            while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):  # the rest of a line that is none of ours
                line = file.readline(_LONGEST_LINE)


def _append_line(handle: int, line: bytes, *, mend: bool) -> None:
    """Write all of a line at the end of a file and flush it, or raise and leave the file as it was.

    Where others may write at the same time (`mend` is false), a part of the line may stay; readers leave it out.
    """
    size = os.fstat(handle).st_size
    if size and _byte_at(handle, size - 1) != b"\n":
        line = b"\n" + line  # the last line was cut by a crash
    try:
        rest = memoryview(line)
        while rest:
            written = os.write(handle, rest)
            if written == 0:
                raise OSError("nothing could be written to the results file")
            rest = rest[written:]
        os.fsync(handle)
    except BaseException:
        if mend:
            with suppress(OSError):
                os.ftruncate(handle, size)
        raise


def _byte_at(handle: int, place: int) -> bytes:
    os.lseek(handle, place, os.SEEK_SET)
    return os.read(handle, 1)


@contextmanager
def _locked(handle: int) -> Iterator[bool]:
    """Alone among the processes that add to a file: true, or false where the system has no such locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows; some network file systems
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _read_partial(path: Path) -> tuple[NDArray[np.float64], int]:
    where = str(path)
    data = schema.read_json(path, _LONGEST_LINE)
    if schema.field(data, "schema", str, where) != SCHEMA:
        raise ValueError(f"{where} is no side file of this version")
    count = schema.field(data, "query_count", int, where, least=0)
    scores = np.asarray(schema.field(data, "scores", list, where, each=float), np.float64)
    checksum = schema.field(data, "checksum", str, where, default=None)
    if checksum is not None and checksum != _checksum(scores):
        raise ValueError(f"{where} is damaged: its checksum is of other content")
    if count and not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{where}: the field 'scores' has accuracies outside 0 to 1")
    return scores, count


def _checksum(scores: NDArray[np.float64]) -> str:
    return digest_array(scores)
