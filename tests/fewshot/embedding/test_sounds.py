"""Recordings through `embed`, classifiers and the command line: nothing stale, damaged ones named, every road."""

from __future__ import annotations

import csv
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from episodes import AudioSource, EpisodeSampler, LogMel, evaluate, load_dataset
from fewshot import FewShotClassifier, embed
from fewshot.cli import main

soundfile = pytest.importorskip("soundfile", reason="sound files are read by the extra 'audio'")
PIXELS = "pixels(size=16, grey=True)"


def call(hertz: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    samples = int(generator.integers(3000, 6000))
    time = np.arange(samples) / 8000
    return 0.3 * np.sin(2 * np.pi * hertz * (1 + 0.1 * generator.random()) * time) + 0.01 * generator.normal(
        size=samples
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of four recordings, a folder of new ones, and the current directory there."""
    for number, name in enumerate(("crow", "owl", "wren")):
        (tmp_path / "calls" / name).mkdir(parents=True)
        (tmp_path / "new").mkdir(exist_ok=True)
        for take in range(5):
            place = tmp_path / "calls" / name / f"{take}.wav" if take < 4 else tmp_path / "new" / f"{name}.flac"
            soundfile.write(place, call(400 * 2.2**number, 10 * number + take), 8000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def counts(source: Any, encoder: Any = PIXELS, **options: Any) -> tuple[int, int]:
    report = embed(source, encoder, cache="cache", progress=False, **options).report
    return report["hits"], report["computed"]


def test_rows_are_kept_by_content_and_settings(folder: Path) -> None:
    assert counts("audio:calls") == (0, 12)
    assert counts("audio:calls") == (12, 0)
    shutil.copytree("calls", "elsewhere")
    files = sorted(str(path) for path in (folder / "elsewhere").rglob("*.wav"))
    assert counts(files) == (12, 0) and counts(files, workers=1, batch_size=5) == (12, 0)
    for changed in (
        AudioSource.from_folder("calls", seconds=0.4), AudioSource.from_folder("calls", mel=LogMel(rate=8000)),
        AudioSource.from_folder("calls", mel=LogMel(hop=80)), "audio:calls(bands=32)", "audio:calls(columns=32)",
    ):  # fmt: skip
        assert counts(changed) == (0, 12), changed
    soundfile.write("calls/owl/0.wav", call(900, 99), 8000)
    assert counts("audio:calls") == (11, 1)
    samples, _ = soundfile.read("calls/owl/1.wav")
    soundfile.write("calls/owl/1.wav", samples, 11025)  # the same numbers, played faster
    assert counts("audio:calls") == (11, 1)


def test_features_are_those_of_the_pictures(folder: Path) -> None:
    source = AudioSource.from_folder("calls")
    rows = embed(source, PIXELS, cache=False, storage="float32", progress=False).features
    by_hand = [
        np.asarray(source.decode(row).convert("L").resize((16, 16), Image.Resampling.BILINEAR)) for row in range(12)
    ]
    np.testing.assert_allclose(rows.numpy(), np.stack(by_hand).reshape(12, -1) / 255, atol=1e-6)
    plain = embed(source, "pixels", cache=False, storage="float32", progress=False).features
    torch.testing.assert_close(plain, source[torch.arange(12)].flatten(1))
    with ThreadPoolExecutor(2) as engine:
        two = embed("audio:calls", PIXELS, cache="cache", engine=engine, storage="float32", progress=False)
    torch.testing.assert_close(torch.as_tensor(two.features), rows)


def test_damaged_recordings_are_named_or_passed_over(folder: Path) -> None:
    Path("calls/owl/2.wav").write_bytes(Path("calls/owl/2.wav").read_bytes()[:900])
    soundfile.write("calls/wren/3.wav", np.zeros(4000), 8000)
    with pytest.raises(
        ValueError, match=r"cannot embed recording '.*2\.wav' \(row 6 of 'calls'\): it is cut off: 900 of"
    ):
        embed("audio:calls", PIXELS, cache=False, progress=False)
    source = embed("audio:calls", PIXELS, cache=False, on_error="skip", progress=False)
    assert len(source) == 10 and [skipped["row"] for skipped in source.report["skipped"]] == [6, 11]
    assert "it is silent" in source.report["skipped"][1]["error"]


def test_views_need_an_augmentation_of_ones_own(folder: Path) -> None:
    with pytest.raises(ValueError, match="plays them backwards; give augment="):
        embed("audio:calls", PIXELS, views=2, cache=False)
    assert len(embed("audio:calls", PIXELS, views=2, augment=dimmed, cache=False, progress=False)) == 12


def dimmed(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    return Image.eval(picture, lambda level: int(level * 0.9))


def test_learners_on_pictures_take_recordings_as_they_are(folder: Path) -> None:
    source = load_dataset("audio:calls(bands=16, columns=16)")
    sampler = EpisodeSampler(source.labels, way=3, shot=1, query=2)
    rows = embed(source, "pixels", cache=False, progress=False)
    assert float(evaluate({"near": "nearest"}, rows, sampler, episodes=20)["near"].mean) > 0.9
    seen = evaluate({"near": levels_of_each_band}, source, sampler, episodes=20)
    assert float(seen["near"].mean) > 0.9


def levels_of_each_band(episode: Any) -> torch.Tensor:
    """Logits by the nearest example's loudness in each band."""
    support, query = (part[:, :, 0].mean(3) for part in (episode.support, episode.query))  # [E, S, bands]
    order = episode.labels.argsort(1)
    return -torch.cdist(query, support.gather(1, order.unsqueeze(-1).expand_as(support)))


def test_a_classifier_is_asked_about_what_it_was_fitted_on(folder: Path) -> None:
    files = sorted(folder.glob("calls/*/*.wav"))
    names = [file.parent.name for file in files]
    model = FewShotClassifier(PIXELS, "l2 | nearest", cache="cache").fit(files, names)
    new = sorted(folder.glob("new/*.flac"))
    assert list(model.predict(new)) == ["crow", "owl", "wren"]
    assert model.explain(new[:1])[0].nearest[0].item.endswith(".wav")
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"X holds images .* but sounds were fitted"):
        model.predict([picture])
    other = AudioSource(new, [0, 0, 0], mel=LogMel(hop=80))
    with pytest.raises(ValueError, match=r"X holds sounds by LogMel\(.*hop=80.*\) .* but sounds were fitted"):
        model.predict(other)


def test_a_saved_classifier_knows_how_recordings_were_read(folder: Path) -> None:
    files = sorted(folder.glob("calls/*/*.wav"))
    names = [file.parent.name for file in files]
    own = {"seconds": 0.3, "mel": LogMel(rate=8000)}
    model = FewShotClassifier(PIXELS, cache="cache").fit(AudioSource(files, names, **own), names)
    again = FewShotClassifier.load(model.save("model"), cache="cache")
    new = sorted(folder.glob("new/*.flac"))
    with pytest.raises(
        ValueError, match=r"X holds sounds .* but sounds by LogMel\(rate=8000.*seconds=0\.3 were fitted"
    ):
        again.predict(new)
    assert list(again.predict(AudioSource(new, [0, 0, 0], **own))) == ["crow", "owl", "wren"]


def test_from_a_folder_of_recordings_to_a_table_of_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "calls", "--out", "model"]) == 0  # without an encoder: the pixels of pictures of one size
    said = capsys.readouterr()
    assert "12 recordings, 3 classes of 4" in said.err and "of 12 right" in said.out
    Path("new/broken.wav").write_bytes(b"no sound")
    assert main(["predict", "model", "new", "--csv", "answers.csv"]) == 0
    with open("answers.csv", encoding="utf-8", newline="") as file:
        rows = {row["item"]: row for row in csv.DictReader(file)}
    assert {name: rows[f"{name}.flac"]["label"] for name in ("crow", "owl", "wren")} == {
        "crow": "crow", "owl": "owl", "wren": "wren",
    }  # fmt: skip
    assert "no sound that can be read" in rows["broken.wav"]["problem"]
    assert main(["evaluate", "--data", "audio:calls", "--way", "3", "--shot", "1", "--query", "2",
                 "--learner", "prototypes", "--episodes", "20", "--quiet"]) == 0  # fmt: skip
    assert "3-way" in capsys.readouterr().out
    table = "path,label\n" + "".join(
        f"calls/{name}/{take}.wav,{name}\n" for name in ("crow", "owl") for take in range(4)
    )
    Path("table.csv").write_text(table)
    assert main(["fit", "table.csv", "--encoder", PIXELS, "--out", "second"]) == 0
    assert "8 recordings, 2 classes of 4" in capsys.readouterr().err
