"""The report page: what it says in words, what it draws, and that it can be read anywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from episodes import EpisodeSampler, Result, Results, TensorSource, compare, evaluate
from episodes.report import to_html, to_latex, to_text
from episodes.report.charts import bar, differences, reliability, shots
from episodes.report.forest import Bar, forest
from episodes.report.grid import grids
from episodes.report.line_chart import line_chart
from episodes.report.map_chart import map_chart
from episodes.report.overview import best_of_tasks, same_episodes, standings, summary
from episodes.report.queries import Budget, confusion, shown_episodes
from episodes.report.svg import picture, shortened, text, ticks


def cell(learner: str, level: float, dataset: str = "toy", shot: int = 1, encoder: str = "") -> Result:
    evaluation = {
        "dataset": {"name": dataset, "fingerprint": dataset + encoder},
        "way": 5,
        "shot": shot,
        "query": 2,
        "labels": "l",
    }
    noise = np.random.default_rng(shot).integers(-1, 2, 40)
    scores = np.clip(level + noise, 0, 10) / 10
    embedding = (
        {"embedding": {"dataset": dataset, "encoder": encoder, "rows": 100, "precision": "float32"}} if encoder else {}
    )
    return Result(
        learner, {"learner": {"spec": learner}, "evaluation": evaluation}, scores, query_count=10, provenance=embedding
    )


def three_learners() -> list[Result]:
    levels = {"low": (4, 5, 6), "high": (6, 7, 5), "twin": (6, 7, 6)}
    return [
        cell(name, level, shot=shot) for name, own in levels.items() for shot, level in zip((1, 2, 5), own, strict=True)
    ]


@pytest.fixture(scope="module")
def answered() -> tuple[Results, TensorSource]:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 3, 4, 4)) * 3 + np.repeat(np.eye(3), 20, 0)[:, :, None, None]
    pictures = TensorSource(
        (np.clip(rows, 0, 1) * 255).astype(np.uint8), np.repeat([0, 1, 2], 20), ["<owl>", "cat", "dog"]
    )
    features = TensorSource(rows.reshape(60, -1), pictures.labels, pictures.class_names)
    return evaluate(
        "prototypes", features, EpisodeSampler(pictures.labels, 3, 1, 5), episodes=20, keep_predictions=True
    ), pictures


def test_ranks_and_means_over_tasks() -> None:
    (table,) = grids(three_learners())
    order = standings(table)
    assert [one.learner for one in order] == ["twin", "high", "low"]
    assert [one.rank for one in order] == pytest.approx([(1.5 + 1.5 + 1.5) / 3, (1.5 + 1.5 + 3) / 3, (3 + 3 + 1.5) / 3])
    assert order[0].mean == pytest.approx(np.mean([c.mean for c in three_learners() if c.learner == "twin"]))
    assert standings(grids(three_learners()[:3])[0]) == []  # one learner has no rank
    (first, _, _) = best_of_tasks(table)
    assert first.winner == "high" and first.equals == ["twin"]


def test_the_summary_says_who_is_best() -> None:
    (said,) = summary(grids(three_learners()))
    assert said == ("By accuracy, twin is best on 3 of 3 tasks, nowhere clearly; 3 learners, 360 episodes scored.")
    levels = {"often": (8, 8, 1), "always": (7, 7, 8), "c": (3, 3, 5), "d": (2, 2, 4)}
    uneven = [
        cell(name, level, shot=shot) for name, own in levels.items() for shot, level in zip((1, 2, 5), own, strict=True)
    ]
    (said,) = summary(grids(uneven))
    assert said.startswith("By accuracy, often is best on 2 of 3 tasks")
    assert said.endswith("Over all tasks always has the best mean rank, 1.67.")
    clear = [cell("a", 3), cell("b", 8)]
    assert "b is best on 1 of 1 task, on 1 of them clearly" in summary(grids(clear))[0]
    assert summary(grids([cell("a", 3)]))[0].startswith("a: accuracy of ")


def test_encoders_are_paired_by_their_episodes() -> None:
    cells = [
        cell(learner, level, encoder=encoder)
        for learner in ("near", "ridge")
        for encoder, level in (("small", 4), ("large", 7))
    ]
    groups = same_episodes(cells)
    assert [name for _, name in groups] == ["near, toy 5-way 1-shot", "ridge, toy 5-way 1-shot"]
    (group, _), *_ = groups
    found = compare(group[0], group[1])
    assert (found.a, found.b) == ("small", "large")
    assert found.difference == pytest.approx(cells[0].mean - cells[1].mean)
    assert same_episodes([cell("near", 4), cell("near", 5, shot=2)]) == []
    page = to_html(cells)
    assert "Encoders on the same episodes" in page and "small against large" in page


def test_charts_are_well_formed_and_escaped() -> None:
    cells = [cell("<a & b>", 4), cell("<a & b>", 5, shot=5), cell("other", 5)]
    for svg in (*shots(cells), *(one["chart"] for one in differences(cells, None)["shown"])):
        root = ElementTree.fromstring(svg)
        assert "<a & b>" in "".join(root.itertext())
    alone = picture(text("x", 1, 2), 10, 10, "t", alone=True)
    assert ElementTree.fromstring(alone).tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme" in alone


def test_panels_of_a_metric_share_their_axis() -> None:
    low, high = (
        re.findall(r'text-anchor="end" class="soft">([\d.]+)<', one)
        for one in shots([cell("a", 2), cell("a", 8, "other")])
    )
    assert low == high and float(low[0]) < 30 and float(low[-1]) > 75


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.13, 0.87, 4) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(-3, 12, 4) == [0.0, 5.0, 10.0]
    assert ticks(1, 1) == [1]
    assert shortened("a long name of a learner", 60) == "a long n…"
    assert (
        line_chart([], [], heading="empty")
        and forest([Bar("a", 0.0, float("nan"), "", False, True)], heading="x")[1] > 0
    )


def test_better_is_green_whatever_the_direction() -> None:
    up = compare(cell("a", 8), cell("b", 3))
    assert bar(up).better and bar(up).clear and bar(up).value == pytest.approx(100 * up.difference)
    evaluation = {**up.metric.__dict__}
    assert evaluation["higher_is_better"]
    lower = [
        Result(c.learner, {**c.recipe, "evaluation": {**c.evaluation, "metric": "fpr95"}}, c.scores)
        for c in (cell("a", 8), cell("b", 3))
    ]
    assert not bar(compare(*lower)).better


def test_answers_show_confusions_and_hardest_episodes(answered: tuple[Results, TensorSource]) -> None:
    results, pictures = answered
    kept = results.cells[0].predictions
    whole = confusion(kept)
    counts = np.zeros((3, 3))
    np.add.at(counts, (kept.targets, kept.predicted), 1)
    shares = np.array([[value for value, _, _ in row] for _, row in whole["rows"]])
    np.testing.assert_allclose(shares, counts / counts.sum(1, keepdims=True))
    hardest = shown_episodes(results.cells[0], kept, pictures, Budget())
    assert hardest[0]["accuracy"] == kept.accuracies().min()
    start = int(kept.counts[: hardest[0]["number"]].sum())
    own = range(start, start + int(kept.counts[hardest[0]["number"]]))
    wrong = {int(kept.rows[q]) for q in own if kept.predicted[q] != kept.targets[q]}
    assert {one["row"] for one in hardest[0]["wrong"]} <= wrong and wrong
    assert hardest[0]["wrong"][0]["picture"].startswith("data:image/jpeg;base64,")
    full = shown_episodes(results.cells[0], kept, pictures, Budget(0))[0]
    assert full["wrong"][0]["picture"] == "" and full["map"] is None
    ElementTree.fromstring(reliability(kept))
    page = to_html(results, pictures=pictures)
    assert "&lt;owl&gt;" in page and "<owl>" not in page and page.count("data:image/jpeg") >= 3
    with pytest.raises(ValueError, match=r"the pictures are of classes \['a', 'b', 'c'\]"):
        to_html(results, pictures=TensorSource(pictures.features, pictures.labels, ["a", "b", "c"]))


def test_a_hard_and_a_typical_episode_are_drawn(answered: tuple[Results, TensorSource]) -> None:
    (result,) = answered[0].cells
    kept = result.predictions
    shown = shown_episodes(result, kept, None, Budget())
    drawn = {one.episode: one for one in kept.maps}
    assert [one["number"] for one in shown if one["map"]] == list(drawn)
    assert shown[-1]["typical"] and abs(shown[-1]["accuracy"] - np.median(result.scores)) < 0.1
    first = drawn[shown[0]["number"]]
    root = ElementTree.fromstring(map_chart(first, kept, {0: 1}))
    marks = [mark for mark in root.iter() if mark.get("class", "").split(" ")[0] in ("ring", "dot", "cross")]
    kinds = [mark.get("class", "").split(" ")[0] for mark in marks]
    start = int(kept.counts[: first.episode].sum())
    wrong = int((kept.predicted != kept.targets)[start : start + int(kept.counts[first.episode])].sum())
    assert kinds.count("ring") == 3 and kinds.count("cross") == wrong > 0
    assert kinds.count("dot") == 15 - wrong + 3  # and the legend
    assert all(0 <= float(mark.get("cx", 0)) <= 440 for mark in marks)
    titles = [mark.findtext("title") or "" for mark in marks]
    assert sum("wrongly answered" in title for title in titles) == wrong
    page = to_html(answered[0])
    assert "crosses: wrong ones" in page and "principal components" in page and "<owl>" not in page


def test_pictures_of_several_datasets(answered: tuple[Results, TensorSource]) -> None:
    results, pictures = answered
    other = TensorSource(pictures.features, pictures.labels, ["a", "b", "c"])
    features = TensorSource(pictures.features.float().flatten(1), pictures.labels, ["a", "b", "c"], name="other")
    more = evaluate("nearest", features, EpisodeSampler(pictures.labels, 3, 1, 5), episodes=5, keep_predictions=True)
    page = to_html([*results.cells, *more.cells], pictures=[other, pictures])
    assert page.count("data:image/jpeg") > to_html(results, pictures=pictures).count("data:image/jpeg")
    with pytest.raises(ValueError, match="give every dataset that was evaluated"):
        to_html([*results.cells, *more.cells], pictures=pictures)


def test_the_best_of_each_task_are_shown_in_detail() -> None:
    from episodes.report.html import _detailed

    cells = [cell(name, level, shot=shot) for shot in range(1, 21) for name, level in (("low", 4), ("high", 7))]
    chosen = _detailed(cells)
    assert [one.shot for one in chosen if one.learner == "high"] == list(range(1, 21)) and len(chosen) == 24


def test_dates_are_said() -> None:
    from dataclasses import replace

    cells = [replace(cell("a", 4, shot=n), environment={"date": f"2026-11-2{n}", "torch": "2.9"}) for n in (1, 5)]
    page = to_html(cells)
    assert "Computed from 2026-11-21 to 2026-11-25; page written on 20" in page
    assert "Computed on 2026-11-21 in 0.0 s with torch 2.9." in page
    assert '<p class="note">Page written on 20' in to_html([cell("a", 4)])


def test_how_results_came_about_and_how_to_cite_them() -> None:
    page = to_html([cell("ridge", 5, encoder="small")], "Ours & theirs")
    assert "<title>Ours &amp; theirs</title>" in page
    assert "40 episodes of 5 classes, 1 labelled rows of each, 2 queries of each" in page
    assert "100 rows of toy, embedded by small in float32." in page
    assert "@software{fewshot," in page


def test_text_folds_to_the_width_of_a_terminal() -> None:
    cells = [cell("a", 4, dataset=f"dataset number {number}") for number in range(6)]
    folded = to_text(cells, 80)
    assert max(map(len, folded.splitlines()[:12])) <= 80
    assert folded.count("40.") + folded.count("39.") >= 6
    assert len({line for line in folded.splitlines() if line.startswith("accuracy")}) == 3
    assert to_text(cells) == to_text(cells, 10_000)
    assert to_text(cells, 5).count("\na ") == 6  # a column each, however narrow


def test_a_tie_is_a_best_for_each() -> None:
    """The sentence counts as the table below it does."""
    table = grids([cell("a", 4), cell("b", 4), cell("a", 4, shot=5), cell("b", 6, shot=5)])[0]
    assert {one.learner: one.best for one in standings(table)} == {"a": 1, "b": 2}
    assert "b is best on 2 of 2 tasks" in summary([table])[0]


def test_latex_has_a_caption() -> None:
    text = to_latex([cell("50%_a", 4), cell("b", 8)])
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    caption = re.search(r"\\caption\{(.*)\}", text).group(1)
    assert caption.startswith(r"Accuracy in \%. $\pm$ is the 95 \% interval") and "bold: best" in caption


def test_latex_folds_to_a_page() -> None:
    """Six columns would run off the page: each dataset has its part, and a long table a second float."""
    cells = [cell(learner, 4, dataset=name, shot=shot) for name in ("50%_a", "b", "c") for shot in (1, 5)
             for learner in ("ridge", "prototypes")]  # fmt: skip
    text = to_latex(cells)
    assert text.count(r"\begin{tabular}{lrr}") == 3 and text.count(r"\begin{table}") == 1
    assert [text.count(rf"\multicolumn{{3}}{{l}}{{{name}}} \\") for name in (r"50\%\_a", "b", "c")] == [1, 1, 1]
    assert text.count(r"Learner & 5-way 1-shot & 5-way 5-shot \\") == 3
    assert r"\begin{tabular}{lrr}" in to_latex([one for one in cells if one.dataset == "b"])
    assert "multicolumn" not in to_latex([one for one in cells if one.dataset == "b"])
    many = [cell(f"learner {number}", 4, dataset=name, shot=shot) for name in ("a", "b", "c") for shot in (1, 5)
            for number in range(20)]  # fmt: skip
    text = to_latex(many)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert text.count(r"\caption{Accuracy in \%, continued.}") == 2
    for tabular in re.findall(r"\\begin{tabular}.*?\\end{tabular}", text, re.S):
        assert max(map(len, tabular.replace("$", "").splitlines())) < 90


def test_in_a_browser(answered: tuple[Results, TensorSource], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium (apt-get install chromium) to lay the page out")
    page = to_html([*three_learners(), *answered[0].cells], pictures=answered[1])
    assert len(page.encode()) < 2e6
    check = (
        "<script>onload=()=>{const open=document.querySelectorAll('details');open.forEach(d=>d.open=true);"
        "document.title='wide '+document.documentElement.scrollWidth}</script>"
    )
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{check}</body>"))
    made = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--window-size=500,900",
         f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert int(re.search(r"<title>wide (\d+)</title>", made.stdout).group(1)) <= 500  # nothing sticks out


def test_weights_are_spoken_of_where_a_command_stands_for_them() -> None:
    """The spec of a trained learner makes one with other, random weights."""
    from fewshot import load_learner

    source = TensorSource(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3)
    net = load_learner("mlp(item_shape=(4,), widths=(5,)) | prototypes")
    count = sum(value.numel() for value in net.parameters())
    sampler = EpisodeSampler(source.labels, 3, 1, 5)
    page = to_html(evaluate({"trained": net}, source, sampler, episodes=4, progress=False))
    assert f"It has {count:,} weights, which its name does not say" in page and "--weights FILE" in page
    assert "weights, which" not in to_html(evaluate("prototypes", source, sampler, episodes=4, progress=False))
