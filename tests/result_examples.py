"""Results to be written."""

from __future__ import annotations

from typing import Any

import numpy as np

from episodes import Result
from episodes.results_file import line_of


def cell(learner: str = "proto", count: int = 15, episodes: int = 6, **evaluation: Any) -> Result:
    recipe = {
        "learner": {"spec": learner},
        "evaluation": {"dataset": {"name": "toy", "fingerprint": "f"}, "way": 5, "shot": 1, "query": 3, **evaluation},
    }
    scores = np.random.default_rng(len(learner)).integers(0, 16, episodes) / 15
    return Result(learner, recipe, scores, query_count=count, environment={"torch": "2"})


GOOD = [line_of(cell(name)).encode() for name in ("aa", "bbb", "cccc")]


def changed(**fields: Any) -> dict[str, Any]:
    data = {k: v for k, v in cell().to_json().items() if k != "checksum"}
    return {k: v for k, v in {**data, **fields}.items() if v is not KeyError}
