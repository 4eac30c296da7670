"""`export`: write a fitted classifier as one ONNX file, and check that it answers alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from episodes.files import write_atomically
from fewshot.export.description import KEY, description, preprocess_of
from fewshot.export.graph import Head, Pixels, Rules
from fewshot.runtimes.onnx_export import OPSETS, converted, required

_PROBES = 4  # rows on which the file must answer as torch does
_TOLERANCE = 1e-4  # of a probability: sums in another order may round a feature to the next float16


def export(classifier: Any, path: str | os.PathLike[str], *, inputs: str = "auto", opset: int = 18) -> Path:
    """Write a fitted `FewShotClassifier` or `ZeroShotClassifier` as one graph for ONNX Runtime.

    The graph takes ``pixels [n, size, size, 3]`` (8-bit RGB, resized and cropped as the file's metadata says) or
    ``features [n, D]``, and gives ``probabilities [n, N]`` and ``rejected [n]``; the metadata, JSON under
    ``"fewshot"``, names the classes. ``docs/export.md`` has a reader that needs NumPy, Pillow and onnxruntime alone.

    Args:
        classifier: fitted, with an inductive learner.
        path: of the file; it appears whole, after its answers have been compared with torch's, or not at all.
        inputs: ``"pixels"``, ``"features"``, or ``"auto"``: pixels where the encoder takes pictures.
        opset: version of the operators, 18 to 23; the oldest runs in most runtimes.

    Returns:
        The path.

    Raises:
        ValueError: an argument out of range, or a part that no graph can hold; the message names the part.
        ImportError: the exporter or ONNX Runtime is not installed.
    """
    runtime = required("export")
    if opset not in OPSETS:
        raise ValueError(f"opset={opset!r}; it must be {OPSETS[0]}..{OPSETS[-1]}, of which 18 runs in most runtimes.")
    if inputs not in ("auto", "pixels", "features"):
        raise ValueError(f"inputs={inputs!r}; it must be 'pixels', 'features' or 'auto'.")
    _refuse_what_depends_on_other_rows(classifier)
    classifier._check_encoder()
    encoder = classifier.encoder_
    if inputs == "auto":
        inputs = "features" if encoder is None else "pixels"
    head = _head(classifier)
    dtype = classifier._adapted.episode.support.dtype
    if inputs == "features":
        graph: nn.Module = head
        probe = _features(classifier)
        preprocess = None
    else:
        _refuse_other_than_pictures(encoder)
        preprocess = preprocess_of(encoder)
        graph = Pixels(encoder, preprocess, head, dtype)
        generator = torch.Generator().manual_seed(0)
        probe = torch.randint(0, 256, (_PROBES, preprocess.size, preprocess.size, 3), generator=generator)
        probe = probe.to(torch.uint8)
    text = description(classifier, inputs, preprocess, opset)
    with _in_host_memory(encoder):
        content = converted(
            graph, (probe,), inputs=[inputs], outputs=["probabilities", "rejected"],
            dynamic=[{0: torch.export.Dim("rows", min=1)}], opset=opset, part=_part(classifier, inputs),
            about={KEY: text},
        )  # fmt: skip
        _check(runtime, content, graph, probe, inputs)
    write_atomically(Path(path), content)
    return Path(path)


def _head(classifier: Any) -> Head:
    adapted = classifier._adapted
    anything = getattr(classifier, "none_", None)
    rules = Rules(
        temperature=float(classifier.temperature_),
        reject=classifier.reject,
        multi_label=bool(getattr(classifier, "multi_label", False)),
        logit_bias=getattr(classifier.encoder_, "logit_bias", None) if adapted.learner.needs == ("text",) else None,
        text=None if anything is None else classifier.text_.float().cpu(),
        anything=None if anything is None else anything.float().cpu(),
        least_fit=tuple(getattr(classifier, "least_fit_", (0.0, 0.0))),
    )
    return Head(adapted.learner, adapted.state, len(adapted.episode), rules)


def _features(classifier: Any) -> Tensor:
    """Rows of the kind that was fitted ``[n, *x]``, some of them near the examples."""
    episode = classifier._adapted.episode
    shape = episode.support.shape[2:]
    if episode.text is not None and not episode.support.shape[1]:
        shape = episode.text.shape[-1:]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_PROBES, *shape, generator=generator).to(episode.support.dtype)
    known = episode.support[0, : _PROBES // 2].cpu()
    return torch.cat([known, rows[len(known) :]])


def _refuse_what_depends_on_other_rows(classifier: Any) -> None:
    learner = classifier._adapted.learner
    if learner.transductive:
        raise ValueError(
            f"the learner {learner!r} is transductive: its answers depend on all rows of one call, which a graph of "
            "single rows cannot give. Export an inductive one, such as 'l2 | logistic'."
        )
    if getattr(classifier, "correct_bias", False):
        raise ValueError("correct_bias=True makes answers depend on the other rows of a call; fit without it.")


def _refuse_other_than_pictures(encoder: Any) -> None:
    if encoder is None:
        raise ValueError("inputs='pixels', but this classifier has no encoder; use inputs='features'.")
    if not encoder.encodes("images"):
        raise ValueError(
            f"the encoder {encoder.name!r} reads texts, and its tokenizer is not part of any graph; "
            "export what follows it: export(path, inputs='features')."
        )


def _part(classifier: Any, inputs: str) -> str:
    learner = f"the learner {classifier.learner_!r}"
    return learner if inputs == "features" else f"the encoder {classifier.encoder_.name!r} with {learner}"


def _check(runtime: Any, content: bytes, graph: nn.Module, probe: Tensor, inputs: str) -> None:
    """The file's answers, all at once and one alone, against torch's."""
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for rows in (probe, probe[:1]):
        with torch.no_grad():
            expected, _ = graph(rows)
        found, _ = session.run(None, {inputs: rows.numpy()})
        if not np.allclose(found, expected.numpy(), rtol=0, atol=_TOLERANCE):
            worst = float(np.abs(found - expected.numpy()).max())
            raise ValueError(
                f"the exported graph answers otherwise than torch (a probability differs by {worst:.2g}), so nothing "
                "was written; try another opset, or other versions of torch and onnxruntime."
            )


@contextmanager
def _in_host_memory(encoder: Any) -> Iterator[None]:
    """The encoder on the CPU for a while, where the graph's constants are."""
    device = None if encoder is None else encoder.device
    if device is not None:
        encoder.to("cpu")
    try:
        yield
    finally:
        if device is not None:
            encoder.to(device)
