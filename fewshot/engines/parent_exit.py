"""Workers that end with the process that started them, however it ends, and without a word."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GRACE_SECONDS = 1.0  # for a worker to write what it has finished
_gone = threading.Event()  # in a worker: its parent
_MASKS = hasattr(signal, "pthread_sigmask")


@contextmanager
def interruptions_wait() -> Iterator[None]:
    """For the time in which workers are started: an interruption of this process comes afterwards.

    Workers inherit it, so that one who is still importing does not break off with a traceback: the keyboard interrupts
    them all, and who started them decides what becomes of them.
    """
    if _MASKS:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if _MASKS:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_with_parent(parent: Any) -> None:
    """In a worker: end it when the other end of a pipe is closed, as the system does for a process that died.

    It is interrupted first, so that finished rows are written, and ended for good after a second. Interruptions from
    the keyboard are the parent's to answer.

    Args:
        parent: the reading end of the pipe; nothing is ever sent.
    """
    signal.signal(signal.SIGINT, _end)
    if _MASKS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_wait, args=(parent,), name="parent-exit", daemon=True).start()


def _end(number: int, frame: object) -> None:
    if _gone.is_set():
        raise SystemExit(1)  # unlike KeyboardInterrupt it ends a process silently


def _wait(parent: Any) -> None:
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        pass
    _gone.set()
    if hasattr(signal, "pthread_kill"):  # also wakes what waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(1)
