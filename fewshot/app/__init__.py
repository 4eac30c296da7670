"""`fewshot app`: a few pictures per class, or names, into a classifier, in a browser.

`Session` is what happens; `fewshot.app.page` shows it with Gradio (extra ``app``).
"""

from __future__ import annotations

from fewshot.app.session import Answer, Session

__all__ = ["Answer", "Session"]
