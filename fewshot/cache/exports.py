"""`Exports`: networks that were written as graphs for another runtime, beside the rows that they compute."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from episodes.files import read_bounded, write_atomically
from fewshot.cache.checksums import digest_of

_LOG = logging.getLogger("fewshot")
_LARGEST = 2**31  # bytes of one graph
_NAME = re.compile(r"([0-9a-f]{32})\.(?:([0-9a-f]{32})\.onnx|refused)")


@dataclass(frozen=True)
class ExportInfo:
    """One file: of which key, its size, and when it was last used, in seconds since the epoch."""

    key: str
    path: Path
    bytes: int
    last_used: float


class Exports:
    """Graphs by key, each in one file whose name holds a digest of its content: ``KEY.DIGEST.onnx``.

    So a file that was damaged is known as such before it is read as a graph, and files appear whole or not at all. What
    cannot be exported leaves its reason, ``KEY.refused``, so that nobody tries again for nothing.

    Args:
        folder: made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> bytes | None:
        """The graph of a key, or None; a damaged file is named and removed."""
        for info in self.ls():
            if info.key != key or info.path.suffix != ".onnx":
                continue
            try:
                content = read_bounded(info.path, _LARGEST)
                if digest_of(content) == info.path.name.split(".")[1]:
                    os.utime(info.path)
                    return content
                problem = "its content is not what was written"
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as error:
                problem = str(error)
            _LOG.warning("the exported network %s is damaged (%s); it is exported again.", info.path, problem)
            self.remove(info)
        return None

    def keep(self, key: str, content: bytes) -> None:
        """Write a graph, in the place of others of that key.

        Raises:
            OSError: it cannot be written.
        """
        name = f"{key}.{digest_of(content)}.onnx"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / name, content)
        for info in self.ls():
            if info.key == key and info.path.name != name:
                self.remove(info)

    def refuse(self, key: str, reason: str) -> None:
        """Note why there can be no graph of a key, where that can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / f"{key}.refused", reason[:2000].encode())
        except OSError:
            pass

    def refusal(self, key: str) -> str | None:
        """Why there can be no graph of a key, where that is known."""
        try:
            return read_bounded(self.folder / f"{key}.refused", 8000).decode(errors="replace")
        except (ValueError, OSError):
            return None

    def ls(self) -> list[ExportInfo]:
        """All files, the most recently used first."""
        found = []
        try:
            entries = list(os.scandir(self.folder))
        except OSError:
            return []
        for entry in entries:
            named = _NAME.fullmatch(entry.name)
            try:
                if named and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append(ExportInfo(named[1], Path(entry.path), status.st_size, status.st_mtime))
            except OSError:  # removed meanwhile
                pass
        return sorted(found, key=lambda info: -info.last_used)

    def remove(self, info: ExportInfo) -> None:
        """Remove one file, where that is allowed."""
        try:
            info.path.unlink(missing_ok=True)
        except OSError:  # of a cache that one may only read
            pass
