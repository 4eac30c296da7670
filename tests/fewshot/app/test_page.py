"""The page, driven in Debian's Chromium; skipped where Gradio, Playwright or the browser are missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewshot.cli import main

BROWSER = shutil.which("chromium")


def test_gradio_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "fewshot.app.page", raising=False)
    assert main(["app", "--no-browser"]) == 1
    assert 'pip install "fewshot[app]"' in capsys.readouterr().err


def test_in_a_browser(pictures: dict[str, list[str]], tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("needs Debian's chromium")
    script = "import sys; from fewshot.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", script, "app", "--port", "0", "--no-browser", "--cache", str(tmp_path / "cache")],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)},
    ) as served:  # fmt: skip
        try:
            assert served.stderr is not None
            address = next(line for line in served.stderr if line.startswith("http://127.0.0.1")).split()[0]
            with playwright.sync_playwright() as tool:
                browser = tool.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1280, "height": 1000})
                asked: list[str] = []
                page.on("request", lambda request: asked.append(request.url))
                page.goto(address)
                for name, files in pictures.items():
                    page.get_by_label("Class", exact=True).fill(name)
                    page.locator("input[type=file]").first.set_input_files(files[:3])
                    page.get_by_text(Path(files[0]).stem).first.wait_for()
                    page.get_by_role("button", name="Add examples").click()
                    page.locator("#said", has_text=f"{name} 3").wait_for()
                page.get_by_role("button", name="Learn").click()
                page.locator("#said", has_text="right (95 % interval").wait_for()
                first, _ = pictures
                page.locator("input[type=file]").last.set_input_files(pictures[first][3])
                page.locator("#likely", has_text="In 90 of 100 cases").wait_for()
                page.locator("#answer h2").wait_for()
                broken = tmp_path / "broken.png"
                broken.write_bytes(b"no picture")
                page.get_by_label("Class", exact=True).fill(first)
                page.locator("input[type=file]").first.set_input_files(str(broken))
                page.get_by_text("broken").first.wait_for()
                page.get_by_role("button", name="Add examples").click()
                page.get_by_text("broken.png: its bytes are no picture").wait_for()
                assert page.locator(".error").count() == 0  # a note, and nothing is written over the page
                assert page.locator(".grid-container").first.locator("button").count() >= 6
                page.set_viewport_size({"width": 390, "height": 844})
                wide = "all => all.map(one => one.scrollWidth - one.clientWidth)"
                assert max(page.locator(".grid-wrap").evaluate_all(wide)) <= 1  # no picture out of sight at the right
                page.set_viewport_size({"width": 1280, "height": 1000})
                shots = os.environ.get("FEWSHOT_SCREENSHOTS")
                if shots:
                    picture(page, Path(shots))
                page.get_by_label("It really is").fill(first)
                page.get_by_label("It really is").press("Enter")
                page.get_by_role("button", name="Correct it").click()
                page.locator("#said", has_text="7 examples of 2 classes").wait_for()
                page.locator("#answer h2", has_text=first).wait_for()
                with page.expect_download() as taken:
                    page.get_by_role("button", name="Download the classifier").click()
                taken.value.save_as(tmp_path / "taken.zip")
                browser.close()
            assert (tmp_path / "taken.zip").stat().st_size > 1000
            assert asked and all(url.startswith((address, "data:", "blob:")) for url in asked)
        finally:
            served.terminate()
            served.wait(20)


def test_no_picture_outlasts_it(pictures: dict[str, list[str]], tmp_path: Path) -> None:
    """What is given to the page is copied by Gradio: into a folder of its own that stays, if nobody says otherwise."""
    client = pytest.importorskip("gradio_client")
    pytest.importorskip("gradio")
    script = "import sys; from fewshot.cli import main; sys.exit(main(sys.argv[1:]))"
    known = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    own = tmp_path / "own"
    own.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, "app", "--port", "0", "--no-browser", "--cache", str(tmp_path / "cache")],
        stderr=subprocess.PIPE, text=True, env={**known, "TMPDIR": str(own)},
    ) as served:  # fmt: skip
        try:
            assert served.stderr is not None
            address = next(line for line in served.stderr if line.startswith("http://127.0.0.1")).split()[0]
            page = client.Client(address, verbose=False, download_files=False)
            for name, files in pictures.items():
                given = [client.handle_file(file) for file in files[:3]]
                said, *_ = page.predict(name, given, api_name="/add")
                assert f"{name} 3" in said
            said, *_ = page.predict("", "", api_name="/learn")
            assert "6 examples of 2 classes" in said
            assert any(path.suffix in (".png", ".webp") for path in own.rglob("*"))
        finally:
            served.send_signal(signal.SIGINT)
            served.wait(20)
    assert not [path for path in own.rglob("*") if path.is_file()]


def picture(page: object, folder: Path) -> None:
    """Pictures of the page, to be looked at."""
    for name, width, dark in (("laptop", 1280, False), ("phone", 390, False), ("dark", 1280, True)):
        page.set_viewport_size({"width": width, "height": 1000})  # type: ignore[attr-defined]
        if dark:
            page.evaluate("document.body.classList.add('dark')")  # type: ignore[attr-defined]
        time.sleep(1)
        page.screenshot(path=str(folder / f"{name}.png"), full_page=True)  # type: ignore[attr-defined]
