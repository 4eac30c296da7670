"""Image models of timm (PyTorch Image Models), without their heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fewshot.encoders.checkpoint import load_weights, read_checkpoint, require_network
from fewshot.encoders.module import ModuleEncoder
from fewshot.encoders.preprocess import Preprocess, per_channel
from fewshot.registry import unknown


class TimmEncoder(ModuleEncoder):
    """``timm:MODEL``: the model's pooled features before the classifier, or any layer.

    Args:
        model: a name of ``timm.list_models()``, optionally with a weights tag: ``"resnet50.a1_in1k"``.
        checkpoint: file of its weights; None: timm's pretrained weights, downloaded once. The number of
            classes is read from it.
        num_classes: of the checkpoint, where its head has a name of its own.
        pad_type: ``"same"`` for weights converted from TensorFlow.
        layer: name of the submodule whose output is taken; None: the pooled features under the head;
            the classifier's own name (``"classifier"``, ``"fc"``, ``"head"``): its logits.
        pool: see `ModuleEncoder`.
        size: side of the crop that the network sees; this and the following default to the model's own
            data configuration.
        crop: share of the short side that the crop covers.
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
        num_classes: int | None = None,
        pad_type: str | None = None,
        layer: str | None = None,
        pool: str | None = None,
        size: int | None = None,
        crop: float | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        interpolation: str | None = None,
    ) -> None:
        import timm

        if not timm.is_model(model):
            raise ValueError(unknown("timm model", model, timm.list_models()))
        options: dict[str, Any] = {} if pad_type is None else {"pad_type": pad_type}
        if num_classes is not None:
            options["num_classes"] = num_classes
        if checkpoint is None:
            _check_download(model)
            module: nn.Module = timm.create_model(model, pretrained=True, **options)
        else:
            module = _with_checkpoint(model, checkpoint, options)
        width: int | None = None
        head: Any = None
        if layer is None:
            head = module.get_classifier()  # type: ignore[operator]
            module.reset_classifier(0)  # type: ignore[operator]
            width = int(getattr(module, "head_hidden_size", None) or module.num_features)  # type: ignore[arg-type]
        recipe = timm.data.resolve_data_config(model=module)
        size = size or recipe["input_size"][-1]
        crop = crop or recipe["crop_pct"]
        transform = Preprocess(
            size=size,
            resize=None if recipe["crop_mode"] == "squash" else int(size / crop),
            mean=per_channel(recipe["mean"] if mean is None else mean),
            std=per_channel(recipe["std"] if std is None else std),
            interpolation=interpolation or recipe["interpolation"],
        )
        name = f"timm:{model}" + (f"@{Path(checkpoint).name}" if checkpoint else "")
        name += f"({layer})" if layer else ""
        module.eval()  # a forward pass of the user's own must not change its batch norms
        super().__init__(module, transform, layer=layer, pool=pool, name=name, dim=width)
        if isinstance(head, nn.Linear) and head.in_features == width:
            self.source_head = head.eval()


def _with_checkpoint(model: str, checkpoint: str, options: dict[str, Any]) -> nn.Module:
    import timm

    state = read_checkpoint(checkpoint)
    if "num_classes" not in options:
        head = timm.get_pretrained_cfg_value(model, "classifier") or "classifier"
        weight = state.get(f"{head}.weight") if isinstance(head, str) else None
        options = {**options, "num_classes": 0 if weight is None else len(weight)}
    module: nn.Module = timm.create_model(model, pretrained=False, **options)
    load_weights(module, state, f"timm:{model}")
    return module


def _check_download(model: str) -> None:
    import timm
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT

    config = timm.get_pretrained_cfg(model)
    if config is None or not config.has_weights:
        raise ValueError(
            f"timm has no pretrained weights for {model!r}; give a file, 'timm:{model}@path/to/weights.safetensors'."
        )
    repository = config.hf_hub_id
    files = ("model.safetensors", "pytorch_model.bin")
    if repository and not any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        require_network(
            f"{ENDPOINT}/{repository}", f"'timm:{model}'",
            "Download model.safetensors from there elsewhere and give it: "
            f"'timm:{model}@path/to/model.safetensors'.",
        )  # fmt: skip
