"""Which runtime and which precision compute an encoder: as asked, else what is measured faster and will pay."""

from __future__ import annotations

import logging
import time
from importlib.util import find_spec
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch

from episodes.identity import UnknownIdentityError, digest
from episodes.source import StoredSource, tower_of
from fewshot.embedding.canary import control_items, control_name
from fewshot.embedding.forward import Forward, gains_by_channels_last, is_large
from fewshot.embedding.lanes import threads_of_a_batch
from fewshot.embedding.plan import Plan
from fewshot.embedding.settings import Settings
from fewshot.encoders.preprocess import is_plain
from fewshot.runtimes.compiled import compiled_computation
from fewshot.runtimes.kept_weights import forget_weights, with_kept_weights
from fewshot.runtimes.lower_precision import in_best_precision
from fewshot.runtimes.network import Computation, Network, UnavailableError
from fewshot.runtimes.onnx_runtime import export_key, is_at_hand, onnx_computation
from fewshot.runtimes.stamp import stamp

_LOG = logging.getLogger("fewshot")
# `benchmarks/runtimes.py NETWORK --exports --processors 1`, twice, in a fresh process: an export took 13 and 28 s for
# MobileNetV2, 8 and 15 for ResNet-18, 16 and 13 for ViT-S, 16 and 11 for MiniLM (5 to 14 of processor time); then ONNX
# Runtime saved 0.68 and 0.60 of torch's time in float32, 0.26 and 0.26, -0.11 and 0.01, 0.37 and 0.25.
EXPORT_SECONDS = 15.0  # of an export: the mean
SAVED = 0.4  # of torch's time, by networks of convolutions: between a MobileNet and a ResNet
LEAST_ROWS = 64  # for a graph that is there already: reading, comparing and timing it take about a second
_GAIN = 1.1  # how much faster it must be on the control items
_ROUNDS, _LONGEST = 3, 1.0  # of timing, and after how many seconds no further round begins
_faster: dict[tuple[str, str, int], bool] = {}  # (encoder, tower, threads of a batch) -> whether ONNX Runtime is
_last: WeakKeyDictionary[Any, dict[str, tuple[str, Computation | None, Any]]] = WeakKeyDictionary()
_choosing = RLock()


def fastest_forward(settings: Settings, encoder: Any, source: StoredSource, plan: Plan, store: Any) -> Forward:
    """The forward pass by the runtime that was asked for, in `embed` or by the encoder's spec; else the fastest.

    ``"auto"`` is torch in the precision that `fewshot.runtimes.lower_precision` finds. Where that is float32 on a CPU,
    for a large network, stored as float16, it is ONNX Runtime if its rows agree with torch's within that storage, if it
    is at least 1.1 times as fast on the control items, and if one of this holds:

    - the exported graph is in the cache folder or in this process, and at least 64 rows are to be computed;
    - the network is mostly one of convolutions, and 0.4 of the time that torch would take for the rows to be computed
      (their number times the time of a control item, shared by the lanes) exceeds the 15 seconds that an export takes.

    It never compiles: what that gains depends on the device, and it costs up to a minute in each process.

    Args:
        settings: of `embed`.
        encoder: to compute with.
        source: what is embedded; its kind decides the tower.
        plan: its content keys.
        store: the `EmbeddingCache`.
    """
    tower, asked = tower_of(source), settings.runtime_of(encoder)
    with _choosing:
        forget_weights(encoder)
        exact = settings.forward(encoder)
        identity = _identity(exact)
        chosen = _asked(asked, exact, source, identity, store, tower) if asked == "onnx" else None
        if chosen is None:
            chosen = in_best_precision(settings, exact, source, plan, store, identity)
        if asked == "compile":
            chosen = _asked(asked, chosen, source, identity, store, tower) or chosen
        elif asked == "auto" and identity is not None and _may_gain(settings, chosen, tower):
            chosen = _if_it_pays(settings, chosen, source, plan, store, identity, tower)
        computation = None if chosen.network is None else chosen.network.computation
        _last.setdefault(encoder, {})[tower] = chosen.precision, computation, stamp(encoder)
    return chosen


def known_forward(settings: Settings, encoder: Any, source: StoredSource) -> Forward:
    """The forward pass that `fastest_forward` last chose for an encoder, else torch in the precision of the settings.

    Of an encoder that was changed since, the network is computed by torch: see `fewshot.runtimes.stamp`. What is asked
    again and again in lower precision on a CPU is computed with weights in it: see `fewshot.runtimes.kept_weights`.
    """
    tower = tower_of(source)
    with _choosing:
        precision, computation, then = _last.get(encoder, {}).get(tower, (None, None, None))
    forward = settings.forward(encoder, precision if settings.precision == "auto" else None)
    if computation is None or then is None or then != stamp(encoder):
        with _choosing:
            return with_kept_weights(forward, tower, source)
    return _with(forward, tower, computation)


def forward_of(settings: Settings, encoder: Any, source: StoredSource, store: Any, spec: dict[str, Any]) -> Forward:
    """The forward pass of a worker: in the precision of its caller, and in the runtime where that can be had here.

    Args:
        settings: with the runtime that the caller has found.
        encoder: the worker's.
        source: its rows.
        store: the cache that all share.
        spec: of the space, which names a runtime whose rows differ from torch's.

    Raises:
        RuntimeError: the space is of a runtime that this worker lacks.
    """
    own = spec.get("runtime")
    exact = settings.forward(encoder, spec["precision"])
    if settings.runtime not in ("onnx", "compile"):
        return exact
    with _choosing:
        forward = _asked(settings.runtime, exact, source, _identity(exact), store, tower_of(source))
    if own is not None and (forward is None or forward.runtime != own):
        raise RuntimeError(f"the rows are computed by runtime={own!r}, which a worker lacks; embed without engine=.")
    if forward is None or (own is None and not forward.network.shares_space):
        return exact
    return forward


def _asked(
    name: str, base: Forward, source: StoredSource, identity: str | None, store: Any, tower: str
) -> Forward | None:
    """By the runtime that was asked for; None, with a warning, where it cannot be had."""
    try:
        if tower == "sounds":
            raise UnavailableError("recordings are computed by torch alone")
        return _with(base, tower, _computation(name, base, source, identity, store, tower))
    except UnavailableError as error:
        reason = str(error)
        _LOG.warning(
            "%s is computed by torch, not by runtime=%r: %s", base.encoder.name, name,
            reason if reason.endswith((".", "?")) else f"{reason}.",
        )  # fmt: skip
        return None


def _computation(
    name: str, base: Forward, source: StoredSource, identity: str | None, store: Any, tower: str
) -> Computation:
    if base.encoder.module is None:
        raise UnavailableError("it has no network (module=None)")
    items: Any = control_items(control_name(source, base.encoder), base.encoder)
    if name == "compile":
        return compiled_computation(base, tower, items)
    return onnx_computation(base, tower, items, identity, store.exports)


def _with(base: Forward, tower: str, computation: Computation) -> Forward:
    return base.like(network=Network(base.encoder, tower, computation))


def _may_gain(settings: Settings, forward: Forward, tower: str) -> bool:
    """Whether it is worth a look, without computing anything."""
    encoder = forward.encoder
    on_processor = forward.device.type == "cpu" and forward.precision == "float32" and forward.dtype == torch.float16
    fixed_size = tower == "texts" or (tower == "images" and is_plain(encoder.transform))
    if not (on_processor and fixed_size and settings.precision in ("auto", "float32") and is_large(encoder.module)):
        return False
    return find_spec("onnxruntime") is not None and find_spec("onnxscript") is not None


def _if_it_pays(
    settings: Settings, torchs: Forward, source: StoredSource, plan: Plan, store: Any, identity: str, tower: str
) -> Forward:
    spec = settings.space_spec(source, torchs)
    rows = len(plan.missing(store.space(spec))) if store.holds(spec) else len(plan.units)
    together = torch.get_num_threads()
    with threads_of_a_batch(torchs, tower, rows) as threads:
        before = _faster.get((identity, tower, threads))
        if rows < LEAST_ROWS or before is False:
            return torchs
        items: Any = control_items(control_name(source, torchs.encoder), torchs.encoder)
        key = export_key(identity, tower, items)
        if key is None or store.exports.refusal(key) is not None:
            return torchs
        at_hand = is_at_hand(key, store.exports)
        known = before is True and at_hand
        taken = 0.0 if known else _seconds(torchs, items)
        if not at_hand:
            saved = rows * taken * SAVED * threads / together
            if not gains_by_channels_last(torchs.encoder.module) or saved <= EXPORT_SECONDS:
                return torchs
            _LOG.info("%s is exported for ONNX Runtime, which %d rows pay for.", torchs.encoder.name, rows)
        try:
            forward = _with(torchs, tower, onnx_computation(torchs, tower, items, identity, store.exports))
            if forward.network.shares_space and (known or _seconds(forward, items) * _GAIN <= taken):
                _faster[identity, tower, threads] = True
                return forward
        except UnavailableError as error:
            _LOG.info("%s is computed by torch, not by ONNX Runtime: %s", torchs.encoder.name, error)
        _faster[identity, tower, threads] = False
        return torchs


def _seconds(forward: Forward, items: Any) -> float:
    """Of one control item in a batch of them: the fastest of some rounds, behind one that does not count."""
    forward(items)
    fastest, begun = float("inf"), time.perf_counter()
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        forward(items)
        fastest = min(fastest, time.perf_counter() - started)
        if time.perf_counter() - begun > _LONGEST:
            break
    return fastest / len(items)


def _identity(forward: Forward) -> str | None:
    try:
        return digest(forward.fingerprint)
    except (UnknownIdentityError, ValueError, TypeError):  # without one, nothing could be kept for it
        return None
