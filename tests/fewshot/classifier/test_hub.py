"""Sharing: a generated card, a stand-in for the hub, and clear errors without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
from hub_server import hub_server
from PIL import Image

from fewshot import FewShotClassifier, ZeroShotClassifier

X = np.random.default_rng(0).normal(size=(12, 4)) + 5 * np.repeat(np.eye(4)[:3], 4, axis=0)
Y = np.repeat(["ant", "bee", "<b>fly`"], 4)


class LocalHub:
    """What `huggingface_hub.HfApi` is asked for, as folders."""

    def __init__(self, root: Path) -> None:
        self.root, self.made = root, {}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.made[repo_id] = private

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        assert repo_id in self.made
        shutil.copytree(folder_path, self.root / repo_id)
        return f"hub/{repo_id}: {commit_message}"

    def snapshot_download(self, *, repo_id: str, revision: Any, token: Any, allow_patterns: list[str]) -> str:
        return str(self.root / repo_id)


def test_push_and_fetch(tmp_path: Path) -> None:
    hub, fitted = LocalHub(tmp_path), FewShotClassifier(reject=0.3).fit(X, Y)
    assert fitted.push_to_hub("me/insects", private=True, message="first", api=hub) == "hub/me/insects: first"
    assert hub.made == {"me/insects": True}
    assert {file.name for file in (tmp_path / "me/insects").iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    again = FewShotClassifier.from_pretrained("me/insects", api=hub)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_the_client_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `huggingface_hub`, whose names and answers change, to a server on this machine."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    fitted = FewShotClassifier(reject=0.3).fit(X, Y)
    with hub_server() as server:
        api = huggingface_hub.HfApi(endpoint=server.address, token="none")
        assert "/me/insects/commit/" in fitted.push_to_hub("me/insects", private=True, message="first", api=api)
        held = server.held["me/insects"]
        assert server.private == {"me/insects": True}
        assert sorted(held) == ["README.md", "config.json", "model.safetensors"]
        again = FewShotClassifier.from_pretrained("me/insects", api=api)
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        with pytest.raises(FileNotFoundError, match=r"the hub has no 'me/nothing', or it is private: give token="):
            FewShotClassifier.from_pretrained("me/nothing", api=api)
        held["model.safetensors"] = held["model.safetensors"][:-1]
        with pytest.raises(ValueError, match="damaged"):
            FewShotClassifier.from_pretrained("me/insects", api=api)
        held["config.json"] = json.dumps({**json.loads(held["config.json"]), "format": 999}).encode()
        with pytest.raises(ValueError, match="this version reads formats up to"):
            FewShotClassifier.from_pretrained("me/insects", api=api)


def test_a_hub_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    with pytest.raises(ConnectionError, match=r"push it later; http://127.0.0.1:9 cannot be reached"):
        FewShotClassifier().fit(X, Y).push_to_hub("me/insects")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "true")
    with pytest.raises(ConnectionError, match="the hub is not asked, since TRANSFORMERS_OFFLINE=true"):
        FewShotClassifier().fit(X, Y).push_to_hub("me/insects")


def test_the_card_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (FewShotClassifier(reject=0.3).fit(X, Y).save_pretrained(tmp_path / "insects") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: fewshot\npipeline_tag: tabular-classification\ntags:\n- few-shot\n---\n")
    assert "Sorts rows of features into 3 classes." in card and "examples: 12 (4 of each class)" in card
    assert "- ant\n" in card and "<b>" not in card.replace("\\<b\\>", "")
    assert "- learner: `l2 | logistic`" in card and "less probable than 0.3" in card
    assert "100.0 % of 12 held-out examples were classified right (95 % interval 75.8 to 100.0)" in card
    assert "fewer than five examples" in card and 'from_pretrained("insects")' in card
    assert 'pip install "fewshot @ git+' in card
    run_its_code(card, tmp_path, monkeypatch)


def test_the_card_says_the_mean_over_uneven_classes(tmp_path: Path) -> None:
    fitted = FewShotClassifier().fit([*X, *X[Y == "ant"]], [*Y, *Y[Y == "ant"]])
    card = (fitted.save_pretrained(tmp_path / "insects") / "README.md").read_text()
    mean = f"{100 * fitted.estimate().balanced_accuracy:.1f} %"
    assert f"The mean over classes, which differ in how many were held out, is {mean}. Each was asked" in card


def run_its_code(card: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of a card as it is written, in the folder that holds the model's."""
    monkeypatch.chdir(folder)
    exec(card.split("```python\n")[1].split("```")[0], {})


def test_the_card_of_pictures_texts_and_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)
    for row in noise:
        Image.fromarray(row).save(tmp_path / "photo.jpg")
    pictures = FewShotClassifier("pixels(size=8)", cache=False).fit(list(noise), ["a", "a", "a", "b", "b", "c"])
    card = (pictures.save_pretrained(tmp_path / "pictures") / "README.md").read_text()
    assert "image-classification" in card and "examples: 6 (1 to 3 of each class)" in card and "other cameras" in card
    run_its_code(card, tmp_path, monkeypatch)
    soundfile = pytest.importorskip("soundfile")
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.sin(np.arange(4000) * (1 + number // 2) / 5), 8000)
    soundfile.write(tmp_path / "call.wav", np.sin(np.arange(4000) / 5), 8000)
    calls = FewShotClassifier("pixels(size=8)", cache=False)
    calls.fit([str(tmp_path / f"{number}.wav") for number in range(4)], ["a", "a", "b", "b"])
    card = (calls.save_pretrained(tmp_path / "calls") / "README.md").read_text()
    assert "Sorts recordings" in card and "fewshot[audio]" in card and "other voices" in card
    run_its_code(card, tmp_path, monkeypatch)


def test_the_card_of_words(tmp_path: Path) -> None:
    zero = ZeroShotClassifier("fewshot:tiny-clip", "the colour of the background").fit(None, ["red", "green"])
    card = (zero.save_pretrained(tmp_path / "colours") / "README.md").read_text()
    assert "## Prompts\n\n- " in card and "task: the colour of the background" in card and "Not known" in card
    assert "pipeline_tag: image-classification\ntags:\n- zero-shot" in card
    assert "`fewshot:tiny-clip`" in card and "features of the examples" not in card


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fitted = FewShotClassifier().fit(X, Y)
    with pytest.raises(ConnectionError, match="no folder 'nobody/nothing', and no copy"):
        FewShotClassifier.from_pretrained("nobody/nothing")
    with pytest.raises(ConnectionError, match=r"save it with save_pretrained\(folder\)"):
        fitted.push_to_hub("me/insects")
    with pytest.raises(ValueError, match="OWNER/NAME"):
        fitted.push_to_hub("insects")
    with pytest.raises(FileNotFoundError, match="OWNER/NAME"):
        FewShotClassifier.from_pretrained(tmp_path / "nothing")


def test_foreign_and_damaged(tmp_path: Path) -> None:
    hub, fitted = LocalHub(tmp_path), FewShotClassifier().fit(X, Y)
    fitted.push_to_hub("me/insects", api=hub)
    with pytest.raises(ValueError, match=r"use FewShotClassifier\.load"):
        ZeroShotClassifier.from_pretrained("me/insects", api=hub)
    model = tmp_path / "me/insects/model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        FewShotClassifier.from_pretrained("me/insects", api=hub)
    (tmp_path / "me/bert").mkdir()
    (tmp_path / "me/bert/config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is not that of a FewShotClassifier"):
        FewShotClassifier.from_pretrained("me/bert", api=hub)
