"""Small models trained for this library, whose weights come with the library: they work on any machine, offline."""

from __future__ import annotations

from pathlib import Path

from fewshot.encoders.domain import read_domain
from fewshot.encoders.encoder import Encoder
from fewshot.registry import unknown

FOLDER = Path(__file__).parent
NAMES = ("conv4-omniglot", "tiny-clip")


def bundled(model: str, *, long_text: str = "warn") -> Encoder:
    """``fewshot:conv4-omniglot``: a prototypical network's Conv-4, trained on 242 handwritten characters; for drawings.

    ``fewshot:tiny-clip``: image and text towers trained on drawn scenes (``scenes:``), 1.4 million weights.

    For trying things out, for tests and for teaching: it was trained on drawings of ten shapes, twelve colours, four
    textures, sizes and positions, and on no photographs (see its model card). For those take ``open_clip:``.

    Args:
        model: the name.
        long_text: as for ``open_clip:``.

    Raises:
        ValueError: unknown name.
    """
    if model not in NAMES:
        raise ValueError(unknown("bundled encoder", model, NAMES))
    if model == "conv4-omniglot":
        return _conv4()
    from fewshot.encoders.open_clip_models import OpenClipEncoder

    encoder = OpenClipEncoder(f"local-dir:{FOLDER / model}", long_text=long_text)
    encoder.name = f"fewshot:{model}"
    encoder.domain = read_domain(FOLDER / model)
    return encoder


def _conv4() -> Encoder:
    from fewshot.encoders.bundled.ink import Ink
    from fewshot.encoders.checkpoint import load_weights, read_checkpoint
    from fewshot.encoders.module import ModuleEncoder
    from fewshot.nets.conv4 import Conv4

    net = Conv4((1, 28, 28))
    load_weights(net, read_checkpoint(FOLDER / "conv4-omniglot" / "model.safetensors"), "conv4-omniglot")
    return ModuleEncoder(net, Ink(), name="fewshot:conv4-omniglot", dim=net.dim)
