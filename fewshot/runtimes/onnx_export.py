"""A module as an ONNX graph: shared by the export of classifiers and by ONNX Runtime as a runtime of encoders."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO

import torch
from torch import Tensor, nn

OPSETS = range(18, 24)  # what torch's exporter writes and released runtimes read
_LARGEST = 2**31 - 2**20  # bytes of one file of this format
_LOGGERS = (
    "torch.onnx", "onnxscript", "torch.export", "onnx_ir", "torch._dynamo", "torch._inductor",
    "torch.utils.cpp_extension", "torch.fx",
)  # fmt: skip


def required(purpose: str) -> Any:
    """The module ``onnxruntime``, where torch's exporter is usable too.

    Raises:
        ImportError: one of them is not installed; the message begins with the purpose and has the install command.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch's exporter is built on
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs {error.name}; install it with: pip install "fewshot[onnx]" (torch itself cannot read the '
            "files that it writes)."
        ) from error
    return onnxruntime


def converted(
    module: nn.Module,
    arguments: Sequence[Tensor],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Sequence[Mapping[int, Any]],
    opset: int,
    part: str,
    about: Mapping[str, str] | None = None,
) -> bytes:
    """A module as the bytes of one graph.

    Args:
        module: tensors -> tensors.
        arguments: examples of the tensors.
        inputs: names of the tensors.
        outputs: names of what comes out.
        dynamic: of each tensor, the dimensions that may be of any size.
        opset: version of the operators.
        part: what messages call it.
        about: metadata.

    Raises:
        ValueError: no graph can hold it; the message says what the exporter stumbled over.
    """
    size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    if size > _LARGEST:
        raise ValueError(f"the weights take {size / 2**30:.1f} GB, and a file of this format holds at most 2 GB.")
    with quiet(), torch.enable_grad():  # without gradients, products take a way around torch that no graph can hold
        try:
            # A module that cannot be captured so is refused: the exporter would go on to ways that may keep one branch
            # of what decides by values.
            shapes = _shapes(module, dynamic)
            with suppress(IndexError):  # torch's own, where it loses count of buffers: that tells nothing of the module
                torch.export.export(module, tuple(arguments), dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                module, tuple(arguments), dynamo=True, dynamic_shapes=shapes, opset_version=opset, verbose=False,
                input_names=list(inputs), output_names=list(outputs),
            )  # fmt: skip
        except Exception as error:  # whatever the exporter stumbles over, it is this part that it cannot hold
            cause = error.__cause__ or error
            raise ValueError(f"{part} does not become a graph: {first_line(cause)}") from error
        assert program is not None
        program.model.metadata_props.update(about or {})
        content: bytes = program.model_proto.SerializeToString()
    return content


def first_line(error: BaseException) -> str:
    """An error in one line: its kind, and the first line of what it says."""
    line = next((text for text in str(error).splitlines() if text.strip()), "")
    return f"{type(error).__name__}: {line[:300]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of exporter and compiler: what matters is raised."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(_OtherThreads(sys.stderr)):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


class _OtherThreads(io.TextIOBase):
    """A stream on which this thread is not heard: torch prints the whole graph of what it cannot capture."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Pass on what other threads say."""
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream behind."""
        self._stream.flush()


def _shapes(module: nn.Module, dynamic: Sequence[Mapping[int, Any]]) -> Any:
    """As torch wants them: one entry per argument; those of ``*args`` as one tuple."""
    import inspect

    each = tuple(dict(sizes) for sizes in dynamic)
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    return (each,) if kinds == [inspect.Parameter.VAR_POSITIONAL] else each
