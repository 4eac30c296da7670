"""`Acts`: what the buttons of the page do, as values for its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from episodes.inputs import read_file
from episodes.pictures import decode_picture
from fewshot.app.session import Session


class Acts:
    """One method for each button; what it gives is shown by parts of the page, in their order.

    Args:
        session: what happens behind the page.
        folder: for the classifier that is taken away.
        update: makes a change of a part, as the page knows it.
    """

    def __init__(self, session: Session, folder: Path, update: Callable[..., Any]) -> None:
        self.session, self.folder, self.update = session, folder, update

    def add(self, label: str, chosen: list[str] | None) -> tuple[Any, ...]:
        """Examples of a class."""
        self.session.add(label or "", [read_picture(path) for path in chosen or []])
        counts = ", ".join(f"{label} {count}" for label, count in self.session.counts().items())
        return (*self._show(f"Examples: {counts}. Learn when there are enough."), "", None)

    def learn(self, words: str, about: str) -> tuple[Any, ...]:
        """From all examples and names."""
        self.session.describe(words or "", about or "")
        return self._show(self.session.learn(), learned=True)

    def forget(self) -> tuple[Any, ...]:
        """Everything."""
        self.session.forget()
        return (*self._show("Everything was forgotten."), "", "")

    def ask(self, asked: str | None) -> tuple[Any, ...]:
        """About a picture."""
        if asked is None:
            return None, "", []
        found = self.session.ask(read_picture(asked))
        text = "" if found.likely is None else (
            f"In {100 * self.session.coverage:.0f} of 100 cases it is one of: **{', '.join(found.likely)}**"
        )  # fmt: skip
        shown = [(example, f"{label} {cosine:.2f}") for example, label, cosine in found.alike]
        return found.probabilities, text, shown

    def correct(self, asked: str | None, label: str | None) -> tuple[Any, ...]:
        """What a picture really is; it becomes an example."""
        if asked is None or not label:
            raise ValueError("Choose a picture, and say what it really is.")
        text = self.session.correct(read_picture(asked), label)
        return (*self._show(f"Learned from it. {text}", learned=True), *self.ask(asked))

    def _show(self, text: str, *, learned: bool = False) -> tuple[Any, ...]:
        """A note, the examples, the classes to choose from, and the classifier where there is one."""
        choices = self.update(choices=list(self.session.counts()), value=None)
        if learned:
            file = self.update(interactive=True, value=str(self.session.pack(self.folder)))
        else:
            file = self.update(interactive=self.session.classifier is not None)
        return text, self.session.examples, choices, file


def read_picture(path: str) -> Any:
    """A picture as `embed` reads it from a file: upright by its EXIF tags, and 8-bit RGB."""
    try:
        return decode_picture(read_file(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{Path(path).name}: {error}.") from error
