"""What held-out examples say of a classifier."""

from __future__ import annotations

import numpy as np
import pytest

from fewshot import FewShotClassifier


def rows(count: int = 12, apart: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count * 3) % 3
    noise = np.random.default_rng(0).normal(size=(count * 3, 8))
    return noise + apart * np.eye(8)[labels], np.array(["a", "b", "c"])[labels]


def test_it_equals_leaving_out_by_hand() -> None:
    X, y = rows(4, 1.0)
    classifier = FewShotClassifier(learner="prototypes").fit(X, y)
    found = classifier.estimate()
    right = 0
    for fold in range(4):  # one of each class at a time
        held = np.arange(len(y)) // 3 == fold
        right += int(
            (FewShotClassifier(learner="prototypes").fit(X[~held], y[~held]).predict(X[held]) == y[held]).sum()
        )
    assert (found.right, found.count) == (right, 12)
    assert found.confusion.sum() == 12 and found.confusion.trace() == right
    assert found.interval[0] < found.accuracy <= found.interval[1]


def test_every_example_is_asked_once_however_many() -> None:
    X, y = rows(90)
    assert FewShotClassifier(learner="prototypes").fit(X, y).estimate().count == 270


def test_a_wrong_label_is_the_first_suspect() -> None:
    X, y = rows(apart=6.0)
    y[5] = "a" if y[5] != "a" else "b"
    suspect = FewShotClassifier().fit(X, y).estimate().suspects[0]
    assert suspect.row == 5 and suspect.label == y[5] and suspect.guess == "c" and suspect.probability > suspect.own


def test_notebooks_show_tables_that_are_escaped() -> None:
    X, y = rows(apart=6.0)
    y = np.array([f"<i>{name}" for name in y])
    y[5] = y[0]
    classifier = FewShotClassifier().fit(X, y)
    page = classifier.estimate()._repr_html_()
    assert "<i>" not in page and page.startswith("<p>held out: ") and page.count("<tr>") == 4
    assert f"<li>example 5: is {'&lt;i&gt;a'}, looks like &lt;i&gt;c (" in page
    assert classifier.explain(X[:1])[0]._repr_html_().startswith("<p>&lt;i&gt;a ")


def test_it_holds_for_new_rows() -> None:
    """The interval is for one classifier: over many it covers the truth about as often as it says."""
    covered = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        labels = np.arange(30) % 3
        X = generator.normal(size=(30, 8)) + 1.5 * np.eye(8)[labels]
        classifier = FewShotClassifier(learner="prototypes").fit(X, labels)
        low, high = classifier.estimate().interval
        fresh = generator.normal(size=(2000, 8)) + 1.5 * np.eye(8)[np.arange(2000) % 3]
        covered += low <= classifier.score(fresh, np.arange(2000) % 3) <= high
    assert covered >= 16


def test_single_examples_cannot_be_asked_about() -> None:
    X, y = rows(1)
    found = FewShotClassifier().fit(X, y).estimate()
    assert found.count == 0 and np.isnan(found.accuracy) and "no estimate" in str(found)
    X, y = rows(3)
    found = FewShotClassifier().fit(X[:7], y[:7]).estimate()  # "b" and "c" twice, "a" three times
    assert found.count == 7 and found.alone == []
    found = FewShotClassifier().fit(X[:5], y[:5]).estimate()
    assert found.alone == ["c"] and "not asked about" in str(found)


def test_it_says_where_probabilities_rest_on_an_assumption() -> None:
    for shots in (1, 3):  # 3 and 9 rows, of which 0 and 9 can be held out
        X, y = rows(shots)
        classifier = FewShotClassifier().fit(X, y)
        assert classifier.estimate().assumed and "rest on an assumption" in str(classifier.estimate())
        classifier.calibrate(X + 0.1, y)
        assert not classifier.estimate().assumed
        assert "assumption" not in str(FewShotClassifier(calibrated=False).fit(X, y).estimate())
    assert "assumption" not in str(FewShotClassifier().fit(*rows(5)).estimate())


def test_many_classes_show_the_worst_pairs() -> None:
    labels = np.arange(60) % 20
    X = np.random.default_rng(0).normal(size=(60, 5))
    text = str(FewShotClassifier().fit(X, labels).estimate())
    assert "taken for" in text and len(text.splitlines()) <= 12


def test_without_examples() -> None:
    from fewshot import ZeroShotClassifier

    with pytest.raises(ValueError, match="needs fitted examples"):
        ZeroShotClassifier("fewshot:tiny-clip", cache=False).fit(None, ["circle", "heart"]).estimate()


def test_uneven_classes_are_also_averaged_over_classes() -> None:
    """A large class that is always right hides a small one that never is."""
    generator = np.random.default_rng(0)
    labels = np.repeat(["common", "rare"], [36, 4])
    X = np.vstack([generator.normal(size=(36, 4)), generator.normal(size=(4, 4))])
    X[36:] = X[:4] + 1e-3  # each rare row lies on a common one
    found = FewShotClassifier(learner="nearest").fit(X, labels).estimate()
    shares = [found.confusion[i, i] / found.confusion[i].sum() for i in range(2)]
    assert found.balanced_accuracy == pytest.approx(sum(shares) / 2)
    assert found.accuracy - found.balanced_accuracy > 0.2
    sentence = f"mean over classes: {100 * found.balanced_accuracy:.1f} % (they have 4 to 36 held-out examples)"
    assert sentence in str(found).splitlines() and sentence in found._repr_html_()
    even = FewShotClassifier().fit(*rows(4)).estimate()
    assert even.balanced_accuracy == pytest.approx(even.accuracy)
    assert "mean over classes" not in str(even) + even._repr_html_()


def test_classes_that_were_not_asked_about_do_not_count_in_the_mean() -> None:
    X, y = rows(4)
    X, y = np.vstack([X, X[:1] + 9]), np.append(y, "single")
    found = FewShotClassifier().fit(X, y).estimate()
    assert found.alone == ["single"] and found.balanced_accuracy == pytest.approx(found.accuracy)
    assert "mean over classes" not in str(found)  # those that were asked about have four each
    assert "not asked about, having one example each: single" in found._repr_html_()
    single = FewShotClassifier().fit(*rows(1)).estimate()
    assert np.isnan(single.balanced_accuracy) and "mean over" not in str(single)


@pytest.mark.parametrize("name", ["{}", "class {}", "barn swallow, juvenile or adult, number {}", "\x1b[31m{}"])
@pytest.mark.parametrize("count", [2, 5, 12])
def test_its_table_fits_a_terminal_and_can_be_read_back(name: str, count: int) -> None:
    labels = np.arange(count * 6) % count
    X = np.random.default_rng(0).normal(size=(count * 6, 5)) + 2 * np.eye(count, 5)[labels]
    found = FewShotClassifier().fit(X, [name.format(chr(97 + label)) for label in labels]).estimate()
    lines = str(found).splitlines()[-count - 1 :]
    assert max(map(len, lines)) <= 80 and "\x1b" not in str(found)
    assert [list(map(int, line.split()[-count:])) for line in lines[1:]] == found.confusion.tolist()
    assert len({line[: len(line) - len(line.lstrip())] for line in lines[1:]}) == 1
