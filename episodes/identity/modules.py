"""What a network computes apart from its weights: classes, settings at every depth, hooks, replaced methods."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

import torch
from torch import nn

from episodes.identity.code import Describe, describe_class, is_library

# What torch keeps in every module to run it, or to save and load it.
_BOOKKEEPING = {
    "training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_is_full_backward_hook",
    "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_forward_hooks", "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs", "_compiled_call_impl", "call_super_init",
}  # fmt: skip
# Where library networks note how they came to be: names of files, tags, cards, download addresses.
ORIGIN = {
    "pretrained_cfg", "default_cfg", "_name_or_path", "name_or_path", "transformers_version", "model_card_data",
    "_model_card_text", "_model_card_vars", "_commit_hash", "_is_hf_initialized", "vocab_file", "init_kwargs",
    "_processor_class", "_target_device", "_model_config", "module_kwargs", "warnings_issued",
    "_keep_in_fp32_modules", "_no_split_modules", "_hf_hook",
}  # fmt: skip


def describe_module(module: nn.Module, describe: Describe) -> dict[str, Any]:
    """Class, attributes, hooks and children of a module; weights are digested apart (`digest_weights`).

    Versions of libraries are left out: what a layer of theirs computes is watched by canaries where rows are kept.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return {"script": _script(module)}
    origin = getattr(module, "_orig_mod", None)
    if isinstance(origin, nn.Module) and type(module).__name__ == "OptimizedModule":
        return describe_module(origin, describe)  # compiled by torch.compile: the same function
    kind = type(module)
    described: dict[str, Any] = {
        "class": describe_class(kind, describe, versions=False) if is_library(kind.__module__) else describe(kind),
    }
    outside = is_library(kind.__module__)
    skipped = _BOOKKEEPING | (ORIGIN if outside else set()) | computed_names(kind)
    state = {name: value for name, value in vars(module).items() if name not in skipped}
    if state:
        described["state"] = {name: describe(Attribute(name, value)) for name, value in state.items()}
    hooks = [
        [place, describe(_unwrapped(hook))]
        for place in ("_forward_hooks", "_forward_pre_hooks")
        for hook in getattr(module, place).values()
        if not getattr(hook, "transient", False)
    ]
    if hooks:
        described["hooks"] = hooks
    if module._modules:
        described["parts"] = {
            name: None if part is None else describe(Part(part)) for name, part in module._modules.items()
        }
    return described


class Attribute:
    """A value with the name under which it is held, for messages."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value


class Part:
    """A registered part of a module, whose weights are digested with the whole."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module


def _unwrapped(hook: Any) -> Any:
    return getattr(hook, "hook", hook) if type(hook).__name__ == "_WrappedHook" else hook


def computed_names(kind: type) -> set[str]:
    """Names under which `functools.cached_property` keeps what it computed."""
    return {name for base in kind.__mro__ for name, value in vars(base).items()
            if isinstance(value, functools.cached_property)}  # fmt: skip


def _script(module: torch.jit.ScriptModule) -> str:
    """The program of a scripted or traced module, without the places in files that it was made from."""
    text = "\n".join(f"{name}\n{part.code}" for name, part in module.named_modules() if hasattr(part, "code"))
    graph = re.sub(r"#.*", "", str(getattr(module, "inlined_graph", "")))
    return hashlib.sha256(f"{text}\n{graph}".encode()).hexdigest()[:32]
