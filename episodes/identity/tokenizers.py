"""What a tokenizer of `transformers` or `tokenizers` makes of a text."""

from __future__ import annotations

from typing import Any

from episodes.identity.content import xxh3

_NOTES = {"name_or_path", "vocab_file", "verbose", "backend", "chat_template", "response_template"}


def is_tokenizer(value: Any) -> bool:
    """Whether it is a fast tokenizer, which can be written as one JSON text."""
    return hasattr(type(value), "backend_tokenizer") or _is_backend(value)


def describe_tokenizer(value: Any) -> dict[str, Any]:
    """Vocabulary, rules and settings, less what using it changes (how it last padded and cut)."""
    if _is_backend(value):
        return {"tokenizer": _rules(value)}
    plain = {
        name: part
        for name, part in vars(value).items()
        if name not in _NOTES and (part is None or isinstance(part, (bool, int, str)))
    }
    return {"tokenizer": _rules(value.backend_tokenizer), "class": type(value).__name__, "settings": plain}


def _is_backend(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "tokenizers" and hasattr(value, "to_str")


def _rules(backend: Any) -> str:
    text = str(backend.to_str())
    start = text.find('"added_tokens"')  # truncation and padding come before it
    return xxh3(text[max(start, 0) :].encode())
