"""What an encoder was when a classifier was fitted: rows of another one do not compare with those that were learned."""

from __future__ import annotations

import json
from typing import Any

from episodes.identity import UnknownIdentityError
from fewshot.runtimes.stamp import stamp


class FittedEncoder:
    """The encoder of a fit, by value.

    Args:
        encoder: as it is at the end of `fit`. It is not kept.
    """

    def __init__(self, encoder: Any) -> None:
        self._fingerprint = _fingerprint(encoder)
        self._stamp = stamp(encoder)

    def check(self, encoder: Any, *, quickly: bool = False) -> None:
        """Refuse an encoder that computes something else by now. One without an identity cannot be told.

        Args:
            encoder: as it is now.
            quickly: look at what torch counts first, which does not see writes through ``.data``.

        Raises:
            ValueError: other weights, or another preprocessing.
        """
        now = stamp(encoder)
        if self._fingerprint is None or (quickly and now == self._stamp):
            return
        if not same_features(self._fingerprint, _fingerprint(encoder)):
            raise ValueError(
                f"the encoder {encoder.name!r} is not what it was in fit: its weights or preprocessing were changed "
                "since, and its features do not compare with those that were learned. Fit again; an encoder that is to "
                "be trained on is given to the classifier as a copy."
            )
        self._stamp = now  # it was moved to a device, or written to and back


def same_features(was: dict[str, Any] | None, now: dict[str, Any] | None) -> bool:
    """Whether two fingerprints agree in all but the code and settings around the weights."""
    if was is None or now is None:
        return was is now
    return {**was, "architecture": None} == {**now, "architecture": None}


def _fingerprint(encoder: Any) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(json.dumps(encoder.fingerprint))
    except (UnknownIdentityError, TypeError):  # such an encoder is only used without a cache
        return None
    return found
