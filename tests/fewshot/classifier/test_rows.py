"""Rows that classifiers are given: of the kind that was fitted, features, and names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from input_examples import Both, colour, write_owl
from PIL import Image

from fewshot import FewShotClassifier, ZeroShotClassifier


class TestWhatWasFitted:
    def test_texts_and_images_are_not_mixed(self, tmp_path: Path) -> None:
        images = [colour(255, 0, 0), colour(0, 0, 255)]
        for make in (
            lambda: FewShotClassifier(Both(), cache=False),
            lambda: ZeroShotClassifier(Both(), learner="tip-adapter", cache=False),
        ):
            on_images = make().fit(images, ["r", "b"])
            with pytest.raises(ValueError, match=r"X holds texts \(text 'bbb' .*but images were fitted"):
                on_images.predict(["bbb"])
            assert len(on_images.predict([write_owl(tmp_path)])) == 1
            on_texts = make().fit(["rr", "bb"], ["r", "b"])
            with pytest.raises(ValueError, match=r"X holds images .*but texts were fitted"):
                on_texts.predict(images)
            assert on_texts.predict(["rrr"]).tolist() == ["r"]
            assert on_texts.fit(images, ["r", "b"]).predict(images).tolist() == ["r", "b"]

    def test_more_examples_are_of_the_same_kind(self) -> None:
        classifier = FewShotClassifier(Both(), cache=False).partial_fit(["rr", "bb"], ["r", "b"])
        with pytest.raises(ValueError, match=r"X holds images .*but texts were fitted"):
            classifier.partial_fit([colour(0, 255, 0)], ["g"])

    def test_without_examples_both_kinds_are_answered(self) -> None:
        classifier = ZeroShotClassifier(Both(), templates=["{label}"], cache=False).fit(None, ["rrr", "bbb"])
        assert classifier.predict([colour(255, 0, 0), colour(0, 0, 255)]).tolist() == ["rrr", "bbb"]
        assert classifier.predict(["rr", "bb"]).tolist() == ["rrr", "bbb"]


class TestFeatures:
    def test_zero_shot_takes_tables_of_numbers(self) -> None:
        classifier = ZeroShotClassifier(Both(), templates=["{label}"], cache=False).fit(None, ["rrr", "bbb"])
        features = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
        forms: list[Any] = [
            features, np.array(features), torch.tensor(features).bfloat16(), pd.DataFrame(features),
            torch.tensor(features, requires_grad=True), np.array(features, dtype=np.int64),
        ]  # fmt: skip
        for X in forms:
            assert classifier.predict(X).tolist() == ["rrr", "bbb"]

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.array([[1, 0, 0], [0, np.nan, 0]]), "row 1 of X contains NaN"),
            (np.array([[1, 0, 0], [0, np.inf, 0]]), "row 1 of X contains NaN or infinity"),
            (np.eye(4), "X has 4 features, but 'both' gives 3"),
            (np.zeros((2, 0)), r"0 feature\(s\)"),
            (scipy.sparse.eye(3).tocsr(), r"X is sparse .*toarray"),
            (torch.eye(3).to_sparse(), r"X is sparse .*to_dense"),
            (np.eye(3) * 1j, "[Cc]omplex"),
        ],
    )
    def test_features_that_are_refused(self, X: Any, message: str) -> None:
        classifier = ZeroShotClassifier(Both(), templates=["{label}"], cache=False).fit(None, ["rrr", "bbb"])
        with pytest.raises(ValueError, match=message):
            classifier.predict(X)

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (scipy.sparse.eye(2).tocsr(), "sparse"),
            (torch.eye(2).to_sparse(), r"sparse.*to_dense"),
            (torch.eye(2, dtype=torch.complex64), "complex"),
            (np.zeros((2, 0)), "0 feature"),
            (Image.new("RGB", (4, 4)), "name an encoder"),
            (pd.Series(["a.jpg", "b.jpg"]), "name an encoder"),
            ([torch.zeros(2), torch.zeros(3)], "several shapes"),
        ],
    )
    def test_without_an_encoder(self, X: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            FewShotClassifier().fit(X, [0, 1])

    def test_lists_of_tensors(self) -> None:
        X = [torch.tensor([1.0, 0.0], requires_grad=True), torch.tensor([0.0, 1.0])]
        assert FewShotClassifier().fit(X, [0, 1]).predict(X).tolist() == [0, 1]


class TestClassNames:
    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ("owl", r"single string 'owl'; give a list of them, such as \['owl'\]"),
            (None, "None"),
            (["owl", None], "row 1 of y is missing"),
        ],
    )
    def test_refused(self, names: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ZeroShotClassifier(Both(), cache=False).fit(None, names)

    def test_of_every_kind(self) -> None:
        for names in (["owl", "crow"], ("owl", "crow"), np.array(["owl", "crow"]), pd.Series(["owl", "crow"])):
            assert ZeroShotClassifier(Both(), cache=False).fit(None, names).classes_.tolist() == ["crow", "owl"]
        X, names = [colour(255, 0, 0)], np.array(["r", "b"])
        classifier = ZeroShotClassifier(Both(), learner="tip-adapter", cache=False).fit(X, ["r"], class_names=names)
        assert classifier.classes_.tolist() == ["b", "r"]


def test_classifiers_recommend_nothing_that_they_lack(tmp_path: Path) -> None:
    classifier = FewShotClassifier(Both(), cache=False).fit([write_owl(tmp_path)], ["owl"])
    with pytest.raises(ValueError, match=r"'gone\.png' \(row 1 .*correct or drop that row") as caught:
        classifier.predict([write_owl(tmp_path), "gone.png"])
    assert "on_error" not in str(caught.value)
