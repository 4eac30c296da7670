"""`contact_sheet`: what training is fed, to be looked at before it starts."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from episodes.any_source import as_source
from episodes.printable import printable
from episodes.source import tower_of
from fewshot.encoders.encoder import Encoder
from fewshot.transfer.inspection.occlusion import examples_to_explain
from fewshot.transfer.inspection.pictures import network_input, thumbnail, visible

_GAP, _LABEL, _HEAD = 6, 96, 22  # pixels
_INK, _PAPER = (60, 64, 72), (255, 255, 255)


def contact_sheet(
    source: Any,
    encoder: str | Encoder,
    augment: Any = None,
    *,
    rows: int = 8,
    views: int = 6,
    seed: int = 0,
    side: int = 112,
) -> Any:
    """Photographs as training is fed them: each once plain, then augmented, one row each, labelled with its class.

    Pictures go through the encoder's own preprocessing, then through `augment` as in `fine_tune`; for the eye alone,
    the normalisation is undone. Column v is what the update with that seed would be given.

    Args:
        source: pictures, as `fewshot.embed` takes them.
        encoder: spec string or `Encoder`, whose preprocessing they go through.
        augment: as for `fine_tune`; None: the plain pictures alone.
        rows: pictures shown, the first of each class in turn.
        views: augmented ones of each.
        seed: of the augmentation.
        side: of each picture on the sheet, in pixels.

    Returns:
        A PIL image; ``.save("sheet.png")`` writes it, and notebooks show it.

    Raises:
        ValueError: texts, or pictures that the encoder's transform leaves at several sizes.

    >>> from fewshot import contact_sheet
    >>> contact_sheet("scenes", "fewshot:tiny-clip", "flip | crop(0.6)", rows=2, views=3)  # doctest: +SKIP
    """
    from fewshot.encoders import load_encoder

    if rows < 1 or views < 0 or side < 16:
        raise ValueError(f"rows={rows}, views={views}, side={side}; at least 1 row, 0 views and 16 pixels.")
    given = load_encoder(encoder)
    items = as_source(source, given)
    if tower_of(items) != "images":
        raise ValueError(f"{items.name!r} holds texts; a contact sheet is of pictures.")
    chosen = examples_to_explain(items.labels, [], min(rows, len(items)))
    plain = [network_input(items, given, row) for row in chosen]
    sizes = {tuple(one.shape) for one in plain}
    if len(sizes) > 1:
        raise ValueError(f"pictures become {sorted(sizes)[:3]}; the encoder needs a transform that makes one size.")
    batch = torch.stack(plain)  # [B, 3, H, W]
    columns = [batch, *_augmented(batch, augment, given, views, seed)]
    names = [items.class_names[int(items.labels[row])] for row in chosen]
    return _sheet([[visible(one, given.transform) for one in column] for column in columns], names, side)


def _augmented(batch: Tensor, augment: Any, encoder: Encoder, views: int, seed: int) -> list[Tensor]:
    """Views of a batch, as training makes them ``[B, 3, H, W]``."""
    if augment is None:
        return []
    change = augment
    if not isinstance(augment, FunctionType):  # a function is given what the network is given
        from fewshot.augmentation import load_augmentation
        from fewshot.augmentation.in_pixels import for_inputs

        change = for_inputs(load_augmentation(augment), encoder.transform, encoder.name)
    return [change(batch.clone(), torch.Generator().manual_seed(seed + view)) for view in range(views)]


def _sheet(columns: list[list[Any]], names: list[str], side: int) -> Any:
    from PIL import Image, ImageDraw

    width = _LABEL + len(columns) * (side + _GAP)
    sheet = Image.new("RGB", (width, _HEAD + len(names) * (side + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), _font()
    for number, column in enumerate(columns):
        left = _LABEL + number * (side + _GAP)
        draw.text((left + 2, 4), "plain" if number == 0 else f"view {number}", _INK, font)
        for place, one in enumerate(column):
            sheet.paste(thumbnail(one, side), (left, _HEAD + place * (side + _GAP)))
    for place, name in enumerate(names):
        words = printable(name)
        while len(words) > 2 and draw.textlength(words, font) > _LABEL - 12:
            words = f"{words[:-2]}…" if words.endswith("…") else f"{words[:-1]}…"
        draw.text((4, _HEAD + place * (side + _GAP) + side // 2 - 7), words, _INK, font)
    return sheet


def _font() -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(13)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()
