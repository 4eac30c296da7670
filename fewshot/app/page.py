"""The page of `fewshot app`, made of Gradio's parts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from episodes.temporary import temporary_folder
from fewshot.app.acts import Acts
from fewshot.app.session import Session

_COPIES = "GRADIO_TEMP_DIR"
_HINT = """Give a few pictures of each class, or type class names, then learn. Nothing leaves this machine."""
_DRAWN = """ The encoder that comes along knows drawn scenes only; for photographs start with
`fewshot app --encoder timm:mobilenetv2_100` (examples) or `open_clip:ViT-B-32/laion2b_s34b_b79k` (names, too)."""
# A telephone is narrow: Gradio would keep the columns, and let the last ones run out of it.
_STYLE = """@media (max-width: 640px) {
  .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }
  #alike .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
}"""


def build(session: Session, folder: Path) -> Any:
    """A page over one session.

    Args:
        session: what happens behind the page; everybody who opens it shares it.
        folder: for the classifier that is taken away.
    """
    gradio = _gradio()
    drawn = _DRAWN if session.encoder.name == "fewshot:tiny-clip" else ""
    with gradio.Blocks(title="fewshot", analytics_enabled=False) as page:
        gradio.Markdown(f"# fewshot\n{_HINT}{drawn}")
        with gradio.Row():
            with gradio.Column():
                teach = _teaching(gradio)
            with gradio.Column():
                ask = _asking(gradio)
        _connect(gradio, teach, ask, Acts(session, folder, gradio.update))
    return page


def _teaching(gradio: Any) -> SimpleNamespace:
    """The parts of the left column, where examples and names are given."""
    gradio.Markdown("## 1. Teach")
    name = gradio.Textbox(label="Class", placeholder="barn owl")
    files = gradio.File(label="Pictures of it", file_count="multiple", file_types=["image"], height=140)
    add = gradio.Button("Add examples")
    # A label of the gallery would lie on its first picture.
    gradio.Markdown("Examples")
    examples = gradio.Gallery(show_label=False, columns=5, height=270, object_fit="contain")
    with gradio.Accordion("Or class names in words", open=False):
        names = gradio.Textbox(label="Class names, separated by commas", placeholder="circle, square")
        task = gradio.Textbox(label="What the task is", placeholder="the shape of the object")
    with gradio.Row():
        learn = gradio.Button("Learn", variant="primary")
        anew = gradio.Button("Begin anew")
    said = gradio.Markdown(elem_id="said")
    download = gradio.DownloadButton("Download the classifier", interactive=False)
    return SimpleNamespace(
        name=name, files=files, add=add, examples=examples, names=names, task=task, learn=learn, anew=anew, said=said,
        download=download,
    )  # fmt: skip


def _asking(gradio: Any) -> SimpleNamespace:
    """The parts of the right column, where a picture is asked about."""
    gradio.Markdown("## 2. Ask")
    # The file itself: Gradio would clip 16-bit grey.
    picture = gradio.Image(
        label="A picture", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=260
    )
    answer = gradio.Label(label="Answer", num_top_classes=5, elem_id="answer")
    likely = gradio.Markdown(elem_id="likely")
    gradio.Markdown("Most similar examples")
    alike = gradio.Gallery(show_label=False, columns=4, height=170, object_fit="contain", elem_id="alike")
    with gradio.Row():
        truth = gradio.Dropdown(label="It really is", choices=[], allow_custom_value=True)
        correct = gradio.Button("Correct it: make it an example")
    return SimpleNamespace(picture=picture, answer=answer, likely=likely, alike=alike, truth=truth, correct=correct)


def _connect(gradio: Any, teach: SimpleNamespace, ask: SimpleNamespace, acts: Acts) -> None:
    """What each button does, and which parts of the page it changes."""
    taught = [teach.said, teach.examples, ask.truth, teach.download]
    answered = [ask.answer, ask.likely, ask.alike]
    same = gradio.update()  # leaves a part of the page as it is
    asked = _noted(acts.ask, (None, "", []))
    teach.add.click(
        _noted(acts.add, (same,) * 6), [teach.name, teach.files], [*taught, teach.name, teach.files]
    )  # fmt: skip
    learned = teach.learn.click(_noted(acts.learn, (same,) * 4), [teach.names, teach.task], taught)
    learned.then(asked, ask.picture, answered)
    forgotten = teach.anew.click(acts.forget, None, [*taught, teach.names, teach.task])
    forgotten.then(lambda: None, None, ask.picture)
    ask.picture.change(asked, ask.picture, answered)
    ask.correct.click(_noted(acts.correct, (same,) * 7), [ask.picture, ask.truth], [*taught, *answered])


def serve(session: Session, *, port: int, browser: bool, ready: Callable[[str], Any]) -> None:
    """Serve the page to this machine until it is interrupted.

    Args:
        session: what happens behind it.
        port: 0: any that is free.
        browser: open one.
        ready: called with the address.
    """
    if port == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    font = ["system-ui", "sans-serif"]  # of the machine: none is fetched
    theme = _gradio().themes.Default(font=font, font_mono=["monospace"])
    with temporary_folder("fewshot-app-") as folder, _kept_in(folder / "pictures"):
        page = build(session, folder)
        try:
            _, address, _ = page.launch(
                server_name="127.0.0.1", server_port=port, share=False, inbrowser=browser, quiet=True, theme=theme,
                prevent_thread_lock=True, footer_links=["settings"], css=_STYLE,
            )  # fmt: skip
        except OSError as error:
            raise OSError(f"port {port} is taken; choose another: --port {port + 1} ({error}).") from error
        ready(address)
        try:
            page.block_thread()
        finally:
            page.close()


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Gradio copies what it is given into this folder, unless the user named one; its own would outlast the app."""
    named = os.environ.get(_COPIES)
    os.environ[_COPIES] = named or str(folder)
    try:
        yield
    finally:
        if named is None:
            del os.environ[_COPIES]


def _noted(act: Callable[..., tuple[Any, ...]], otherwise: tuple[Any, ...]) -> Callable[..., tuple[Any, ...]]:
    """An act whose complaint becomes a note: an error would be written over every part of the page that it concerns.

    Args:
        act: what a button does.
        otherwise: what the page shows where it cannot be done.
    """

    @wraps(act)
    def told(*given: Any) -> tuple[Any, ...]:
        try:
            return act(*given)
        except (ValueError, OSError) as error:
            _gradio().Warning(escape(str(error)))
            return otherwise

    return told


def _gradio() -> Any:
    """Gradio, which is an extra."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported: nothing leaves the machine
    try:
        import gradio
    except ImportError as error:
        raise ImportError('fewshot app needs Gradio: pip install "fewshot[app]"') from error
    return gradio
