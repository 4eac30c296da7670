"""Export: a fitted classifier as one ONNX file, which answers without torch and without this library."""

from __future__ import annotations

from fewshot.export.onnx_file import export

__all__ = ["export"]
