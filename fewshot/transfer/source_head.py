"""What a pretrained network's own classifier answers to rows of another task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fewshot.encoders.encoder import Encoder


def source_head(encoder: Encoder) -> nn.Module | None:
    """The classifier of the classes that an encoder was trained on, features ``[M, D]`` -> logits ``[M, Z]``, or None.

    It is ``encoder.source_head``, which timm's and torchvision's encoders keep of their networks; of a tuned encoder
    the head that it was tuned with.
    """
    found: Any = encoder.source_head if encoder.source_head is not None else getattr(encoder, "head", None)
    return found if isinstance(found, nn.Module) else None


def source_posteriors(encoder: Encoder, features: Tensor) -> Tensor | None:
    """Probabilities of the source classes ``[M, Z]``, or None where the encoder has no classifier of its own.

    Args:
        encoder: whose classifier.
        features: of the encoder ``[M, D]``.
    """
    head = source_head(encoder)
    if head is None:
        return None
    first = next(head.parameters())
    with torch.no_grad():
        logits: Tensor = head(features.to(first.device, first.dtype))
    return logits.double().softmax(-1)
