"""The stages of a network, from its input to its output: what "the last two blocks" means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

_TRUNKS = ("features", "encoder", "layers", "blocks", "stages", "trunk", "visual", "transformer", "resblocks", "layer",
           "model", "body", "backbone", "auto_model", "bert", "h")  # fmt: skip
_MOST = 0.8  # share of all weights
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.MaxPool1d)


@dataclass(frozen=True)
class Stage:
    """A stretch of a network that is frozen or trained as a whole.

    Attributes:
        name: of its first module.
        modules: paths of its outermost modules, in the order in which they run.
        parameters: names of all its parameters, those that lie between modules (a class token) too.
        count: numbers in these.
    """

    name: str
    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    count: int


def stages(network: nn.Module) -> list[Stage]:
    """The stages of a network: timm's or open_clip's own groups where it has them, else the blocks of its trunk.

    Modules without weights (activations, pooling) belong to the stage before them; VGG-like sequences are cut behind
    their pooling layers.

    Args:
        network: any module; a classification head of its own is the last stage.

    Raises:
        ValueError: fewer than two stages can be distinguished.
    """
    parts = _timm(network) or _clip_tower(network) or _trunk(network)
    found = [stage for stage in _joined(network, parts) if stage.count]
    if len(found) < 2:
        raise ValueError(
            f"{type(network).__name__} shows no blocks to count ({len(found)} stage with weights); train all of it "
            "('full'), its head alone ('linear-probe'), or give it as an nn.Sequential of blocks."
        )
    return found


def _timm(network: nn.Module) -> list[list[str]]:
    """Paths of modules by timm's coarse groups of parameters."""
    matcher = getattr(network, "group_matcher", None)
    if matcher is None or not type(network).__module__.startswith("timm."):
        return []
    from timm.models import group_parameters

    number = {
        name: int(place)
        for place, names in group_parameters(network, matcher(coarse=True), reverse=False).items()
        for name in names
    }
    grouped: dict[int, list[str]] = {}
    last = 0
    for path in _outermost(network, number):
        own = {number[name] for name in number if name.startswith(f"{path}.")}
        last = own.pop() if own else last
        grouped.setdefault(last, []).append(path)
    return [grouped[place] for place in sorted(grouped)]


def _clip_tower(network: nn.Module) -> list[list[str]]:
    """Paths of the groups that open_clip's `lock` unlocks: embeddings, then blocks.

    What it unlocks first, the projection, is a bare parameter, before which no network can be cut; so it belongs to
    the last block here, as the norm before it does.
    """
    home = type(network).__module__
    blocks = getattr(getattr(network, "transformer", None), "resblocks", None)
    if not home.startswith(("open_clip.", "fewshot.encoders.open_clip")) or not isinstance(blocks, nn.ModuleList):
        return []
    inner = [f"transformer.resblocks.{number}" for number in range(len(blocks))]
    before, after = ("conv1", "token_embedding", "positional_embedding", "class_embedding", "cls_emb", "ln_pre"), (
        "ln_post", "ln_final", "attn_pool", "proj", "text_projection"
    )  # fmt: skip
    first, last = ([name for name in names if getattr(network, name, None) is not None] for names in (before, after))
    return [first, *([path] for path in inner[:-1]), [inner[-1], *last]]


def _outermost(network: nn.Module, number: dict[str, int], prefix: str = "") -> Iterator[str]:
    """The largest modules whose parameters are all of one group."""
    for name, child in network.named_children():
        path = f"{prefix}{name}"
        groups = {number[held] for held in number if held.startswith(f"{path}.")}
        if len(groups) > 1:
            yield from _outermost(child, number, f"{path}.")
        else:
            yield path


def _trunk(network: nn.Module) -> list[list[str]]:
    """Children, those that are trunks or plain sequences opened."""
    parts = [[path] for path in _opened(network, "")]
    groups: list[list[str]] = []
    running = False  # whether the last group is a run of plain layers, which ends with a pooling layer
    for part in parts:
        module = network.get_submodule(part[0])
        plain = not any(True for _ in module.children())
        if running and plain:
            groups[-1] += part
        else:
            groups.append(part)
        running = plain and not isinstance(module, _POOLS)
    return groups


def _opened(network: nn.Module, prefix: str, total: int = 0) -> Iterator[str]:
    total = total or _size(network)
    for name, child in network.named_children():
        path = f"{prefix}{name}"
        held = [grandchild for grandchild in child.children() if _size(grandchild)]
        sequence = isinstance(child, nn.ModuleList) or (
            not prefix and isinstance(child, nn.Sequential) and _plain(child) and not _of_blocks(network)
        )
        wrapper = len(held) == 1 and (isinstance(held[0], nn.ModuleList) or _size(child) > _MOST * total)
        if (len(held) > 1 and (name in _TRUNKS or sequence)) or wrapper:
            yield from _opened(child, f"{path}.", total)
        else:
            yield path


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _plain(sequence: nn.Module) -> bool:
    """Whether a sequence holds layers, not blocks; `layer1` of a ResNet holds blocks, and is one stage."""
    return not any(any(True for _ in child.children()) for child in sequence.children())


def _of_blocks(network: nn.Module) -> bool:
    """Whether a network is a sequence of several sequences of layers: these are its blocks."""
    blocks = [child for child in network.children() if isinstance(child, nn.Sequential) and _size(child)]
    return isinstance(network, nn.Sequential) and len(blocks) > 1


def _joined(network: nn.Module, parts: Iterable[list[str]]) -> list[Stage]:
    """Parts with weights; those without join the one before, and stray parameters the first."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    groups: list[list[str]] = []
    for part in parts:
        weighty = any(_within(name, path) for path in part for name in sizes)
        if groups and not (weighty and any(_within(name, path) for path in groups[-1] for name in sizes)):
            groups[-1] = groups[-1] + part
        else:
            groups.append(list(part))
    owner = {
        name: place for place, group in enumerate(groups) for path in group for name in sizes if _within(name, path)
    }
    modules = {name for name, _ in network.named_modules()}
    made = []
    for place, group in enumerate(groups):
        names = tuple(name for name in sizes if owner.get(name, 0) == place)
        paths = tuple(path for path in group if path in modules)
        made.append(Stage(paths[0], paths, names, sum(sizes[name] for name in names)))
    return made


def _within(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")
