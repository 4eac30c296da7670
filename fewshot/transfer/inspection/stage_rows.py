"""`StageRows`: what comes out of every stage of a network, pooled to one row per item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot.encoders.encoder import Encoder
from fewshot.encoders.module import evaluation_mode
from fewshot.transfer.body import Body, examine

INPUT_SIDE = 16  # pixels of the shrunken input, whose rows are the stage "input"
FEATURES = "features"


class StageRows(Encoder):
    """An encoder whose rows hold all stages of another's network side by side: ``[B, D_1 + ... + D_L]``.

    A stage's part is the mean of its output over positions or over attended tokens. The first part, of images, is the
    input shrunk to at most 16 x 16 pixels; the last is the encoder's own features. Nothing larger than one batch of
    activations is held at a time, and rows are cached like any embedding.

    Args:
        body: the network.
        example: a batch of at least two of its inputs, for a trial.

    Attributes:
        names: of the stages, from input to features.
        widths: numbers of each stage in a row.

    Raises:
        ValueError: the network shows no stages; the message says what to do.
    """

    def __init__(self, body: Body, example: Any) -> None:
        anatomy = examine(body, example)
        if anatomy.problem:
            raise ValueError(f"there are no stages to look into. {anatomy.problem}")
        self.body = body
        self.module, self.transform = body.encoder.module, body.encoder.transform
        self.name = f"{body.encoder.name}, all stages"
        self.decoding = "full"  # as training reads pictures
        # What follows the last stage, pooling for instance, belongs to it: its output is the encoder's features.
        shown = [part for part, shape in zip(anatomy.parts[:-1], anatomy.shapes[:-1], strict=True) if shape]
        self._paths = [part.modules[-1] for part in shown]
        first = ["input"] if body.kind == "images" else []
        self.names = [*first, *(part.name for part in shown), FEATURES]
        self.widths = [part.shape[1] for part in self._parts(example)]

    @property
    def dim(self) -> int | None:  # type: ignore[override]
        """Numbers of all stages together."""
        return sum(self.widths)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """That of the encoder, and which stages are read."""
        return {"family": "stages", "of": self.body.encoder.fingerprint, "stages": self.names, "input": INPUT_SIDE}

    def encodes(self, kind: str) -> bool:
        """Whether its rows are of this kind."""
        return kind == self.body.kind

    def encode_images(self, batch: Tensor) -> Tensor:
        """Rows ``[B, D_1 + ... + D_L]``."""
        return torch.cat(self._parts(batch), 1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Rows ``[B, D_1 + ... + D_L]``."""
        return torch.cat(self._parts(list(texts)), 1)

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """The rows of each stage ``[M, D_l]``, by name."""
        return dict(zip(self.names, rows.split(self.widths, 1), strict=True))

    def maps(self, batch: Tensor) -> dict[str, Tensor]:
        """Mean absolute activation of each stage that has positions ``[B, h, w]``, by name."""
        with torch.no_grad(), self._caught() as outputs, evaluation_mode(self.body.network):
            self.body(batch)
        named = zip(self.names[1:], self._paths, strict=False)
        found = {name: positions(outputs[path], self._last_channel) for name, path in named}
        return {name: value for name, value in found.items() if value is not None}

    def _parts(self, batch: Any) -> list[Tensor]:
        with torch.no_grad(), self._caught() as outputs, evaluation_mode(self.body.network):
            features = self.body(batch)
        mask = outputs.get("mask")
        stages = [mean_over_positions(outputs[path], mask, self._last_channel) for path in self._paths]
        odd = next((path for path, rows in zip(self._paths, stages, strict=True) if len(rows) != len(features)), None)
        if odd is not None:  # long texts in several parts, or windows of pictures folded into the batch
            raise ValueError(
                f"stage {odd!r} of {self.body.encoder.name!r} gives {len(outputs[odd])} rows for {len(features)} "
                "items; load a text encoder with long_text='truncate', or inspect another network."
            )
        return [*self._input(batch), *(stage.float() for stage in stages), features.float()]

    def _input(self, batch: Any) -> list[Tensor]:
        if self.body.kind != "images":
            return []
        if batch.ndim != 4:
            return [batch.flatten(1).float()]
        size = (min(INPUT_SIDE, batch.shape[2]), min(INPUT_SIDE, batch.shape[3]))
        return [F.adaptive_avg_pool2d(batch.float(), size).flatten(1)]

    @property
    def _last_channel(self) -> bool:
        """Whether maps are ``[B, h, w, D]``, as timm says of its Swin-like networks."""
        return str(getattr(self.body.network, "output_fmt", "")) == "NHWC"

    @contextmanager
    def _caught(self) -> Iterator[dict[str, Tensor]]:
        """The outputs of the stages during a forward pass, by path, and which tokens are attended."""
        outputs: dict[str, Tensor] = {}

        def catching(path: str) -> Any:
            def catch(module: Any, inputs: Any, output: Any) -> None:
                outputs[path] = output[0] if isinstance(output, tuple) else output

            catch.transient = True  # type: ignore[attr-defined]
            return catch

        def attend(module: Any, inputs: Any) -> None:
            if inputs and isinstance(inputs[0], dict) and "attention_mask" in inputs[0]:
                outputs["mask"] = inputs[0]["attention_mask"]

        attend.transient = True  # type: ignore[attr-defined]
        network = self.body.network
        handles = [network.get_submodule(path).register_forward_hook(catching(path)) for path in self._paths]
        handles.append(network.register_forward_pre_hook(attend))
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()


def mean_over_positions(output: Tensor, mask: Tensor | None = None, last_channel: bool = False) -> Tensor:
    """Maps ``[B, D, h, w]``, tokens ``[B, T, D]`` or rows ``[B, D]`` as rows ``[B, D]``.

    Args:
        output: of a stage.
        mask: attended tokens ``[B, T]``; None: all.
        last_channel: maps are ``[B, h, w, D]``.
    """
    if output.ndim == 4:
        return output.mean((1, 2) if last_channel else (2, 3))
    if output.ndim == 3 and mask is not None and mask.shape == output.shape[:2]:
        weight = mask.to(output.dtype).unsqueeze(2)  # [B, T, 1]
        return (output * weight).sum(1) / weight.sum(1).clamp(min=1)
    return output.mean(1) if output.ndim == 3 else output.flatten(1)


def positions(output: Tensor, last_channel: bool = False) -> Tensor | None:
    """Mean absolute activation at each position ``[B, h, w]``; None where positions do not fill a square.

    Tokens before the square (class token, registers) are left out.
    """
    if output.ndim == 4:
        return output.abs().mean(3 if last_channel else 1)
    if output.ndim != 3:
        return None
    side = int(output.shape[1] ** 0.5)
    extra = output.shape[1] - side * side
    if side < 2 or extra > 8:
        return None
    return output[:, extra:].abs().mean(2).unflatten(1, (side, side))


def short_names(names: Sequence[str]) -> list[str]:
    """Names of stages as charts show them: the last two parts of their paths, where these tell them apart.

    >>> short_names(["input", "0.model.encoder.layer.0", "0.model.encoder.layer.1", "features"])
    ['input', 'layer.0', 'layer.1', 'features']
    """
    short = [".".join(name.split(".")[-2:]) for name in names]
    return short if len(set(short)) == len(names) else list(names)
