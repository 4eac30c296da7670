"""`Clock`: seconds of work on a device, without waiting for it."""

from __future__ import annotations

import time

import torch


class Clock:
    """Seconds between its making and `stop`, on an accelerator without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        self._begin = time.perf_counter()
        if self._events:
            self._events[0].record()

    def stop(self) -> None:
        """End the measurement."""
        self._end = time.perf_counter()
        if self._events:
            self._events[1].record()

    def seconds(self) -> float:
        """What was measured; on an accelerator after it has caught up."""
        if self._events:
            return float(self._events[0].elapsed_time(self._events[1])) / 1000
        return self._end - self._begin
