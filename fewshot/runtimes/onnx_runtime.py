"""ONNX Runtime: an encoder's network as a graph, exported once, compared with torch before it is used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from episodes.identity import digest
from fewshot.cache.exports import Exports
from fewshot.embedding.forward import Forward, computing
from fewshot.runtimes.agreement import Agreement, agreement
from fewshot.runtimes.network import Computation, UnavailableError, examples, graph_of, tensors_of
from fewshot.runtimes.onnx_export import converted, first_line, required

OPSET = 18  # of the graphs: the oldest that torch's exporter writes, which most releases of ONNX Runtime read
_FORMAT = 1  # of the graphs; counted up where the same network would be written otherwise
_KEPT = 4  # graphs in memory, each with a copy of its network's weights for each number of threads
_sessions: OrderedDict[str, tuple[Sessions, Agreement]] = OrderedDict()


def onnx_computation(
    base: Forward, kind: str, items: Tensor | Sequence[Any], identity: str | None, exports: Exports | None
) -> Computation:
    """An encoder's network by ONNX Runtime, float32, on as many threads as torch has when it is called.

    The graph is exported once per fingerprint, versions of exporter and operators, and kind and shape of the items, and
    kept with the cache. Before it is used, in each process, its features of the control items, all at once and the
    first alone, are compared with torch's: a cosine of at least 0.99999, and no feature further off than 0.001 of the
    largest of its row. It was traced with other items, so that nothing depends on those it is compared on.

    Args:
        base: the encoder by torch.
        kind: ``"images"`` or ``"texts"``.
        items: the control items, as the encoder's input.
        identity: digest of the encoder's fingerprint; None: it has none, so that nothing can be kept.
        exports: where graphs are kept, or None.

    Raises:
        UnavailableError: it cannot be exported, read or trusted, or ONNX Runtime is not installed.
    """
    encoder = base.encoder
    if base.device.type != "cpu":
        raise UnavailableError(f"ONNX Runtime is used on CPUs, and it computes on {base.device}")
    if base.precision != "float32":
        raise UnavailableError(f"ONNX Runtime computes in float32, and precision={base.precision!r}")
    graph = graph_of(encoder, kind)
    try:
        runtime = required("runtime='onnx'")
    except ImportError as error:
        raise UnavailableError(str(error).rstrip(".")) from error
    key = export_key(identity, kind, items)
    if key is not None and key in _sessions:
        run, found = _sessions[key]
        _sessions.move_to_end(key)
        return _computation(run, found, base, items)
    content = None if key is None or exports is None else exports.read(key)
    if content is not None:
        try:
            run, found = _opened(runtime, content, graph, base, kind, items)
        except UnavailableError:  # made by another release, or by nobody: once more
            content = None
    if content is None:
        reason = exports.refusal(key) if key is not None and exports is not None else None
        if reason is not None and exports is not None:
            raise UnavailableError(
                f"{reason} (as found before; remove {exports.folder / f'{key}.refused'} to try again)"
            )
        try:
            content = _exported(graph, encoder, kind, items)
            run, found = _opened(runtime, content, graph, base, kind, items)
        except UnavailableError as error:
            if key is not None and exports is not None:
                exports.refuse(key, str(error))
            raise
        if key is not None and exports is not None:
            _keep(exports, key, content)
    if key is not None:
        if exports is not None:
            run.again = partial(exports.read, key)
        _sessions[key] = run, found
        while len(_sessions) > _KEPT:
            _sessions.popitem(last=False)
    return _computation(run, found, base, items)


def export_key(identity: str | None, kind: str, items: Tensor | Sequence[Any]) -> str | None:
    """The name of a graph in the cache folder; None where it cannot have one."""
    if identity is None:
        return None
    try:
        exporter = version("onnxscript")
    except PackageNotFoundError:
        exporter = None
    shape = list(items.shape[1:]) if isinstance(items, Tensor) else None
    return digest({
        "encoder": identity, "kind": kind, "shape": shape, "opset": OPSET, "format": _FORMAT,
        "torch": str(torch.__version__), "onnxscript": exporter,
    })  # fmt: skip


def is_at_hand(key: str, exports: Exports) -> bool:
    """Whether a graph needs no export: this process has it, or the cache folder."""
    return key in _sessions or any(info.key == key for info in exports.ls())


def _exported(graph: Any, encoder: Any, kind: str, items: Tensor | Sequence[Any]) -> bytes:
    dynamic = torch.export.Dim.DYNAMIC
    given = examples(encoder, kind, items)
    sizes = {0: dynamic} if kind == "images" else {0: dynamic, 1: dynamic}
    names = ["images"] if kind == "images" else list(graph.names)
    try:
        return converted(
            graph.eval(), given, inputs=names, outputs=["features"], dynamic=[sizes] * len(given), opset=OPSET,
            part="its network",
        )  # fmt: skip
    except ValueError as error:
        raise UnavailableError(str(error)) from error


class Sessions:
    """ONNX Runtime's sessions on one graph, one for each number of threads that torch had when it was called.

    Args:
        runtime: the module `onnxruntime`.
        content: the graph, for the first session.
        names: of its inputs, in the order in which they are given.

    Attributes:
        again: reads the graph for further sessions; None where nobody keeps it. Without it the first serves all.

    Raises:
        UnavailableError: ONNX Runtime does not read it.
    """

    def __init__(self, runtime: Any, content: bytes, names: Sequence[str]) -> None:
        self._runtime, self._names = runtime, names
        self.again: Callable[[], bytes | None] | None = None
        self._lock = Lock()
        self._first = self._open(content)
        self._by_threads = {torch.get_num_threads(): self._first}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Features ``[B, D]``."""
        with self._lock:
            session = self._session(torch.get_num_threads())
        known = {given.name for given in session.get_inputs()}
        given = {name: tensor.numpy() for name, tensor in zip(self._names, tensors, strict=True) if name in known}
        return torch.from_numpy(session.run(None, given)[0])

    def _session(self, threads: int) -> Any:
        if threads not in self._by_threads:
            content = None if self.again is None else self.again()
            self._by_threads[threads] = self._first if content is None else self._open(content)
        return self._by_threads[threads]

    def _open(self, content: bytes) -> Any:
        settings = self._runtime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = torch.get_num_threads(), 1
        # threads that decode need the processors
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3
        try:
            return self._runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # of kinds of its own
            raise UnavailableError(
                f"onnxruntime {self._runtime.__version__} does not read the graph, of opset {OPSET} "
                f"({first_line(error)}); install another release of it"
            ) from error


def _opened(
    runtime: Any, content: bytes, graph: Any, base: Forward, kind: str, items: Tensor | Sequence[Any]
) -> tuple[Sessions, Agreement]:
    """A session on a graph, and how near it is to torch."""
    run = Sessions(runtime, content, ["images"] if kind == "images" else list(graph.names))
    given = tensors_of(base.encoder, kind, items)
    first = tensors_of(base.encoder, kind, items[:1])
    with computing(base.device, base.precision):
        true = graph(*given), graph(*first)
        try:
            found = run(*given), run(*first)
        except Exception as error:
            raise UnavailableError(f"ONNX Runtime cannot run the graph ({first_line(error)})") from error
    if any(a.shape != b.shape for a, b in zip(found, true, strict=True)):
        raise UnavailableError("the exported graph gives features of another shape than torch")
    near = agreement(torch.cat(found), torch.cat(true))
    if not near.holds(base.precision):
        raise UnavailableError(f"the exported graph computes something else than torch: on control items, {near}")
    return run, near


def _computation(run: Callable[..., Tensor], near: Agreement, base: Forward, items: Any) -> Computation:
    shape = tuple(items.shape[1:]) if isinstance(items, Tensor) else None
    return Computation("onnx", run, shape, near.within(base.dtype))


def _keep(exports: Exports, key: str, content: bytes) -> None:
    try:
        exports.keep(key, content)
    except OSError:  # a full disk, or a cache that one may only read: this process has its session all the same
        pass
