"""The same content under two labels, or twice under one, is said when a classifier is fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewshot import FewShotClassifier, ZeroShotClassifier
from fewshot.cache.twins import warn_of_twins


def keys(*contents: int) -> np.ndarray:
    return np.repeat(np.array(contents, np.uint8)[:, None], 16, axis=1)  # [n, 16]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_labels_that_differ_are_named(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_twins(keys(1, 2, 1, 3, 1, 2), ["a", "a", "b", "a", "a", "a"], "row {}".format)
    assert said(caplog) == ["the same content is labelled 'a' (row 0) and 'b' (row 2)."]
    caplog.clear()
    warn_of_twins(keys(1, 2, 3), "abc", "row {}".format, within=True)
    assert said(caplog) == []
    warn_of_twins(keys(*[0] * 6), "abcdef", "row {}".format)
    assert len(said(caplog)) == 4 and said(caplog)[-1].startswith("and 2 more rows")


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    paths[3].write_bytes(paths[0].read_bytes())
    return paths


def test_fit_warns_of_a_photograph_in_two_classes(photographs: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    classifier = FewShotClassifier("pixels", cache=False)
    classifier.fit(photographs, ["owl"] * 3 + ["crow"] * 3)
    (message,) = said(caplog)
    assert message == f"the same content is labelled 'owl' ({photographs[0]}) and 'crow' ({photographs[3]})."
    caplog.clear()
    classifier.predict([*photographs, *photographs])
    assert said(caplog) == []  # questions may come twice


def test_fit_warns_of_a_photograph_twice_in_one_class(
    photographs: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    FewShotClassifier("pixels", cache=False).fit(photographs, ["owl", "crow"] + ["owl"] * 4)
    (message,) = said(caplog)
    assert message.startswith("1 of the examples has the same content as another of their class, such as")
    assert str(photographs[3]) in message


def test_partial_fit_and_zero_shot_warn_as_well(photographs: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    classifier = FewShotClassifier("pixels", cache=False).fit(photographs[4:], ["owl", "crow"])
    classifier.partial_fit(photographs[:4], ["owl", "owl", "owl", "crow"])
    assert len(said(caplog)) == 1
    caplog.clear()
    pictures = [np.asarray(Image.open(path)) for path in photographs]
    words = ZeroShotClassifier("fewshot:tiny-clip", learner="tip-adapter", cache=False)
    words.fit(pictures, ["owl"] * 3 + ["crow"] * 3)
    assert any(message.startswith("the same content is labelled 'owl'") for message in said(caplog))
