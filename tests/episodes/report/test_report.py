"""Reports: aligned text, parseable CSV, escaped LaTeX, one self-contained page, the same picture every time."""

from __future__ import annotations

import builtins
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from episodes import Result, Results
from episodes.report import plot_shots, to_csv, to_html, to_latex, to_text


def results(evil: str = "ridge") -> Results:
    cells = []
    for shot in (1, 5):
        for name, level in (("proto", 6), ("closest", 6), (evil, 9)):
            evaluation = {"dataset": {"name": "toy_set"}, "way": 5, "shot": shot, "query": 2, "seed": 0}
            noise = np.random.default_rng(len(name)).integers(-1, 2, 60)
            scores = np.clip(level - (shot == 1) * 2 + noise, 0, 10) / 10
            cells.append(Result(name, {"learner": {"spec": name}, "evaluation": evaluation}, scores, query_count=10))
    return Results(cells)


def test_text_marks_the_best_and_what_is_not_worse() -> None:
    lines = to_text(results()).splitlines()
    assert lines[0].split() == ["accuracy", "in", "%", "5-way", "1-shot", "5-way", "5-shot"]
    assert lines[1] == lines[5] == "-" * len(lines[1])
    assert lines[4].startswith("ridge")
    assert lines[4].count("*") == 2
    assert "*" not in lines[2] + lines[3]
    twins = Results([*results().select(shot=1).cells[:2]])
    assert to_text(twins).count("~") == 2  # the cell, and its explanation
    assert to_text(Results()) == "no results"


def test_notebooks_show_a_table_that_is_escaped() -> None:
    page = results("<i>odd</i>")._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 1 and page.count("<tr>") == 4
    assert "&lt;i&gt;odd&lt;/i&gt;" in page and "<i>" not in page
    assert page.count("<td><b>") == 2 and "bold: best" in page and "95 % interval" in page
    assert Results()._repr_html_() == "<p>no results</p>"


def test_csv_can_be_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(results("a,b")))))
    assert len(rows) == 6
    assert rows[2]["learner"] == "a,b"
    assert float(rows[0]["mean"]) == pytest.approx(results().cells[0].mean, abs=1e-6)


def test_latex_is_escaped() -> None:
    text = to_latex(results("50%_of|it & {all}"))
    assert r"50\%\_of\textbar{}it \& \{all\}" in text
    assert text.count(r"\\") == 4
    assert r"\mathbf{" in text


def test_the_page_is_self_contained_and_escaped() -> None:
    page = to_html(results("<script>alert(1)</script>"), title="A & B")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<title>A &amp; B</title>" in page
    assert "<svg" in page

    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.found += [
                v or "" for k, v in attributes if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")
            ]

    parser = Links()
    parser.feed(page)
    assert parser.found == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_same_results_give_the_same_picture(tmp_path: Path) -> None:
    for suffix, head in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        plot_shots(results(), first)
        plot_shots(results(), second)
        assert first.read_bytes().startswith(head)
        if suffix == ".png":
            assert first.read_bytes() == second.read_bytes()
    with pytest.raises(ValueError, match=r"cannot draw 'a.gif'; use .png"):
        plot_shots(results(), tmp_path / "a.gif")
    with pytest.raises(ValueError, match="fixed number of shots"):
        plot_shots(Results())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "fewshot\[report\]"'):
        plot_shots(results())
    assert "<svg" in to_html(results())  # the page draws its own charts


def test_each_metric_has_its_table() -> None:
    both = Results([*results().select(shot=1).cells, *(with_metric(cell, "fpr95") for cell in results().cells)])
    text = to_text(both)
    assert text.count("accuracy in %") == 1
    first, second = text.split("\n\n")
    assert "fpr95 in % (lower is better)" in second
    assert "*" in next(line for line in first.splitlines() if line.startswith("ridge"))
    assert "*" not in next(line for line in second.splitlines() if line.startswith("ridge"))  # the highest is the worst
    page = to_html(both)
    assert page.count("<tr><th>fpr95 in % (lower is better)</th>") == 1
    assert page.count('class="best"') == 3
    latex = to_latex(both)
    assert latex.count(r"\begin{tabular}") == 2 and latex.count("usepackage") == 1
    rows = list(csv.DictReader(io.StringIO(to_csv(both))))
    assert {row["metric"]: row["higher_is_better"] for row in rows} == {"accuracy": "True", "fpr95": "False"}
    labels = [axes.get_ylabel() for axes in plot_shots(both).axes]
    assert labels == ["accuracy in %, band: 95 % interval", "fpr95 in % (lower is better), band: 95 % interval"]


def with_metric(cell: Result, name: str) -> Result:
    recipe = {**cell.recipe, "evaluation": {**cell.evaluation, "metric": name}}
    return Result(cell.learner, recipe, cell.scores)


@pytest.mark.parametrize("name", [r"$\frac{1}$", r"\$x$", "$", "_hidden", "a\x00b\x1b[0m", "=cmd()", "^_{", "\ud800"])
def test_no_name_breaks_a_report(name: str, tmp_path: Path) -> None:
    odd = results(name)
    figure = plot_shots(odd, tmp_path / "a.png")
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert len(legend.get_texts()) == 3
    for text in (to_text(odd), to_html(odd), to_latex(odd), to_csv(odd)):
        text.encode()
        assert not {"\x00", "\x1b"} & set(text)
    assert not any(row.startswith("=") for row in to_csv(odd).splitlines())


def test_intervals_stay_within_what_is_possible() -> None:
    evaluation = {"dataset": {"name": "toy"}, "way": 5, "shot": 1, "query": 15}
    figure = plot_shots(Results([Result("a", {"evaluation": evaluation}, np.ones(10), query_count=75)]))
    (band,) = figure.axes[0].collections
    assert band.get_paths()[0].vertices[:, 1].max() == 100


def test_the_page_shows_predictions_that_were_kept(tmp_path: Path) -> None:
    from episodes import EpisodeSampler, TensorSource, evaluate

    rows = np.random.default_rng(0).normal(size=(60, 4)) + np.repeat(np.eye(4)[:3] * 4, 20, 0)
    source = TensorSource(rows, np.repeat([0, 1, 2], 20), ["<owl>", "cat", "dog"])
    out = tmp_path / "r.jsonl"
    evaluate("prototypes", source, EpisodeSampler(source.labels, 3, 1, 5), episodes=20, keep_predictions=True, out=out)
    page = to_html(Results.load(out))
    assert "&lt;owl&gt;" in page and "calibration error" in page
    (kept,) = (tmp_path / "r.jsonl.predictions").iterdir()
    kept.write_bytes(b"damaged")
    page = to_html(Results.load(out))
    assert "is damaged" in page and "&lt;owl&gt;" not in page
