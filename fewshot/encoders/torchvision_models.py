"""Image classifiers of torchvision, without their heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewshot.encoders.checkpoint import load_weights, read_checkpoint, require_network
from fewshot.encoders.module import ModuleEncoder
from fewshot.encoders.preprocess import Preprocess, per_channel
from fewshot.registry import unknown


class TorchvisionEncoder(ModuleEncoder):
    """``torchvision:MODEL``: the input of the model's last linear layer, or any layer.

    Args:
        model: a classifier in ``torchvision.models``, such as ``"resnet18"``.
        checkpoint: file of its weights; None: torchvision's best pretrained weights, downloaded once. The
            number of classes is read from it.
        layer: name of the submodule whose output is taken; None: the pooled features under the head.
        pool: see `ModuleEncoder`.
        size: side of the crop that the network sees; this and the following default to what the
            pretrained weights were tested with (with a checkpoint: the first, plain ImageNet recipe).
        resize: short side before the crop.
        mean: of each colour channel, one number or three.
        std: of each colour channel.
        interpolation: ``"bilinear"``, ``"bicubic"``, ...

    Raises:
        ValueError: unknown model, layer or option, or a checkpoint that does not fit.
        ConnectionError: the pretrained weights are not on this machine and there is no network.
    """

    copyable = True

    def __init__(
        self,
        model: str,
        checkpoint: str | None = None,
        *,
        layer: str | None = None,
        pool: str | None = None,
        size: int | None = None,
        resize: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        interpolation: str | None = None,
    ) -> None:
        from torchvision import models

        known = models.list_models(module=models)
        if model not in known:
            raise ValueError(unknown("torchvision model", model, known))
        variants = list(models.get_model_weights(model))
        weights = variants[0] if checkpoint else models.get_model_weights(model).DEFAULT
        if checkpoint is None:
            _check_download(model, weights.url)
            module = models.get_model(model, weights=weights)
        else:
            module = _with_checkpoint(model, checkpoint)
        width: int | None = None
        head: nn.Module | None = None
        if layer is None:
            head = module.get_submodule(_head(module) or "")
            width = remove_head(module, model)
        recipe = weights.transforms()
        transform = Preprocess(
            size=size or recipe.crop_size[0],
            resize=resize or (recipe.resize_size[0] if size is None else round(size / 0.875)),
            mean=per_channel(mean if mean is not None else recipe.mean),
            std=per_channel(std if std is not None else recipe.std),
            interpolation=interpolation or recipe.interpolation.value,
        )
        name = f"torchvision:{model}" + (f"@{Path(checkpoint).name}" if checkpoint else "")
        name += f"({layer})" if layer else ""
        module.eval()  # a forward pass of the user's own must not change its batch norms
        super().__init__(module, transform, layer=layer, pool=pool, name=name, dim=width)
        self.source_head = head


def remove_head(module: nn.Module, model: str) -> int:
    """Replace the last linear layer by the identity; returns its input width D."""
    name = _head(module)
    if name is None:
        raise ValueError(f"{model!r} has no linear head to remove; choose where to read it with layer='...'.")
    head = module.get_submodule(name)
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, nn.Identity())
    return int(head.in_features)  # type: ignore[arg-type]


def _head(module: nn.Module) -> str | None:
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    return linear[-1] if linear else None


def _with_checkpoint(model: str, checkpoint: str) -> nn.Module:
    from torchvision import models

    state = read_checkpoint(checkpoint)
    with torch.device("meta"):  # only to learn the name of its head
        head = _head(models.get_model(model, weights=None, init_weights=False) if _lazy(model) else
                     models.get_model(model, weights=None))  # fmt: skip
    bias = state.get(f"{head}.bias") if head else None
    options = {} if bias is None else {"num_classes": len(bias)}
    module: nn.Module = models.get_model(model, weights=None, **_without_init(model), **options)
    load_weights(module, state, f"torchvision:{model}")
    return module


def _lazy(model: str) -> bool:
    return model in ("googlenet", "inception_v3")


def _without_init(model: str) -> dict[str, Any]:
    # Their random initialisation takes half a minute and warns; the checkpoint overwrites it anyway.
    return {"init_weights": False} if _lazy(model) else {}


def _check_download(model: str, url: str) -> None:
    if not (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file():
        require_network(
            url, f"'torchvision:{model}'",
            "Download that file elsewhere and give it: "
            f"'torchvision:{model}@path/to/{url.rpartition('/')[2]}'.",
        )  # fmt: skip
