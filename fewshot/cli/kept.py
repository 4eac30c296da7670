"""What an interrupted command leaves behind: read from the disk, so that no more is promised than is there."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

FIT_TRAINING = ".training"  # in MODEL, until it is saved: what `fit --strategy` resumes from; nobody's name for photos
_RESUMES = "the same command resumes there"


def kept(options: argparse.Namespace | None, since: float) -> str:
    """One sentence about what is on the disk, and what the same command will do with it.

    Nothing is imported for it: the interruption may have come in the middle of an import.

    Args:
        options: of the command; None where it was interrupted before they were read.
        since: when it began, in seconds since the epoch.
    """
    verb: str | None = getattr(options, "verb", None)
    out: Any = getattr(options, "out", None)
    rows = _embedded(getattr(options, "cache", None), since)
    embedded = f"{_count(rows, 'embedding')} {'are' if rows != 1 else 'is'} in the cache" if rows else ""
    found = ""
    if verb in ("train", "finetune", "adapt"):
        found = _trained(Path(out))
    elif verb == "fit" and getattr(options, "strategy", None):
        found = _trained(Path(out), *_folders(Path(out) / FIT_TRAINING))
    elif verb == "evaluate" and out is None:
        hint = "with --out FILE results would be kept, too"
        return f"{embedded}; {hint}." if rows else f"nothing was kept; {hint}."
    elif verb in ("evaluate", "benchmark", "advise") and out is not None:
        found = _evaluated(Path(out) / "results.jsonl" if verb == "benchmark" else Path(out))
    elif verb == "predict" and options is not None and options.csv is not None:
        found = _answered(Path(options.csv))
    parts = [part for part in (found, embedded) if part]
    if not parts:
        return "nothing was kept."
    return f"{' and '.join(parts)}; {_RESUMES if found or verb == 'embed' else 'all else starts anew'}."


def _trained(out: Path, *parts: Path) -> str:
    """The last step that a training saved, of its last phase; of several trainings, of the one written last."""
    places = [out / "training", out, *(folder for part in parts for folder in _folders(part))]
    folders = [out, *sorted(folder for place in places for folder in _folders(place))]
    states = [(file, state) for folder in folders if (state := _json(file := folder / "state.json")).get("step")]
    if parts:
        states.sort(key=lambda found: _modified(found[0]))
    last: dict[str, Any] = states[-1][1] if states else {}
    return f"step {last['step']:,} of {last.get('steps', 0):,} is kept in {out}" if last else ""


def _evaluated(file: Path) -> str:
    """Finished results, and episodes of others."""
    try:
        with open(file, "rb") as lines:
            results = sum(bool(line.strip()) for line in lines)
    except OSError:
        results = 0
    begun = [_json(side) for side in _files(file.parent) if side.name.startswith(f".{file.name}.")
             and side.name.endswith(".partial")]  # fmt: skip
    episodes = sum(len(side.get("scores", ())) for side in begun)
    parts = [_count(results, "result")] if results else []
    parts += [f"{_count(episodes, 'episode')} of {'others' if results else 'the first'}"] if episodes else []
    return f"{' and '.join(parts)} {'are' if results + episodes > 1 else 'is'} in {file}" if parts else ""


def _answered(table: Path) -> str:
    """Answers in whole lines."""
    try:
        with open(table, encoding="utf-8", newline="") as file:
            answers = sum(1 for _ in csv.reader(file)) - 1
    except (OSError, ValueError, csv.Error):
        answers = 0
    return f"{_count(answers, 'answer')} {'are' if answers > 1 else 'is'} in {table}" if answers > 0 else ""


def _embedded(cache: str | None, since: float) -> int:
    """Rows of the embedding cache in files that were written since a moment."""
    store: Any = sys.modules.get("fewshot.cache.store")
    if not hasattr(store, "default_path"):
        return 0  # no cache was opened
    place = Path(cache or os.environ.get("FEWSHOT_CACHE") or store.default_path()).expanduser()
    written = [file for space in _folders(place / "v1") for file in _files(space) if file.suffix == ".safetensors"]
    return sum(_rows(file) for file in written if _modified(file) >= since)


def _rows(segment: Path) -> int:
    try:
        with open(segment, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return int(json.loads(file.read(min(length, 2**24)))["__metadata__"]["n"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _files(folder: Path) -> list[Path]:
    try:
        return [place for place in folder.iterdir() if place.is_file()]
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        return [place for place in folder.iterdir() if place.is_dir()]
    except OSError:
        return []


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
