"""Answers of an exported classifier; needs NumPy, Pillow and onnxruntime alone. Copy this file where you need it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from PIL import Image, ImageOps


class ExportedClassifier:
    """Reads a file that `export` wrote: ``ExportedClassifier("model.onnx").predict(["a.jpg"])``."""

    def __init__(self, path: str) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["fewshot"])
        self.classes = np.array(self.about["classes"])

    def predict_proba(self, items: Any) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the classes ``[n, N]``, and which rows are none of them ``[n]``."""
        pixels = self.about["inputs"] == "pixels"
        rows = np.stack([self.prepare(item) for item in items]) if pixels else np.asarray(items)
        return tuple(self.session.run(None, {self.about["inputs"]: rows}))

    def predict(self, items: Any) -> np.ndarray:
        """The class of each item ``[n]``; with several labels, which classes hold ``[n, N]``."""
        chances, rejected = self.predict_proba(items)
        if self.about["multi_label"]:
            return ((chances >= self.about["threshold"]) & ~rejected[:, None]).astype(np.int64)
        best = self.classes[chances.argmax(1)]
        return np.where(rejected, self.about["reject_label"], best) if rejected.any() else best

    def prepare(self, item: Any) -> np.ndarray:
        """A picture, or its file, as the network sees it: ``[size, size, 3]``, 8-bit."""
        (image, box), how = self.decode(item), self.about["preprocess"]
        width, height = image.size if box is None else (box[2] - box[0], box[3] - box[1])
        size, short, method = how["size"], how["resize"], Image.Resampling[how["interpolation"].upper()]
        target = (size, size)
        if short is not None:  # int() as the library has it: sides are rounded down
            target = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        left, top = round((target[0] - size) / 2), round((target[1] - size) / 2)
        if box is None or min(target) < size:
            image = image.resize(target, method, box=box)
            return np.asarray(image.crop((left, top, left + size, top + size)))
        across, down = width / target[0], height / target[1]  # the crop alone is resized
        first, second = box[0] + left * across, box[1] + top * down
        end = min(first + size * across, image.width), min(second + size * down, image.height)
        return np.asarray(image.resize((size, size), method, box=(max(first, 0), max(second, 0), *end)))

    def decode(self, item: Any) -> tuple[Image.Image, tuple[float, float, float, float] | None]:
        """A picture, or its file, upright; and which part of it is the picture, None: all.

        A large JPEG is decoded at a half, a quarter or an eighth of its size, as it was when the classifier was fitted.
        """
        image, how = item if isinstance(item, Image.Image) else Image.open(item), self.about["preprocess"]
        (wide, high), least = image.size, 2 * (how["resize"] or how["size"])
        jpeg = image is not item and image.format in ("JPEG", "MPO") and how.get("decoding") == "reduced"
        scale = next((scale for scale in (8, 4, 2) if jpeg and min(wide, high) // scale >= least), 1)
        if scale == 1:
            return ImageOps.exif_transpose(image).convert("RGB"), None
        image.draft(None, (wide // scale, high // scale))
        turn = image.getexif().get(0x0112, 1)  # its orientation: the right may become the left, and below above
        image = ImageOps.exif_transpose(image).convert("RGB")
        right, low = (high / scale, wide / scale) if turn >= 5 else (wide / scale, high / scale)
        left = image.width - right if turn in (2, 3, 6, 7) else 0.0
        top = image.height - low if turn in (3, 4, 7, 8) else 0.0
        return image, (left, top, left + right, top + low)
