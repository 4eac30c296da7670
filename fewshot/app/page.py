"""The page of `fewshot app`, made of Gradio's parts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from episodes.inputs import read_file
from episodes.pictures import decode_picture
from episodes.temporary import temporary_folder
from fewshot.app.session import Session

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
            with gradio.Column():
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

        taught = [said, examples, truth, download]

        def show(text: str, *, learned: bool = False) -> tuple[Any, ...]:
            choices = gradio.update(choices=list(session.counts()), value=None)
            if learned:
                file = gradio.update(interactive=True, value=str(session.pack(folder)))
            else:
                file = gradio.update(interactive=session.classifier is not None)
            return text, session.examples, choices, file

        def on_add(label: str, chosen: list[str] | None) -> tuple[Any, ...]:
            session.add(label or "", [_read(path) for path in chosen or []])
            counts = ", ".join(f"{label} {count}" for label, count in session.counts().items())
            return (*show(f"Examples: {counts}. Learn when there are enough."), "", None)

        def on_learn(words: str, about: str) -> tuple[Any, ...]:
            session.describe(words or "", about or "")
            return show(session.learn(), learned=True)

        def on_forget() -> tuple[Any, ...]:
            session.forget()
            return (*show("Everything was forgotten."), "", "")

        def on_ask(asked: str | None) -> tuple[Any, ...]:
            if asked is None:
                return None, "", []
            found = session.ask(_read(asked))
            text = "" if found.likely is None else (
                f"In {100 * session.coverage:.0f} of 100 cases it is one of: **{', '.join(found.likely)}**"
            )  # fmt: skip
            shown = [(example, f"{label} {cosine:.2f}") for example, label, cosine in found.alike]
            return found.probabilities, text, shown

        def on_correct(asked: str | None, label: str | None) -> tuple[Any, ...]:
            if asked is None or not label:
                raise ValueError("Choose a picture, and say what it really is.")
            text = session.correct(_read(asked), label)
            return (*show(f"Learned from it. {text}", learned=True), *on_ask(asked))

        same = gradio.update()  # leaves a part of the page as it is
        ask = _noted(on_ask, (None, "", []))
        add.click(_noted(on_add, (same,) * 6), [name, files], [*taught, name, files])
        learn.click(_noted(on_learn, (same,) * 4), [names, task], taught).then(ask, picture, [answer, likely, alike])
        anew.click(on_forget, None, [*taught, names, task]).then(lambda: None, None, picture)
        picture.change(ask, picture, [answer, likely, alike])
        correct.click(_noted(on_correct, (same,) * 7), [picture, truth], [*taught, answer, likely, alike])
    return page


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
    with temporary_folder("fewshot-app-") as folder:
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


def _read(path: str) -> Any:
    """A picture as `embed` reads it from a file: upright by its EXIF tags, and 8-bit RGB."""
    try:
        return decode_picture(read_file(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{Path(path).name}: {error}.") from error


def _noted(act: Callable[..., tuple[Any, ...]], otherwise: tuple[Any, ...]) -> Callable[..., tuple[Any, ...]]:
    """An act whose complaint becomes a note: an error would be written over every part of the page that it concerns.

    Args:
        act: what a button does.
        otherwise: what the page shows where it cannot be done.
    """

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
