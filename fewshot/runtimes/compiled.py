"""torch.compile: an encoder's network as one graph, compiled for the device that it is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fewshot.embedding.forward import Forward, computing
from fewshot.runtimes.agreement import agreement
from fewshot.runtimes.network import Computation, UnavailableError, examples, graph_of, tensors_of
from fewshot.runtimes.onnx_export import first_line, quiet
from fewshot.runtimes.stamp import stamp

_compiled: WeakKeyDictionary[Any, dict[tuple[Any, ...], Computation]] = WeakKeyDictionary()


def compiled_computation(base: Forward, kind: str, items: Tensor | Sequence[Any]) -> Computation:
    """An encoder's network by `torch.compile`, in the precision and on the device of its `Forward`.

    It is compiled once per process, which takes from seconds to minutes, and compared with torch in the same precision
    on the control items, all at once and the first alone: see `fewshot.runtimes.agreement` for how near it must be. On
    a CPU it needs a C++ compiler. A single item is computed twice over, as torch would compile anew for one.

    Args:
        base: the encoder by torch.
        kind: ``"images"`` or ``"texts"``.
        items: the control items, as the encoder's input.

    Raises:
        UnavailableError: it cannot be compiled, or computes something else.
    """
    encoder = base.encoder
    graph = graph_of(encoder, kind)
    shape = tuple(items.shape[1:]) if isinstance(items, Tensor) else None
    known = (kind, shape, base.precision, str(base.device), base.dtype, stamp(encoder))
    if known[-1] is not None and known in _compiled.get(encoder, {}):
        return _compiled[encoder][known]
    whole, first = (_tensors(base, kind, part) for part in (items, items[:1]))
    dynamic = torch.export.Dim.DYNAMIC
    with quiet():
        try:
            given = examples(encoder, kind, items)
            sizes = tuple({0: dynamic} if kind == "images" else {0: dynamic, 1: dynamic} for _ in given)
            with torch.enable_grad():
                shapes = sizes if kind == "images" else (sizes,)
                program = torch.export.export(graph.eval(), given, dynamic_shapes=shapes, strict=False)
            network: Any = torch.compile(program.module(), dynamic=True)

            def run(*tensors: Tensor) -> Tensor:
                few = len(tensors[0]) == 1
                rows: Tensor = network(*(torch.cat([tensor, tensor]) if few else tensor for tensor in tensors))
                return rows[:1] if few else rows

            with computing(base.device, base.precision):
                found = torch.cat([run(*whole), run(*first)]).float()
                true = torch.cat([graph(*whole), graph(*first)]).float()
        except Exception as error:  # of many kinds: no graph, no compiler, an operation that it lacks
            compiler = " Is there a C++ compiler, such as g++?" if base.device.type == "cpu" else ""
            raise UnavailableError(f"torch.compile cannot compile it ({first_line(error)}).{compiler}") from error
    near = agreement(found, true)
    if not near.holds(base.precision):
        raise UnavailableError(f"compiled, it computes something else: on control items, {near}")
    done = Computation("compile", run, shape, near.within(base.dtype))
    if known[-1] is not None:
        _compiled[encoder] = {known: done}  # earlier ones were of weights that are gone
    return done


def _tensors(base: Forward, kind: str, items: Any) -> tuple[Tensor, ...]:
    tensors = tensors_of(base.encoder, kind, items)
    return tuple(base.prepared(tensor) for tensor in tensors) if kind == "images" else tensors
