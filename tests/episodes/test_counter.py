"""Random streams: each purpose has its own, in every file that draws."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import episodes
from episodes.counter import SPANS, Stream, shot_stream

ROOT = Path(episodes.__file__).parents[1]


def test_no_two_purposes_share_a_stream() -> None:
    reaches = sorted((int(stream), int(stream) + SPANS.get(stream, 1), stream.name) for stream in Stream)
    for (_, end, name), (begin, _, other) in pairwise(reaches):
        assert end <= begin, f"{name} reaches into {other}"
    shots = [shot_stream(shot) for shot in range(1000)]
    assert len(set(shots)) == 1000
    assert shots[:98] == list(range(2, 100)), "recorded episodes keep their streams"
    assert not set(shots) & {int(stream) for stream in Stream if stream not in (Stream.SHOT, Stream.LATER_SHOT)}


def test_whoever_draws_names_the_purpose() -> None:
    calls = 0
    for path in [*(ROOT / "episodes").rglob("*.py"), *(ROOT / "fewshot").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "uniforms":
                stream = ast.unparse(node.args[1])
                assert stream.startswith(("Stream.", "shot_stream(")), f"{path.name} draws from stream {stream}"
                calls += 1
    assert calls > 10
