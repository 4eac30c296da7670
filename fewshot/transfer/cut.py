"""A network in two parts: a frozen prefix, whose output is computed once, and the suffix that trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.transfer.stages import Stage, stages


class Cut:
    """Runs a network up to a stage, and from there on, whatever its code does in between.

    ``suffix(prefix(x)) == network(x)``, bit for bit; it is tried when the cut is made. The suffix runs the network's
    own code with the modules of the prefix passed over, so it works without tracing, for any network in which a single
    tensor goes from one stage to the next.

    Args:
        network: in evaluation mode wherever its prefix is concerned; it is not copied.
        stage: number of the first stage of the suffix, from 1; negative numbers count from the end.
        example: a batch that the network takes, for the trial.
        run: what runs the network on a batch, where that is more than calling it: pooling, or stopping at a layer.

    Attributes:
        shape: of what crosses the cut, for one item.

    Raises:
        ValueError: no such stage, or more than one tensor crosses; the message names the stages where one can cut.
    """

    def __init__(
        self, network: nn.Module, stage: int, example: Tensor, run: Callable[[Tensor], Any] | None = None
    ) -> None:
        parts = stages(network)
        self._run = network if run is None else run
        first = stage + len(parts) if stage < 0 else stage
        if not 1 <= first < len(parts):
            raise ValueError(f"stage={stage}; {type(network).__name__} can be cut before stages 1 to {len(parts) - 1}.")
        self.network, self.stages, self.first = network, parts, first
        if not self._divides(example):
            legal = [n for n in range(1, len(parts)) if n != first and Cut._fits(network, parts, n, example, self._run)]
            names = ", ".join(f"{n} ({parts[n].name!r})" for n in sorted(legal, key=lambda n: abs(n - first))[:3])
            raise ValueError(
                f"{type(network).__name__} cannot be cut before stage {first} ({parts[first].name!r}): more than one "
                f"tensor crosses there. It can before stages {names or '(none)'}."
            )

    def prefix(self, batch: Tensor) -> Tensor:
        """What enters the first stage of the suffix ``[B, *z]``."""
        caught: list[Tensor] = []

        def stop(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            caught.append(inputs[0])
            raise _Reached

        stop.transient = True  # type: ignore[attr-defined]
        handle = self._entrance.register_forward_pre_hook(stop)
        try:
            self._run(batch)
        except _Reached:
            return caught[0]
        finally:
            handle.remove()
        raise ValueError(f"stage {self.stages[self.first].name!r} is not used in the forward pass.")

    def suffix(self, activations: Tensor) -> Any:
        """What the network makes of activations ``[B, *z]``."""
        size = len(activations)

        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (activations, *inputs[1:])

        enter.transient = True  # type: ignore[attr-defined]
        handle = self._entrance.register_forward_pre_hook(enter)
        try:
            with self._passed_over(size):
                return self._run(self._input.expand(size, *self._input.shape[1:]))
        finally:
            handle.remove()

    @property
    def _entrance(self) -> nn.Module:
        return self.network.get_submodule(self.stages[self.first].modules[0])

    @contextmanager
    def _passed_over(self, size: int) -> Iterator[None]:
        """The prefix's modules give zeros of the shapes seen in the trial, which take no memory."""
        held = [self.network.get_submodule(path) for path in self._shapes]
        before = [module.__dict__.get("forward") for module in held]
        for module, output in zip(held, self._shapes.values(), strict=True):
            module.forward = _giving(output, size)
        try:
            yield
        finally:
            for module, own in zip(held, before, strict=True):
                del module.forward
                if own is not None:
                    module.forward = own

    def _divides(self, example: Tensor) -> bool:
        """Note the shapes in the prefix, and try the cut."""
        self._shapes: dict[str, Tensor] = {}
        self._input = torch.zeros(1, *example.shape[1:], dtype=example.dtype, device=example.device)
        handles = [
            self.network.get_submodule(path).register_forward_hook(_noting(self._shapes, path))
            for stage in self.stages[: self.first]
            for path in stage.modules
        ]
        modes = {module: module.training for module in self.network.modules()}
        self.network.eval()
        try:
            with torch.no_grad():
                whole = self._run(example)
                for handle in handles:
                    handle.remove()
                crossing = self.prefix(example)
                if not isinstance(crossing, Tensor) or len(crossing) != len(example):
                    return False
                self.shape: tuple[int, ...] = tuple(crossing.shape[1:])
                return _equal(self.suffix(crossing), whole)
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
            return False
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in modes.items():
                module.training = mode

    @staticmethod
    def _fits(
        network: nn.Module, parts: Sequence[Stage], first: int, example: Tensor, run: Callable[[Tensor], Any]
    ) -> bool:
        cut = object.__new__(Cut)
        cut._run = run
        cut.network, cut.stages, cut.first = network, list(parts), first
        return cut._divides(example)


class _Reached(Exception):
    """Ends a forward pass at the cut."""


def _noting(shapes: dict[str, Tensor], path: str) -> Any:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[path] = torch.zeros((), dtype=output.dtype, device=output.device).expand(output.shape)

    return note


def _giving(output: Tensor, size: int) -> Any:
    def forward(*inputs: Any, **options: Any) -> Tensor:
        return output[:1].expand(size, *output.shape[1:])

    return forward


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
        return len(first) == len(second) and all(map(_equal, first, second))
    return first is second or (type(first) is type(second) and bool(first == second))
