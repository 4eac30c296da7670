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
        image = item if isinstance(item, Image.Image) else Image.open(item)
        image, how = ImageOps.exif_transpose(image).convert("RGB"), self.about["preprocess"]
        width, height = image.size
        size, short = how["size"], how["resize"]
        target = (size, size)
        if short is not None:  # int() as the library has it: sides are rounded down
            target = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
        image = image.resize(target, Image.Resampling[how["interpolation"].upper()])
        left, top = round((target[0] - size) / 2), round((target[1] - size) / 2)
        return np.asarray(image.crop((left, top, left + size, top + size)))
