"""Files that appear whole or not at all, and reading that is bounded before it begins."""

from __future__ import annotations

import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any

_PIECE = 1 << 20  # read at a time
_SETTLED_NANOSECONDS = 2 * 10**9  # the coarsest clock in use, that of FAT, goes by two seconds


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part, also after a power cut.

    The name it is written under first cannot be guessed and must not exist, so nothing can be put in its way.
    """
    temporary = path.with_name(f".{secrets.token_hex(12)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file.")
    try:
        handle = os.open(temporary, flags, 0o666)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise type(error)(f"there is no folder {str(path.parent)!r}; make it first.") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems cannot flush folders
        pass
    finally:
        os.close(handle)


def file_state(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Numbers that stay the same as long as nobody writes to a file, whatever is done to its time of modification.

    A file that was written to a moment ago has another state each time, since clocks of file systems are coarse.

    Raises:
        OSError: the file is not there.
    """
    found = os.stat(path)
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    settled = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED_NANOSECONDS
    return state if settled else (*state, time.perf_counter_ns())


def open_regular(path: str | os.PathLike[str]) -> int:
    """A handle to read a regular file with; a pipe or a device is refused instead of waited for.

    Raises:
        ValueError: it is no regular file.
        OSError: it is not there, or may not be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        os.close(handle)
        raise ValueError(f"{str(path)!r} is {'a folder, and must be a file' if folder else 'no regular file'}.")
    return handle


def read_into(file: Any, buffer: Any) -> int:
    """Fill a buffer from a binary file, which may give less than was asked for at a time.

    Args:
        file: with ``readinto``, raw or buffered, also a member of an archive.
        buffer: an array, `bytearray` or `memoryview` of bytes.

    Returns:
        The number of bytes read; less than the buffer has where the file ends before.
    """
    view = memoryview(buffer).cast("B")
    done = 0
    while done < len(view):
        count = file.readinto(view[done : done + _PIECE])
        if not count:
            break
        done += count
    return done


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        ValueError: it is longer, or no regular file.
        OSError: it is not there, or cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise ValueError(f"{str(path)!r} has {size:,} bytes; such a file has at most {limit:,}.")
    return content
