"""``fewshot predict``: a saved classifier asked about many new items, as a table that survives interruptions."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewshot.cli.options import add_device

COLUMNS = ["item", "label", "probability", "runner_up", "runner_up_probability", "rejected", "nearest", "similarity",
           "problem"]  # fmt: skip
NAMES = "examples.json"  # beside the classifier: what each fitted example is called
_STEP = 256  # items between two writes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = (
        "examples:\n"
        "  fewshot predict birds/ new/ --csv answers.csv     # interrupted, the same command resumes\n"
        "  fewshot predict intents/ --texts messages.txt"
    )
    parser.add_argument("model", metavar="MODEL", help="folder that fewshot fit wrote")
    parser.add_argument("items", nargs="*", metavar="FILE", help="pictures or recordings, or folders of them")
    parser.add_argument("--texts", metavar="FILE", help="a text per line, or a table with a column of texts")
    parser.add_argument("--text-column", metavar="NAME", help="of that table")
    parser.add_argument("--csv", metavar="FILE", help="write the table there; without it, it goes to the terminal")
    parser.add_argument("--overwrite", action="store_true", help="begin the table anew")
    parser.add_argument("--bad", choices=("skip", "stop"), default="skip", help="items that cannot be read")
    parser.add_argument("--reject", type=float, metavar="P", help="answer 'unknown' below this probability")
    parser.add_argument("--encoder", metavar="SPEC", help="where MODEL names files that lie elsewhere here")
    parser.add_argument("--cache", metavar="DIR", help="embedding cache (default: $FEWSHOT_CACHE or the user's)")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Ask about the items, some hundreds at a time."""
    from episodes.progress import progress_bar
    from fewshot.cli.examples import read_items, takes

    model = Path(options.model)
    if not (model / "config.json").is_file() and any((Path(item) / "config.json").is_file() for item in options.items):
        raise ValueError(
            f"{options.model!r} is not a saved classifier, but {options.items[-1]!r} is: the classifier goes first, "
            f"fewshot predict {options.items[-1]} {options.model}."
        )
    classifier = load_classifier(model, options)
    items, names, kind = read_items(options.items, options.texts, options.text_column)
    if not takes(classifier.encoder_, kind):
        raise ValueError(f"{options.model!r} classifies no {kind}; its encoder is {classifier.encoder_.name!r}.")
    kept = read_names(model, len(getattr(classifier, "support_", ())))
    done, bad = 0, 0
    with _Table(options, _identity(model, options)) as table:
        if table.rows > len(items):
            raise ValueError(
                f"{options.csv!r} holds {table.rows:,} answers, more than there are items; choose another file, or "
                "--overwrite."
            )
        table.check(names, items)
        with progress_bar(len(items), table.rows, "items", show=not options.quiet and len(items) > _STEP) as bar:
            for start in range(table.rows, len(items), _STEP):
                part = slice(start, start + _STEP)
                keys = [_key(item) for item in items[part]]
                rows = list(_answers(classifier, items[part], names[part], kept, stop=options.bad == "stop"))
                table.write(rows, keys)
                done, bad = done + len(rows), bad + sum(bool(row["problem"]) for row in rows)
                bar.update(len(rows))
        if not options.quiet:
            earlier = f", {table.rows - done:,} were there" if table.rows > done else ""
            unread = f"; {bad:,} could not be read (column problem)" if bad else ""
            print(f"{done:,} classified{earlier}{unread}", file=sys.stderr)
    return 0


def load_classifier(folder: Path, options: argparse.Namespace) -> Any:
    """The classifier in a folder, of whichever kind."""
    from episodes.schema import read_json
    from fewshot import FewShotClassifier, ZeroShotClassifier

    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    zero = isinstance(config, dict) and config.get("kind") == "ZeroShotClassifier"
    changes: dict[str, Any] = {"cache": options.cache, "device": options.device}
    if options.encoder:
        changes["encoder"] = options.encoder
    if options.reject is not None:
        changes["reject"] = options.reject
    return (ZeroShotClassifier if zero else FewShotClassifier).load(folder, **changes)


def read_names(folder: Path, count: int) -> list[str]:
    """What the fitted examples are called; numbers where that was not kept."""
    from episodes.schema import read_json

    path = folder / NAMES
    names = read_json(path) if path.is_file() else []
    if isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names):
        return names
    return [f"example {number}" for number in range(count)]


def _answers(
    classifier: Any, items: list[Any], names: list[str], kept: list[str], *, stop: bool
) -> Iterator[dict[str, Any]]:
    """A row for each item, in order; those that cannot be read say why."""
    problems: dict[int, str] = {}
    rows = None
    while len(problems) < len(items):
        good = [place for place in range(len(items)) if place not in problems]
        try:
            rows = _features(classifier, [items[place] for place in good])
            break
        except (ValueError, OSError) as error:
            if stop or len(items) == 1:
                if stop:
                    raise
                problems[0] = _why(error)
                break
            problems |= _unreadable(classifier, items, problems)
    place_of = {place: row for row, place in enumerate(p for p in range(len(items)) if p not in problems)}
    answers = [] if rows is None else _read(classifier, rows, kept)
    for place, name in enumerate(names):
        if place in problems:
            yield {**dict.fromkeys(COLUMNS, ""), "item": name, "problem": problems[place]}
        else:
            yield {"item": name, **answers[place_of[place]], "problem": ""}


def _features(classifier: Any, items: list[Any]) -> Any:
    return classifier.features(items) if hasattr(classifier, "features") else classifier._read(items)[0]


def _unreadable(classifier: Any, items: list[Any], known: dict[int, str]) -> dict[int, str]:
    """Which of the items cannot be read, and why: each is tried alone."""
    found = {}
    for place, item in enumerate(items):
        if place in known:
            continue
        try:
            _features(classifier, [item])
        except (ValueError, OSError) as error:
            found[place] = _why(error)
    return found or {place: "could not be read" for place in range(len(items))}


def _why(error: Exception) -> str:
    """What is wrong with an item, without what could be done about it in Python."""
    return str(getattr(error.__cause__, "reason", error))


def _read(classifier: Any, rows: Any, kept: list[str]) -> list[dict[str, Any]]:
    """Answers about features ``[n, D]``."""
    import numpy as np

    from fewshot.classifier.explanation import nearest

    table = rows.numpy() if hasattr(rows, "numpy") else rows
    chances, answers, refused = classifier.answers_about(table)
    order = np.argsort(-chances, axis=1, kind="stable")
    near: Any = [("", "")] * len(table)
    if kept:
        similarity, index = nearest(table, classifier.support_, 1)
        near = [(kept[i], f"{s:.4f}") for i, s in zip(index[:, 0], similarity[:, 0], strict=True)]
    found = []
    for row, (name, cosine) in enumerate(near):
        best, *others = order[row].tolist()
        second = others[0] if others else None
        found.append({
            "label": str(answers[row]), "probability": f"{chances[row, best]:.6f}",
            "runner_up": "" if second is None else str(classifier.classes_[second]),
            "runner_up_probability": "" if second is None else f"{chances[row, second]:.6f}",
            "rejected": "yes" if refused[row] else "", "nearest": name, "similarity": cosine,
        })  # fmt: skip
    return found


def _identity(model: Path, options: argparse.Namespace) -> str:
    """What the answers depend on besides the items."""
    content = (model / "config.json").read_bytes() + repr((options.reject, options.encoder)).encode()
    return hashlib.sha256(content).hexdigest()


def _key(item: Any) -> str:
    """Tells the content of an item from any other."""
    from fewshot.cli.examples import content_digest

    try:
        return content_digest(item)
    except OSError:  # its answer will say why
        return "unreadable"


class _Table:
    """The answers as CSV, on the terminal or in a file that is continued after its last whole line.

    Beside the file ``answers.csv`` are ``.answers.csv.json``, which tells whose answers they are, and
    ``.answers.csv.keys``, a line for each answer, or some more: the digest of what was asked about.
    """

    def __init__(self, options: argparse.Namespace, identity: str) -> None:
        self.path = Path(options.csv) if options.csv else None
        self.rows = 0
        self._before: list[str] = []
        self._answered: list[str] = []  # digests of the items before
        self._identity, self._overwrite = identity, options.overwrite
        self._file: Any = sys.stdout

    def __enter__(self) -> _Table:
        if self.path is None:
            csv.writer(self._file, lineterminator="\n").writerow(COLUMNS)
            return self
        note = self.path.with_name(f".{self.path.name}.json")
        if self.path.exists() and not self._overwrite:
            self._resume(note)
        else:
            from episodes.files import write_atomically

            write_atomically(note, json.dumps({"model": self._identity}).encode())
            write_atomically(self._keys, b"")
            write_atomically(self.path, _line(COLUMNS).encode())
        self._file = open(self.path, "a", encoding="utf-8", newline="")
        return self

    def _resume(self, note: Path) -> None:
        assert self.path is not None
        try:
            same = json.loads(note.read_text(encoding="utf-8")).get("model") == self._identity
        except (OSError, ValueError, AttributeError):
            same = False
        if not same:
            raise ValueError(
                f"{str(self.path)!r} is there, and its answers are not known to be of this classifier; choose another "
                "file, or --overwrite."
            )
        content = self.path.read_bytes()
        rows = list(csv.reader(io.StringIO(content[: content.rfind(b"\n") + 1].decode("utf-8"))))
        if not rows or rows[0] != COLUMNS:
            raise ValueError(f"{str(self.path)!r} is no table of answers; choose another file, or --overwrite.")
        if not content.endswith(b"\n"):  # killed in the middle of a line
            with open(self.path, "r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
        self._before = [row[0] for row in rows[1:]]
        self.rows = len(self._before)
        keys = self._keys.read_bytes().decode().split("\n")[: self.rows] if self._keys.is_file() else []
        if len(keys) < self.rows:
            raise ValueError(
                f"{str(self.path)!r} does not say what its answers are about; choose another file, or --overwrite."
            )
        from episodes.files import write_atomically

        write_atomically(self._keys, "".join(f"{key}\n" for key in keys).encode())  # less those without an answer
        self._answered = keys

    @property
    def _keys(self) -> Path:
        assert self.path is not None
        return self.path.with_name(f".{self.path.name}.keys")

    def check(self, names: list[str], items: list[Any]) -> None:
        """The items answered before must be the first ones, and what they were then."""
        from episodes.printable import spreadsheet_cell

        for place, (before, key) in enumerate(zip(self._before, self._answered, strict=True)):
            if before != spreadsheet_cell(names[place]):
                raise ValueError(
                    f"{str(self.path)!r} answers {before!r} in line {place + 2}, where now {names[place]!r} is asked; "
                    "files were added or removed since: choose another file, or --overwrite."
                )
            if _key(items[place]) != key:
                raise ValueError(
                    f"{names[place]!r} holds something else than when {str(self.path)!r} was written, so its answer "
                    "there is about another item: choose another file, or --overwrite."
                )

    def write(self, rows: list[dict[str, Any]], keys: list[str]) -> None:
        """Append some answers, and the digests of what they are about; what was written survives whatever comes."""
        from episodes.printable import spreadsheet_cell

        if self.path is not None:
            with open(self._keys, "a", encoding="ascii") as file:  # first: an answer without one could not be resumed
                file.writelines(f"{key}\n" for key in keys)
        text = "".join(_line([spreadsheet_cell(row[name]) for name in COLUMNS]) for row in rows)
        self._file.write(text)
        self._file.flush()
        self.rows += len(rows)

    def __exit__(self, *_: object) -> None:
        if self.path is not None:
            self._file.close()


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
