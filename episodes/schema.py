"""JSON from files that may be damaged or hostile: read within bounds, each field checked as it is taken."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from episodes.files import read_bounded

_NAMES = {
    str: "a string", int: "an integer", float: "a number", bool: "true or false", list: "a list", dict: "an object",
    type(None): "null",
}  # fmt: skip
_MISSING: Any = ...  # unlike a bare object, it has an identity where code that reads it is described
JSON_LIMIT = 16 * 2**20  # bytes of a JSON file, unless its reader knows better
_DEEPEST = 500  # levels; what Python itself reads differs between its versions, from 1,000 to over 50,000


def read_json(path: str | os.PathLike[str], limit: int = JSON_LIMIT) -> Any:
    """The JSON value in a file.

    Raises:
        ValueError: too long, not UTF-8, not JSON, or nested too deeply; the message names the file.
        OSError: it is not there, or cannot be read.
    """
    return parse_json(read_bounded(path, limit), repr(str(path)))


def parse_json(content: bytes | str, where: str) -> Any:
    """The JSON value in a text; infinities and NaN, which are not JSON, are refused.

    Args:
        content: UTF-8.
        where: what messages call the text.

    Raises:
        ValueError: see `read_json`.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(text, parse_constant=_refuse_constant)
        deep = text.count("[") + text.count("{") > _DEEPEST and is_deeper(value, _DEEPEST)
    except RecursionError:
        deep = True
    except UnicodeDecodeError:
        raise ValueError(f"{where} is damaged: it is not UTF-8.") from None
    except ValueError as error:
        raise ValueError(f"{where} is damaged: it is not JSON ({error}).") from None
    if deep:
        raise ValueError(f"{where} is nested too deeply.")
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in one another more than so many levels deep.

    >>> is_deeper([[1], {"a": 2}], 2), is_deeper([[1], {"a": 2}], 1)
    (False, True)
    """
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in inner)


def field(
    data: Any,
    name: str,
    kind: type | tuple[type, ...],
    where: str,
    *,
    default: Any = _MISSING,
    each: type | tuple[type, ...] | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A field of a JSON object, which must be of a type and may have to lie in a range.

    Numbers must be finite, integers are no booleans, and an integer will do where a float is wanted.

    Args:
        data: the object.
        name: of the field.
        kind: one or several of str, int, float, bool, list, dict, type(None).
        where: what messages call the file.
        default: returned where the field is missing; without one it must be there.
        each: type of every entry of a list or value of an object.
        least: smallest value of a number, or length of a string or list.
        most: largest.

    Raises:
        ValueError: the field is missing, of another type or out of range; the message names file and field.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} holds {_name(data)}; it must hold an object with the field {name!r}.")
    if name not in data:
        if default is not _MISSING:
            return default
        raise ValueError(f"{where}: the field {name!r} is missing.")
    what = f"{where}: the field {name!r}"
    value = _checked(data[name], kind, what)
    if each is not None and isinstance(value, (list, dict)):
        entries = list(value) if isinstance(value, list) else list(value.values())
        checked = [_checked(entry, each, f"an entry of {what[len(where) + 2 :]} in {where}") for entry in entries]
        value = checked if isinstance(value, list) else dict(zip(value, checked, strict=True))
    if least is not None or most is not None:
        size = len(value) if isinstance(value, (str, list, dict)) else value
        if size is not None and ((least is not None and size < least) or (most is not None and size > most)):
            noun = "has length" if isinstance(value, (str, list, dict)) else "is"
            bounds = " and ".join(
                f"{word} {bound}" for word, bound in (("at least", least), ("at most", most)) if bound is not None
            )
            raise ValueError(f"{what} {noun} {_short(size)}; it must be {bounds}.")
    return value


def _checked(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) in kinds:
        found = value
    elif float in kinds and type(value) is int:
        try:
            found = float(value)
        except OverflowError:
            raise ValueError(f"{what} is {_short(value)}, too large for a number.") from None
    else:
        wanted = " or ".join(_NAMES[one] for one in kinds)
        raise ValueError(f"{what} is {_name(value)}; it must be {wanted}.")
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{what} is {found}; it must be finite.")
    if isinstance(found, str) and not found.isascii():
        try:
            found.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} is not valid Unicode.") from None
    return found


def _name(value: Any) -> str:
    shown = _short(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    return (_NAMES.get(type(value)) or type(value).__name__) + (f" ({shown})" if shown else "")


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"of {value.bit_length()} bits"  # its digits may be too many to print
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")
