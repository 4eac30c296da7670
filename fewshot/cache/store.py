"""`EmbeddingCache`: the folder that holds all spaces, and its upkeep."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from episodes.files import write_atomically
from fewshot.cache import compaction
from fewshot.cache.errors import explain_write_error
from fewshot.cache.exports import Exports
from fewshot.cache.fingerprint import canonical
from fewshot.cache.rows_file import write_rows
from fewshot.cache.space import Space
from fewshot.cache.space_folder import LARGEST_DIM, STORAGE, SpaceInfo, info_of, read_spec, says, sweep

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of embeddings; backup programs may leave it out (https://bford.info/cachedir/).\n"
)
_ID = re.compile(r"[0-9a-f]{32}")
_DAY = 86_400
_LOG = logging.getLogger("fewshot")


class EmbeddingCache:
    """Embeddings on disk, looked up by what computed them and what they were computed from.

    Nothing is embedded twice, whatever dataset, order, split or name it comes under, and nothing stale is
    served: change a weight, a resize or the precision, and it is another space. Files are safetensors and
    JSON: an untrusted cache folder cannot run code.

    Args:
        path: the folder; by default ``$FEWSHOT_CACHE``, else the user's cache folder of the platform.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path or os.environ.get("FEWSHOT_CACHE") or default_path()).expanduser().absolute()
        try:
            (self.path / "v1").mkdir(parents=True, exist_ok=True)
            for name, text in (("CACHEDIR.TAG", _TAG), (".gitignore", "*\n")):
                if not (self.path / name).exists():
                    write_atomically(self.path / name, text.encode())
        except (FileExistsError, NotADirectoryError):
            raise NotADirectoryError(f"the embedding cache {self.path} is a file; it must be a folder.") from None
        except OSError as error:
            if not (self.path / "v1").is_dir():
                raise explain_write_error(error, self.path) from error

    @property
    def exports(self) -> Exports:
        """Networks exported for other runtimes (see `fewshot.runtimes`)."""
        return Exports(self.path / "onnx")

    def holds(self, spec: dict[str, Any]) -> bool:
        """Whether there is a space of this identity; none is made."""
        return (self.path / "v1" / _identity(spec)).is_dir()

    def space(self, spec: dict[str, Any]) -> Space:
        """The space of this identity, made if it is not there.

        Args:
            spec: JSON values: everything that an embedding depends on besides the item, with ``"dim"`` and
                ``"storage"`` (``"float16"`` or ``"float32"``).

        Raises:
            ValueError: `spec` lacks one of the two, or it is out of range.
            CacheWriteError: the folder cannot be written.
        """
        dim = spec.get("dim")
        if spec.get("storage") not in STORAGE or type(dim) is not int or not 1 <= dim <= LARGEST_DIM:
            raise ValueError(
                f"spec has dim={dim!r}, storage={spec.get('storage')!r}; dim must be a positive integer "
                f"of at most {LARGEST_DIM:,} and storage one of {', '.join(STORAGE)}."
            )
        folder = self.path / "v1" / _identity(spec)
        if not says(folder / "space.json", spec):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / "space.json", json.dumps(spec, indent=1, sort_keys=True).encode())
            except OSError as error:
                if not folder.is_dir():
                    raise explain_write_error(error, self.path) from error
        sweep(folder)
        return Space(folder, spec)

    def ls(self) -> list[SpaceInfo]:
        """All spaces, the most recently used first; nothing is changed, and each space stands for itself."""
        found = []
        for folder in self._folders():
            try:
                found.append(info_of(folder))
            except FileNotFoundError:  # removed meanwhile
                pass
        return sorted(found, key=lambda info: -info.last_used)

    def info(self, prefix: str) -> SpaceInfo:
        """One space by the beginning of its id."""
        return info_of(self._folder(prefix))

    def open(self, prefix: str) -> Space:
        """An existing space by the beginning of its id.

        Raises:
            ValueError: no or several such spaces, or its ``space.json`` is damaged.
        """
        folder = self._folder(prefix)
        return Space(folder, read_spec(folder), given=False)

    def verify(self, prefix: str | None = None) -> dict[str, list[str]]:
        """Check the checksums of one space or all; damaged files, by space, are set aside.

        A damaged ``space.json`` is named, too, and stays: embedding with the same encoder writes it anew.
        """
        found = {}
        for folder in [self._folder(prefix)] if prefix else self._folders():
            try:
                found[folder.name] = self.open(folder.name).verify()
            except ValueError as error:
                _LOG.warning("cache space %s: %s", folder.name[:8], error)
                found[folder.name] = ["space.json"]
        return {name: damaged for name, damaged in found.items() if damaged}

    def rm(self, prefix: str) -> SpaceInfo:
        """Remove one space."""
        info = self.info(prefix)
        shutil.rmtree(self._folder(info.id))
        return info

    def prune(
        self, max_bytes: int | None = None, older_than: float | None = None, *, dry_run: bool = False
    ) -> list[SpaceInfo]:
        """Remove whole spaces, the least recently used first.

        Networks exported for other runtimes go before any space: they are made again in seconds.

        Args:
            max_bytes: until all spaces and exported networks together take no more than this.
            older_than: those not used for so many days.
            dry_run: only name the spaces.

        Raises:
            ValueError: neither limit is given.
        """
        if max_bytes is None and older_than is None:
            raise ValueError("prune needs max_bytes or older_than; nothing is removed without a reason.")
        spaces = self.ls()
        exports = self.exports.ls()
        total = sum(info.bytes for info in spaces) + sum(file.bytes for file in exports)
        gone = []
        for file in reversed(exports):
            too_old = older_than is not None and time.time() - file.last_used > older_than * _DAY
            if too_old or (max_bytes is not None and total > max_bytes):
                total -= file.bytes
                if not dry_run:
                    self.exports.remove(file)
        for info in reversed(spaces):
            too_old = older_than is not None and time.time() - info.last_used > older_than * _DAY
            if too_old or (max_bytes is not None and total > max_bytes):
                total -= info.bytes
                gone.append(info)
                if not dry_run:
                    shutil.rmtree(self._folder(info.id))
        return gone

    def compact(self, prefix: str) -> int:
        """Merge the segments of a space into as few as possible, duplicates left out; returns the number of rows.

        Every row is compared with its checksum on the way; a damaged segment is set aside. Readers are not interrupted:
        the new segments are there before the old ones go, and a reader that misses a file lists them again.

        Raises:
            fewshot.cache.CacheWriteError: the disk has no space for the new segments; the old ones stay.
        """
        space = self.open(prefix)
        try:
            return compaction.compact(space)
        except OSError as error:
            raise explain_write_error(error, space.path) from error

    def export(self, prefix: str, path: str | os.PathLike[str]) -> int:
        """Write keys and rows of a space to ``.npy`` (keys beside it), ``.safetensors`` or ``.parquet``.

        Args:
            prefix: beginning of its id.
            path: file, whose suffix says which.

        Returns:
            How many rows.

        Raises:
            MissingRowsError: the space is empty.
            ValueError: another suffix, or no space, or several, begin so.
            ImportError: ``.parquet`` without pyarrow.
        """
        return write_rows(self.open(prefix), Path(path))

    def _folders(self) -> list[Path]:
        try:
            entries = sorted(os.scandir(self.path / "v1"), key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        return [
            Path(entry.path)
            for entry in entries
            if _ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            and (Path(entry.path) / "space.json").is_file()
        ]  # fmt: skip

    def _folder(self, prefix: str) -> Path:
        found = [folder for folder in self._folders() if prefix and folder.name.startswith(prefix)]
        if len(found) != 1:
            known = ", ".join(folder.name[:8] for folder in self._folders()) or "none"
            raise ValueError(f"{len(found)} spaces begin with {prefix!r}; there are: {known}.")
        return found[0]

    def __repr__(self) -> str:
        return f"EmbeddingCache({str(self.path)!r})"


def _identity(spec: dict[str, Any]) -> str:
    return hashlib.sha256(canonical({"schema": 1, **spec})).hexdigest()[:32]


def default_path() -> Path:
    """The user's cache folder on this platform."""
    from platformdirs import user_cache_path

    return user_cache_path("fewshot")
