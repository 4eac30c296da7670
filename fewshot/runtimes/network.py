"""`Network`: an encoder whose network another runtime computes, with torch to fall back on."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.embedding.forward import out_of_memory
from fewshot.runtimes.onnx_export import first_line

_LOG = logging.getLogger("fewshot")


class UnavailableError(Exception):
    """A runtime cannot compute an encoder; the message is the reason."""


@dataclass(frozen=True)
class Computation:
    """A network as a runtime has it; it knows nothing of the encoder, whose life it must not prolong.

    Attributes:
        name: ``"onnx"`` or ``"compile"``.
        run: the tensors that the encoder's `graph` takes -> features ``[B, D]``.
        shape: of one image, where it takes images of that shape alone.
        shares_space: whether its rows are torch's within storage precision.
    """

    name: str
    run: Callable[..., Tensor]
    shape: tuple[int, ...] | None
    shares_space: bool


class Network:
    """What `Forward` asks instead of the encoder.

    Images of another shape than that of the graph are computed by torch, and so is everything after an error; rows of a
    space of the runtime's own are an exception to the latter.

    Args:
        encoder: whose tokenizer and handling of long texts are used.
        kind: ``"images"`` or ``"texts"``.
        computation: of its network.

    Attributes:
        name: of the runtime.
        shares_space: see `Computation`.
        encoder: a copy, which shares the network but has it computed.
        computation: as given.
    """

    def __init__(self, encoder: Any, kind: str, computation: Computation) -> None:
        graph = encoder.graph(kind)
        self.name, self.shares_space = computation.name, computation.shares_space
        self._title, self._graph, self.computation = encoder.name, graph, computation
        self._works, self._alone = True, Lock()
        self.encoder = copy.copy(encoder)
        if kind == "images":
            self.encoder.encode_images = self._compute
        else:
            self.encoder.run = lambda **tokens: self._compute(*(tokens[name] for name in graph.names))

    def _compute(self, *tensors: Tensor) -> Tensor:
        shape = self.computation.shape
        fits = shape is None or (tuple(tensors[0].shape[1:]) == shape and tensors[0].dtype == torch.float32)
        if self._works and fits:
            try:
                return self.computation.run(*tensors)
            except Exception as error:
                if out_of_memory(error):
                    raise MemoryError(str(error)) from error
                if not self.shares_space:
                    raise RuntimeError(
                        f"runtime={self.name!r} fails on a batch of {self._title!r} ({first_line(error)}), and its "
                        "rows are in a space of their own; embed with runtime='torch'."
                    ) from error
                _LOG.warning("runtime=%r fails on a batch (%s); torch goes on.", self.name, first_line(error))
                self._works = False
        with self._alone:  # torch's network may keep what threads should not share
            rows: Tensor = self._graph(*tensors)
        return rows


def tensors_of(encoder: Any, kind: str, items: Tensor | Sequence[Any]) -> tuple[Tensor, ...]:
    """Items as the tensors that the encoder's `graph` takes."""
    if kind == "images":
        assert isinstance(items, Tensor)
        return (items.to(encoder.device),)
    return tuple(encoder.tokens(list(items)).values())


def examples(encoder: Any, kind: str, items: Tensor | Sequence[Any]) -> tuple[Tensor, ...]:
    """Tensors to trace a graph with: of the kind of the control items, but other ones.

    A value that tracing took for a constant then shows when the graph is given the control items.
    """
    if kind == "texts":
        return tensors_of(encoder, kind, ["one", "two words, or is it three"])
    assert isinstance(items, Tensor)
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(2, *items.shape[1:], generator=generator).to(encoder.device),)


def graph_of(encoder: Any, kind: str) -> nn.Module:
    """The encoder's `graph`.

    Raises:
        UnavailableError: it has none.
    """
    graph = None if encoder.pairs else encoder.graph(kind)
    if graph is None:
        raise UnavailableError(f"it has no network for {kind} that could become a graph")
    module: nn.Module = graph
    return module
