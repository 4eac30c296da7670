"""Networks and tokenizers of open_clip, by tag, from a file of weights, or from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from fewshot.encoders.checkpoint import require_network
from fewshot.registry import unknown

LOCAL = "local-dir:"


def from_folder(folder: Path) -> tuple[nn.Module, Any]:
    """Network and tokenizer of a folder with ``open_clip_config.json`` and the weights."""
    import open_clip

    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise FileNotFoundError(
            f"there is no {str(config)!r}; after local-dir: comes a folder that holds it and the weights."
        )
    settings = json.loads(config.read_text(encoding="utf-8"))
    if "preprocess_cfg" not in settings:
        raise ValueError(f"{str(config)!r} has no preprocess_cfg: add mean, std, interpolation and resize_mode to it.")
    options = dict(settings["model_cfg"]["text_cfg"].get("tokenizer_kwargs") or {})
    if "bpe_path" in options:  # relative to the folder
        options["bpe_path"] = str(folder / options["bpe_path"])
    module = open_clip.create_model(f"{LOCAL}{folder}", require_pretrained=True)
    return module, open_clip.get_tokenizer(f"{LOCAL}{folder}", **options)


def from_tag(spec: str) -> tuple[nn.Module, Any]:
    """Network and tokenizer of ``MODEL/TAG``, from this machine or the network."""
    import open_clip

    name, slash, tag = spec.rpartition("/")
    if not slash:
        _check_model(spec)
        raise ValueError(
            f"'open_clip:{spec}' names no weights; write 'open_clip:{spec}/TAG' with one of "
            f"{', '.join(open_clip.list_pretrained_tags_by_model(spec)) or '(none known)'}, or a file: "
            f"'open_clip:{spec}@PATH'."
        )
    _check_model(name)
    config = open_clip.get_pretrained_cfg(name, tag)
    if not config:
        raise ValueError(unknown(f"weights of {name}", tag, open_clip.list_pretrained_tags_by_model(name)))
    _check_download(spec, config)
    module = open_clip.create_model(name, tag, force_quick_gelu=bool(config.get("quick_gelu", False)))
    return module, _tokenizer(name)


def from_file(name: str, path: Path, like: str | None) -> tuple[nn.Module, Any]:
    """Network and tokenizer of a model with the weights of a file."""
    import open_clip

    _check_model(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}; check the path after '@' or checkpoint=.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if like is not None and like not in tags:
        raise ValueError(unknown(f"weights of {name}", like, tags))
    keys = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")
    known = {tag: {key: open_clip.get_pretrained_cfg(name, tag).get(key) for key in keys} for tag in tags}
    if like is None and len({json.dumps(settings) for settings in known.values()}) != 1:
        raise ValueError(
            f"a file of {name!r} does not contain its preprocessing, and trainings differ; name the one it comes "
            f"from, 'open_clip:{name}@{path.name}(like=\"TAG\")', with one of {', '.join(tags)}."
            if tags
            else f"{name!r} has no known training, so its preprocessing is unknown; put the weights into "
            f"a folder with an open_clip_config.json and write 'open_clip:{LOCAL}PATH'."
        )
    settings = known[like or tags[0]]
    quick = bool(settings.pop("quick_gelu"))
    module = open_clip.create_model(
        name, str(path), force_quick_gelu=quick, force_preprocess_cfg={k: v for k, v in settings.items() if v}
    )
    return module, _tokenizer(name)


def _check_model(name: str) -> None:
    import open_clip

    if name not in open_clip.list_models():
        raise ValueError(unknown("open_clip model", name, open_clip.list_models()))


def _tokenizer(name: str) -> Any:
    import open_clip

    hub = (open_clip.get_model_config(name) or {}).get("text_cfg", {}).get("hf_tokenizer_name")
    if hub:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.constants import ENDPOINT

        files = ("tokenizer.json", "tokenizer_config.json")
        if not any(isinstance(try_to_load_from_cache(hub, file), str) for file in files):
            require_network(f"{ENDPOINT}/{hub}", f"the tokenizer of {name!r}", _ELSEWHERE)
    return open_clip.get_tokenizer(name)


_ELSEWHERE = (
    "Save model and tokenizer elsewhere as a folder with open_clip_config.json, and give that: "
    "'open_clip:local-dir:PATH'."
)


def _check_download(spec: str, config: dict[str, Any]) -> None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import ENDPOINT

    hub, url = config.get("hf_hub", "").rstrip("/"), config.get("url", "")
    if hub:
        repository = "/".join(hub.split("/")[:2])
        files = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
        if any(isinstance(try_to_load_from_cache(repository, file), str) for file in (*files, *hub.split("/")[2:])):
            return
        url = f"{ENDPOINT}/{repository}"
    if url:
        name = spec.rpartition("/")[0]
        require_network(
            url, f"'open_clip:{spec}'",
            f"Download the weights from there elsewhere and give the file: 'open_clip:{name}@PATH'; or try the small "
            "model that comes with this library: 'fewshot:tiny-clip'.",
        )  # fmt: skip
