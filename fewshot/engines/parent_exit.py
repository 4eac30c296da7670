"""Workers that end with the process that started them, however it ends."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from typing import Any

_GRACE_SECONDS = 1.0  # for a worker to write what it has finished


def exit_with_parent(parent: Any) -> None:
    """In a worker: end it when the other end of a pipe is closed, as the system does for a process that died.

    It is interrupted first, so that finished rows are written, and ended for good after a second.

    Args:
        parent: the reading end of the pipe; nothing is ever sent.
    """
    threading.Thread(target=_wait, args=(parent,), name="parent-exit", daemon=True).start()


def _wait(parent: Any) -> None:
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        pass
    if hasattr(signal, "pthread_kill"):  # also wakes what waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(1)
