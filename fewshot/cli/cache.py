"""``fewshot cache``: list, check and prune the embedding cache."""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot import EmbeddingCache
    from fewshot.embedding.auditing import Audit

_NEEDS: dict[str, tuple[str, ...]] = {
    "ls": (), "info": ("an ID",), "verify": (), "audit": ("a dataset",), "prune": (), "rm": ("an ID",),
    "compact": ("an ID",), "export": ("an ID", "a FILE"),
}  # fmt: skip
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "actions:\n"
        "  ls                     all spaces, one per encoder and preprocessing\n"
        "  info ID                one space, with what it was made by (the beginning of the id will do)\n"
        "  verify [ID]            check every checksum; damaged segments are set aside and embedded again when needed\n"
        "  audit DATA             embed a random sample of a dataset's cached rows again and compare (--encoder)\n"
        "  prune                  remove whole spaces, the least recently used first (--max-bytes, --older-than)\n"
        "  rm ID                  remove one space\n"
        "  compact ID             merge the segments of a space, checking every row on the way\n"
        "  export ID FILE         rows and keys as .npy, .safetensors or .parquet\n\n"
        "example:\n  fewshot cache prune --max-bytes 10GB --older-than 30d --dry-run"
    )
    parser.add_argument("action", choices=tuple(_NEEDS), metavar="action", help=", ".join(_NEEDS))
    parser.add_argument("id", nargs="?", help="the beginning of a space's id; for audit, a dataset")
    parser.add_argument("file", nargs="?", help="where to export to")
    parser.add_argument("--cache", metavar="DIR", help="the folder (default: $FEWSHOT_CACHE or the user's)")
    parser.add_argument("--encoder", metavar="SPEC", help="for audit: what the rows were embedded by")
    parser.add_argument("--root", metavar="DIR", help="for audit: where the dataset lies on disk")
    parser.add_argument("--sample", type=int, default=256, metavar="N", help="for audit: rows to compare (256)")
    parser.add_argument("--precision", default="auto", help="for audit: as it was given to fewshot embed")
    parser.add_argument("--runtime", default="auto", help="for audit: as it was given to fewshot embed")
    parser.add_argument("--storage", default="float16", help="for audit: as it was given to fewshot embed")
    parser.add_argument("--max-bytes", type=_bytes, metavar="SIZE", help="prune to this size: 500MB, 10GB")
    parser.add_argument("--older-than", type=_days, metavar="AGE", help="prune what was not used for: 12h, 30d, 8w")
    parser.add_argument("--dry-run", action="store_true", help="only print what prune would remove")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run the action and print its result."""
    from fewshot import EmbeddingCache

    cache = EmbeddingCache(options.cache)
    needs = _NEEDS[options.action]
    if [options.id, options.file].count(None) > 2 - len(needs):
        raise ValueError(f"fewshot cache {options.action} needs {' and '.join(needs)}; see fewshot cache ls.")
    done: Any
    if options.action == "ls":
        done = [asdict(info) for info in cache.ls()]
        lines = [line for info in done for line in (_line(info), *_problems(info))]
        count = "1 space" if len(done) == 1 else f"{len(done)} spaces"
        lines.append(f"{count}, {_size(sum(info['bytes'] for info in done))} in {cache.path}")
    elif options.action == "info":
        done = asdict(cache.info(options.id))
        lines = [_line(done), *_problems(done), json.dumps(done["spec"], indent=1, ensure_ascii=False)]
    elif options.action == "verify":
        done = cache.verify(options.id)
        lines = [f"{space[:8]}: set aside {name}" for space, names in done.items() for name in names]
        lines = lines or ["all checksums are right"]
    elif options.action == "audit":
        found = _audit(cache, options)
        done = asdict(found)
        lines = [f"wrong: {name} (cosine {cosine:.5f})" for name, cosine in found.wrong]
        lines.append(
            f"{found.compared:,} of {found.cached:,} cached rows embedded again, {len(found.wrong)} differ; "
            f"lowest cosine {found.lowest_cosine:.6f}, space {found.space[:8]}"
        )
    elif options.action == "prune":
        gone = cache.prune(options.max_bytes, options.older_than, dry_run=options.dry_run)
        done = [asdict(info) for info in gone]
        verb = "would remove" if options.dry_run else "removed"
        lines = [f"{verb} {_line(info)}" for info in done] or ["nothing to remove"]
    elif options.action == "rm":
        done = asdict(cache.rm(options.id))
        lines = [f"removed {_line(done)}"]
    elif options.action == "compact":
        done = {"rows": cache.compact(options.id)}
        lines = [f"{done['rows']:,} rows, each compared with its checksum"]
    else:
        done = {"rows": cache.export(options.id, options.file)}
        lines = [f"wrote {done['rows']:,} rows to {options.file}"]
    print(json.dumps(done, indent=1, ensure_ascii=False) if options.json else "\n".join(lines))
    return 1 if (options.action == "verify" and done) or (options.action == "audit" and done["wrong"]) else 0


def _audit(cache: EmbeddingCache, options: argparse.Namespace) -> Audit:
    from episodes import load_dataset
    from fewshot.embedding.auditing import audit

    source = load_dataset(options.id, **({"root": options.root} if options.root else {}))
    return audit(
        source, options.encoder or "pixels", cache=cache, sample=options.sample, precision=options.precision,
        storage=options.storage, runtime=options.runtime,
    )  # fmt: skip


def _line(info: dict[str, Any]) -> str:
    encoder = info["spec"].get("encoder", {})
    name = encoder.get("name") or encoder.get("family") or "?" if isinstance(encoder, dict) else str(encoder)
    days = (time.time() - info["last_used"]) / 86_400
    used = "today" if days < 1 else f"{days:.0f} days ago"
    rows, size = f"{info['rows']:>10,} x {info['spec'].get('dim', '?'):<5}", _size(info["bytes"])
    return f"{info['id'][:8]}  {rows} {size:>9}  used {used}  {name}"


def _problems(info: dict[str, Any]) -> list[str]:
    return [f"          {problem}" for problem in info["problems"]]


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500MB or 10GB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _days(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdw]?)", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write 12h, 30d or 8w")
    return float(match[1]) * _DAYS[match[2]]
