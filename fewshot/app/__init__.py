"""`fewshot app`: a few pictures per class, or names, into a classifier, in a browser.

`Session` is what happens; `build` shows it with Gradio (extra ``app``).
"""

from __future__ import annotations

from fewshot.app.session import Answer, Session

__all__ = ["Answer", "Session", "build"]


def build(session: Session) -> object:
    """The page of a session, as `fewshot.app.page.build`."""
    from fewshot.app.page import build as page

    return page(session)
