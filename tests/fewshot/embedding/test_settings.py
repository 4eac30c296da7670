"""`Settings`: arguments of `embed` that are out of range."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fewshot import embed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"storage": "int8"}, "must be 'float16' or 'float32'"),
        ({"on_error": "ignore"}, "must be 'raise' or 'skip'"),
        ({"precision": "double"}, "must be one of auto, float32"),
        ({"views": -1}, "views=-1"),
        ({"views": 1.5}, "views=1.5"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"augment": lambda image, generator: image}, "at least 1 where augment is given"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"workers": "many"}, "workers='many'"),
        ({"engine": "rey"}, "did you mean 'ray'"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embed(torch.rand(2, 1, 2, 2), "pixels", cache=False, **wrong)
