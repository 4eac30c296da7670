"""Faults injected into everything that is stored: is anything wrong, lost, or answered with a raw error?

    python benchmarks/faults.py                 # all, some minutes
    python benchmarks/faults.py --only cache    # kinds whose name begins so

Each trial damages one file, kills a process or takes a right away, uses what is left in the usual way, and compares
with what must come out. *Wrong*: another result without an error. *Lost*: what was whole is not served, or a finished
write is gone. *Raw*: an error that no reader of a message could act on. All trials come from one seed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes import (
    EpisodeSampler,
    ManifestSampler,
    Results,
    TensorSource,
    evaluate,
    load_dataset,
    save_episodes,
)
from fewshot import EmbeddingCache, FewShotClassifier, load_encoder, meta_train
from fewshot.cache import CacheWriteError, MissingRowsError
from fewshot.cli import main as command
from fewshot.embedding.canary import compare, keep_canary, kept_canary

Trial = Callable[[np.random.Generator, Path], str]
SPEC = {"dim": 48, "storage": "float32", "encoder": "test"}
NUMBERS = range(400)
FINE, WRONG, LOST, RAW = "", "wrong", "lost", "raw"
KINDS: dict[str, tuple[Trial, int]] = {}
ODD = [None, True, -1, 10**400, 1e308, "", "9" * 5000, [], [[1]], {}, "\ud800"]


def kind(name: str, trials: int) -> Callable[[Trial], Trial]:
    def register(trial: Trial) -> Trial:
        KINDS[name] = (trial, trials)
        return trial

    return register


def keys_of(numbers: Any) -> np.ndarray:
    return np.frombuffer(b"".join(int(n).to_bytes(16, "big") for n in numbers), np.uint8).reshape(-1, 16)


def rows_of(numbers: Any) -> np.ndarray:
    return (np.array(numbers)[:, None] + np.arange(48) / 64).astype(np.float32)


def write(space: Any, numbers: Any) -> None:
    with space.writer() as writer:
        writer.add(keys_of(numbers), rows_of(numbers))


def filled(folder: Path) -> tuple[EmbeddingCache, Any]:
    cache = EmbeddingCache(folder / "cache")
    space = cache.space(SPEC)
    for start in (0, 200):
        write(space, range(start, start + 200))
    return cache, space


def damage(random: np.random.Generator, path: Path) -> None:
    """One flipped bit, or the end cut off."""
    data = bytearray(path.read_bytes())
    place = int(random.integers(len(data)))
    if random.random() < 0.75:
        data[place] ^= 1 << int(random.integers(8))
    else:
        del data[place:]
    path.write_bytes(data)


def one_of(random: np.random.Generator, paths: Any) -> Path:
    found = sorted(paths)
    return found[int(random.integers(len(found)))]


def served(space: Any, least: int, mapped: bool = False) -> str:
    """What a reader gets who embeds anew what is missing: right rows, at least so many of them from before."""
    for _ in range(5):
        held = np.flatnonzero(space.contains(keys_of(NUMBERS)))
        if len(held) < least:
            return LOST
        try:
            rows = space.table(keys_of(held), memory_limit_bytes=1 if mapped else None)
        except MissingRowsError:
            continue
        return FINE if np.array_equal(np.asarray(rows), rows_of(held)) else WRONG
    return LOST


@contextmanager
def unprivileged() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@kind("cache: damaged segment, read", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    damage(random, one_of(random, space.path.glob("*.safetensors")))
    return served(cache.space(SPEC), 200)


@kind("cache: damaged segment, mapped", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    damage(random, one_of(random, space.path.glob("*.safetensors")))
    return served(cache.space(SPEC), 200, mapped=True)


@kind("cache: damaged segment, compacted", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    damage(random, one_of(random, space.path.glob("*.safetensors")))
    cache.compact(space.id)
    return served(cache.space(SPEC), 200)


@kind("cache: damaged table", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    space.table(keys_of(NUMBERS), memory_limit_bytes=1)
    damage(random, one_of(random, space.path.glob("*.table")))
    return served(cache.space(SPEC), 400, mapped=True)


@kind("cache: damaged JSON, listed", 40)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    write(cache.space({**SPEC, "encoder": "other"}), range(5))
    keep_canary(space, "images", np.ones((4, 48)))
    damage(random, space.path / ("space.json", "canary.json")[int(random.integers(2))])
    before = sorted(os.listdir(space.path))
    if len(cache.ls()) != 2 or sorted(os.listdir(space.path)) != before:
        return LOST
    space = cache.space(SPEC)
    kept = kept_canary(space)
    if kept is not None:
        compare(kept, kept["rows"], space)
    return served(space, 400)


@kind("cache: without permission", 12)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, space = filled(folder)
    victim = one_of(random, space.path.glob("*.safetensors"))
    if random.random() < 0.5:
        victim.chmod(0)
    else:
        damage(random, victim)
    os.chmod(space.path, 0o555)
    with unprivileged():
        found = served(EmbeddingCache(cache.path).space(SPEC), 200, mapped=bool(random.integers(2)))
    os.chmod(space.path, 0o755)
    return found


@kind("cache: threads map one table", 6)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, _space = filled(folder)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: served(cache.space(SPEC), 400, mapped=True), range(6)))
    return max(found)


@kind("cache: kill -9 while writing", 12)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, _space = filled(folder)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            space = cache.space(SPEC)
            for number in range(10**6):
                write(space, range(400 + number, 401 + number))
        os._exit(0)
    time.sleep(float(random.uniform(0.05, 0.4)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return served(cache.space(SPEC), 400)


@kind("cache: four writers", 4)
def _(random: np.random.Generator, folder: Path) -> str:
    cache = EmbeddingCache(folder / "cache")
    cache.space(SPEC)
    children = []
    for first in (0, 100, 0, 200):
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                space = cache.space(SPEC)
                for start in range(first, first + 200, 5):
                    write(space, range(start, start + 5))
                code = 0
            os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    return RAW if any(codes) else served(cache.space(SPEC), 400)


@kind("cache: full disk", 8)
def _(random: np.random.Generator, folder: Path) -> str:
    cache, _space = filled(folder)
    child = os.fork()
    if not child:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = int(random.integers(100, 40_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = 3
        try:
            space = cache.space(SPEC)
            write(space, range(400, 1000))
        except CacheWriteError:
            code = 0
        except BaseException:
            code = 2
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: served(cache.space(SPEC), 400), 2: RAW}.get(code, LOST)


# Results


def source() -> TensorSource:
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 20)
    return TensorSource((random.normal(size=(120, 8)) + 0.6 * y[:, None]).astype(np.float32), y)


def results(path: Path) -> dict[str, Any]:
    rows = source()
    sampler = EpisodeSampler(rows.labels, way=3, shot=1, query=5, seed=0)
    for learner in ("prototypes", "nearest", "ridge"):
        evaluate(learner, rows, sampler, episodes=20, out=path, progress=False)
    return {cell.learner: cell.scores.tolist() for cell in Results.load(path).cells}


def loaded(path: Path) -> dict[str, Any]:
    """Cells that can still be read: none where one bad line costs the file."""
    try:
        return {cell.learner: cell.scores.tolist() for cell in Results.load(path).cells}
    except ValueError:
        return {}


@kind("results: damaged line", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    path = folder / "runs.jsonl"
    truth = results(path)
    damage(random, path)
    found = loaded(path)
    if any(truth.get(name) != scores for name, scores in found.items()):
        return WRONG
    whole = path.read_bytes().count(b"\n")  # lines left, of which one may be the damaged one
    return FINE if len(found) >= min(2, whole) else LOST


@kind("results: full disk", 8)
def _(random: np.random.Generator, folder: Path) -> str:
    path = folder / "runs.jsonl"
    results(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    limit = path.stat().st_size + int(random.integers(1, 400))
    code = (
        "import resource, signal, sys; from pathlib import Path; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import faults; faults.results(Path({str(path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    held = set(loaded(path))
    if not {"prototypes", "nearest"} <= held or (done.returncode == 0 and "ridge" not in held):
        return LOST
    return FINE if set(results(path)) == {"prototypes", "nearest", "ridge"} else LOST


# Checkpoints and saved classifiers


def trained(folder: Path, steps: int) -> dict[str, Any]:
    rows = source()
    sampler = EpisodeSampler(rows.labels, way=3, shot=1, query=5, seed=0)
    learner = meta_train(
        "mlp(item_shape=(8,), widths=(8, 4)) | prototypes", rows, sampler, steps=steps, every=5, out=folder,
        progress=False,
    ).learner  # fmt: skip
    return {name: value.clone() for name, value in learner.state_dict().items()}


class Stop(Exception):
    """Ends a training in the middle."""


@kind("training: damaged checkpoint", 30)
def _(random: np.random.Generator, folder: Path) -> str:
    truth = trained(folder / "whole", 10)
    rows = source()
    sampler = EpisodeSampler(rows.labels, way=3, shot=1, query=5, seed=0)

    def stop(entry: Any) -> None:
        raise Stop

    with contextlib.suppress(Stop):
        meta_train(
            "mlp(item_shape=(8,), widths=(8, 4)) | prototypes", rows, sampler, steps=10, every=5, out=folder / "part",
            progress=False, callbacks=[stop],
        )  # fmt: skip
    files = [path for path in sorted((folder / "part").iterdir()) if path.name.startswith("state")]
    damage(random, one_of(random, files))
    found = trained(folder / "part", 10)
    return FINE if all(torch.equal(found[name], truth[name]) for name in truth) else WRONG


def saved(folder: Path) -> tuple[Path, Any]:
    rows = source()
    classifier = FewShotClassifier().fit(rows.features.numpy(), rows.labels.numpy())
    return classifier.save(folder / "model"), classifier.predict_proba(rows.features.numpy()[::7])


def same(path: Path, truth: Any) -> str:
    found = FewShotClassifier.load(path).predict_proba(source().features.numpy()[::7])
    return FINE if np.array_equal(found, truth) else WRONG


@kind("classifier: damaged model", 40)
def _(random: np.random.Generator, folder: Path) -> str:
    path, truth = saved(folder)
    damage(random, path / "model.safetensors")
    return same(path, truth)


@kind("classifier: hostile config", 80)
def _(random: np.random.Generator, folder: Path) -> str:
    path, _truth = saved(folder)
    config = json.loads((path / "config.json").read_text())
    name = sorted(config)[int(random.integers(len(config)))]
    if random.random() < 0.3:
        del config[name]
    else:
        config[name] = ODD[int(random.integers(len(ODD)))]
    (path / "config.json").write_text(json.dumps(config))
    FewShotClassifier.load(path).predict_proba(source().features.numpy()[::7])
    return FINE


@kind("encoder: folder with Python", 3)
def _(random: np.random.Generator, folder: Path) -> str:
    proof = folder / "it ran"
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(proof)!r}).touch()\nclass Net: pass\n")
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "evil.Net"}]')
    with contextlib.suppress(ValueError, ImportError):
        load_encoder(f"text:{folder}")
    return WRONG if proof.exists() else FINE


# Episodes and arrays


@kind("manifest: damaged", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    labels, path = np.repeat(np.arange(4), 6), folder / "episodes.npz"
    sampler = EpisodeSampler(labels, way=3, shot=1, query=2, seed=0)
    save_episodes(sampler, path, labels=labels, episodes=5)
    truth = sampler.draw(0, 5)
    damage(random, path)
    found = ManifestSampler(path, labels).draw(0, 5)
    return FINE if torch.equal(found.rows, truth.rows) and torch.equal(found.targets, truth.targets) else WRONG


@kind("arrays: damaged", 60)
def _(random: np.random.Generator, folder: Path) -> str:
    rows = source()
    np.savez(folder / "bank.npz", X=rows.features.numpy(), y=rows.labels.numpy())
    damage(random, folder / "bank.npz")
    found = load_dataset(f"arrays:{folder / 'bank.npz'}")
    return FINE if torch.equal(found.features, rows.features) and torch.equal(found.labels, rows.labels) else WRONG


# The command line, and workers


@kind("command line: mishaps", 24)
def _(random: np.random.Generator, folder: Path) -> str:
    runs = folder / "runs.jsonl"
    results(runs)
    damage(random, runs)
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "torn.safetensors").write_bytes(bytes(7))
    (folder / "bank.npz").write_bytes(b"PK\3\4" + bytes(50))
    lines = [
        ["compare", str(runs)], ["report", str(runs)], ["compare", str(folder)], ["compare", str(folder / "deep.json")],
        ["evaluate", "--data", f"arrays:{folder / 'bank.npz'}"],
        ["evaluate", "--learner", "ridge(alpha=" + "9" * 5000 + ")"],
        ["evaluate", "--learner", "ridge(alpha={[]: 1})"], ["evaluate", "--data", f"csv:{folder / 'deep.json'}"],
        ["embed", "--data", "digits", "--encoder", f"timm:resnet18@{folder / 'torn.safetensors'}"],
        ["cache", "ls", "--cache", str(runs)], ["cache", "info", "zz", "--cache", str(folder / "c")],
        ["classify", str(folder / "deep.json"), "--classes", "a", "b"],
    ]  # fmt: skip
    line = lines[int(random.integers(len(lines)))]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            command([*line, "--quiet"])
        except SystemExit:
            return FINE
    return RAW if "Traceback" in errors.getvalue() or "--debug" in errors.getvalue() else FINE


@kind("engine: parent killed", 2)
def _(random: np.random.Generator, folder: Path) -> str:
    (folder / "program.py").write_text(
        "import os, sys, time\nfrom pathlib import Path\nfrom fewshot.engines import load_engine\n"
        "def slow(folder):\n    Path(folder, f'worker-{os.getpid()}').touch()\n    time.sleep(100)\n"
        f"if __name__ == '__main__':\n    list(load_engine(2).map(slow, [{str(folder)!r}] * 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(folder / "program.py")], stderr=subprocess.DEVNULL, env=environment)
    while len(list(folder.glob("worker-*"))) < 2 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal((signal.SIGKILL, signal.SIGINT)[int(random.integers(2))])
    process.wait()
    time.sleep(3)
    alive = [path for path in folder.glob("worker-*") if _is_alive(int(path.name.partition("-")[2]))]
    return LOST if alive else FINE


def _is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def run(trial: Trial, random: np.random.Generator) -> tuple[str, str]:
    folder = Path(tempfile.mkdtemp(prefix="fewshot-faults-"))
    os.chmod(folder, 0o755)
    try:
        return trial(random, folder), ""
    except (ValueError, CacheWriteError, MissingRowsError) as error:
        return FINE, str(error)
    except Exception as error:
        return RAW, f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    import logging
    import warnings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose name begins so")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of trials")
    parser.add_argument("--verbose", action="store_true", help="say what the first raw error of each kind was")
    options = parser.parse_args()
    logging.getLogger("fewshot").setLevel(logging.CRITICAL)
    logging.getLogger("episodes").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    total: Counter[str] = Counter()
    print("| what | trials | wrong | lost | raw |\n|---|---|---|---|---|", flush=True)
    for number, (name, (trial, trials)) in enumerate(KINDS.items()):
        if not name.startswith(options.only):
            continue
        count, first = max(1, round(trials * options.scale)), ""
        found: Counter[str] = Counter()
        for one in range(count):
            outcome, words = run(trial, np.random.default_rng([options.seed, number, one]))
            found[outcome] += 1
            first = first or (words if outcome == RAW else "")
        total.update(found)
        print(f"| {name} | {count} | {found[WRONG]} | {found[LOST]} | {found[RAW]} |", flush=True)
        if options.verbose and first:
            print(f"    {first[:300]}")
    print(f"| all | {sum(total.values())} | {total[WRONG]} | {total[LOST]} | {total[RAW]} |")
    sys.exit(1 if total[WRONG] + total[LOST] + total[RAW] else 0)


if __name__ == "__main__":
    main()
