"""Engines: the same rows wherever they are computed, and nothing lost when workers die."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fewshot import EmbeddingCache, embed
from fewshot.embedding import EmbeddingSource
from fewshot.encoders import ModuleEncoder, Preprocess
from fewshot.engines import Engine, load_engine


def encoder() -> ModuleEncoder:
    """Of importable parts only, so that workers can be sent it."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))
    return ModuleEncoder(body, Preprocess(16, 18), dim=5)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, generator = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    paths = []
    for number in range(24):
        paths.append(folder / f"{number:02}.png")
        Image.fromarray(generator.integers(0, 256, (20, 30 + number, 3), dtype=np.uint8)).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def expected(photographs: list[Path]) -> torch.Tensor:
    return embed(photographs, encoder(), cache=False).features


def check(source: EmbeddingSource, expected: torch.Tensor, computed: int) -> None:
    assert torch.cosine_similarity(source.features, expected).min() >= 0.99999
    assert source.report["computed"] == computed


class Twice:
    """An engine that runs every task twice, the last one first."""

    workers = 3

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        for task in [*tasks][::-1]:
            function(task)
            yield function(task)


class Forgetful:
    """An engine that loses its tasks."""

    workers = 1

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return iter(())


class Slurm:
    """Like submitit: jobs that are no `concurrent.futures.Future`."""

    class Job:
        def __init__(self, function: Callable[[Any], Any], task: Any) -> None:
            self.function, self.task = function, task

        def result(self) -> Any:
            return self.function(self.task)

    def submit(self, function: Callable[[Any], Any], task: Any) -> Slurm.Job:
        return self.Job(function, task)


class TestInThisProcess:
    @pytest.mark.parametrize("engine", ["in-process", Slurm()])
    def test_rows_are_the_same(
        self, engine: Any, photographs: list[Path], expected: torch.Tensor, tmp_path: Path
    ) -> None:
        check(embed(photographs, encoder(), cache=tmp_path, engine=engine), expected, 24)
        check(embed(photographs, encoder(), cache=tmp_path, engine=engine), expected, 0)

    def test_threads(self, photographs: list[Path], expected: torch.Tensor) -> None:
        with ThreadPoolExecutor(3) as pool:
            check(
                embed(photographs, encoder(), cache=False, engine=pool),
                expected,
                24,
            )

    def test_tasks_may_run_twice(self, photographs: list[Path], expected: torch.Tensor) -> None:
        check(embed(photographs * 2, encoder(), cache=False, engine=Twice()), expected.repeat(2, 1), 0)

    def test_only_ranges_that_lack_something_are_visited(self, photographs: list[Path], tmp_path: Path) -> None:
        ranges: list[tuple[int, int]] = []

        class Listening:
            workers = 1

            def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
                for task in tasks:
                    ranges.append((task.first, task.last))
                    yield function(task)

        embed(photographs[3:], encoder(), cache=tmp_path)
        source = embed(photographs, encoder(), cache=tmp_path, engine=Listening())
        assert ranges == [(0, 1), (1, 2), (2, 3)]
        assert (source.report["hits"], source.report["computed"]) == (21, 3)

    def test_rows_that_never_come_are_an_error(self, photographs: list[Path]) -> None:
        with pytest.raises(RuntimeError, match=r"24 of 24 rows are still missing .*00\.png"):
            embed(photographs, encoder(), cache=False, engine=Forgetful())

    def test_failures_are_named_with_their_rows(self, photographs: list[Path], tmp_path: Path) -> None:
        torn = tmp_path / "torn.png"
        torn.write_bytes(photographs[0].read_bytes()[:200])
        files = [*photographs[:20], torn, *photographs[20:]]
        with pytest.raises(ValueError, match=r"torn\.png' \(row 20 of"):
            embed(files, encoder(), cache=False, engine="in-process")
        source = embed(files, encoder(), cache=False, engine="in-process", on_error="skip")
        assert [entry["row"] for entry in source.report["skipped"]] == [20]
        assert len(source) == 24

    def test_workers_with_another_encoder_are_refused(self, photographs: list[Path], tmp_path: Path) -> None:
        model = encoder()

        class Changing:
            workers = 1

            def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
                with torch.no_grad():
                    model.module[0].bias += 1  # type: ignore[index]
                return map(function, tasks)

        with pytest.raises(RuntimeError, match=r"differs from the caller's"):
            embed(photographs, model, cache=tmp_path, engine=Changing())


class TestSpecs:
    def test_names_and_numbers(self) -> None:
        assert load_engine("processes(workers=3)").workers == load_engine(3).workers == 3
        assert isinstance(load_engine(Twice()), Engine)
        assert isinstance(load_engine(None), Engine)

    @pytest.mark.parametrize(
        ("engine", "message"),
        [
            ("proceses", "did you mean 'processes'"),
            (0, "workers=0"),
            (3.5, "give one of"),
            (True, "give one of"),
        ],
    )
    def test_wrong_ones_are_refused(self, engine: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load_engine(engine)

    def test_without_ray_it_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(ImportError, match=r'pip install "fewshot\[ray\]"'):
            load_engine("ray")


class TestProcesses:
    def test_rows_are_the_same(self, photographs: list[Path], expected: torch.Tensor, tmp_path: Path) -> None:
        check(embed(photographs, encoder(), cache=tmp_path, engine=2), expected, 24)
        check(embed(photographs, encoder(), cache=tmp_path, engine=2), expected, 0)

    def test_workers_read_named_datasets_themselves(self) -> None:
        source = embed("digits", "pixels", cache=False, engine="processes(workers=1)")
        assert torch.equal(source.features, embed("digits", "pixels", cache=False).features)

    def test_an_executor_of_ones_own(self, photographs: list[Path], expected: torch.Tensor) -> None:
        pool: Executor
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            check(embed(photographs, encoder(), cache=False, engine=pool), expected, 24)

    @pytest.fixture
    def deadly(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A module, importable by workers, of functions that kill their process."""
        (tmp_path / "deadly.py").write_text(
            "import os, pathlib, signal\n"
            "def once(task):\n"
            "    mark = pathlib.Path(task[0])\n"
            "    if task[1] == 2 and not mark.exists():\n"
            "        mark.touch()\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return task[1]\n"
            "def always(task):\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import importlib

        return importlib.import_module("deadly")

    def test_a_killed_worker_is_replaced(self, deadly: Any, tmp_path: Path) -> None:
        tasks = [(str(tmp_path / "mark"), number) for number in range(5)]
        results = list(load_engine(1).map(deadly.once, tasks))
        assert sorted(results) == [0, 1, 2, 3, 4]

    def test_workers_that_die_again_and_again_are_an_error(self, deadly: Any) -> None:
        with pytest.raises(RuntimeError, match=r"died 3 times with 2 tasks left"):
            list(load_engine(1).map(deadly.always, [1, 2]))

    def test_a_killed_run_is_resumed(self, photographs: list[Path], expected: torch.Tensor, tmp_path: Path) -> None:
        program = f"""
import pathlib, time, torch
from torch import nn
from fewshot import embed
from fewshot.encoders import ModuleEncoder, Preprocess
torch.manual_seed(0)
body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))
model = ModuleEncoder(body, Preprocess(16, 18), dim=5)
class Slow:
    workers = 6
    def map(self, function, tasks):
        for task in tasks:
            yield function(task)
            time.sleep(0.2)
files = sorted(pathlib.Path({str(photographs[0].parent)!r}).glob("*.png"))
embed(files, model, cache={str(tmp_path)!r}, engine=Slow())
"""
        with subprocess.Popen([sys.executable, "-c", program]) as process:
            deadline = time.monotonic() + 60
            while len(list(tmp_path.rglob("*.safetensors"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
        source = embed(photographs, encoder(), cache=tmp_path)
        assert 3 <= source.report["hits"] < 24
        check(source, expected, 24 - source.report["hits"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all tests: to start it takes longer than to use it."""
    ray = pytest.importorskip("ray")
    from fewshot.engines.ray import _cluster

    with ExitStack() as running:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # older releases of Ray leave files of their logs open
            running.enter_context(_cluster())
        yield
    assert not ray.is_initialized()


class TestRay:
    @pytest.mark.usefixtures("cluster")
    def test_rows_are_the_same(self, photographs: list[Path], expected: torch.Tensor, tmp_path: Path) -> None:
        embed(photographs[:5], encoder(), cache=tmp_path)  # as a killed run would have left it
        source = embed(photographs, encoder(), cache=tmp_path, engine="ray(workers=2)")
        assert source.report["hits"] == 5
        check(source, expected, 19)

    @pytest.mark.usefixtures("cluster")
    def test_a_killed_worker_is_replaced(self, tmp_path: Path) -> None:
        mark = tmp_path / "mark"

        def once(task: int) -> int:
            if task == 2 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return task

        assert sorted(load_engine("ray(workers=1)").map(once, range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_a_killed_run_of_workers_is_resumed(
    engine: str, photographs: list[Path], expected: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    (tmp_path / "slow_encoder.py").write_text(
        "import time\nimport torch\nfrom torch import nn\nfrom fewshot.encoders import ModuleEncoder, Preprocess\n"
        "class Slow(ModuleEncoder):\n"
        "    def encode_images(self, images):\n"
        "        time.sleep(0.1)\n"
        "        return super().encode_images(images)\n"
        "def slow():\n"
        "    torch.manual_seed(0)\n"
        "    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3))\n"
        "    return Slow(body, Preprocess(16, 18), dim=5)\n"
    )
    program = (
        "import pathlib\nfrom fewshot import embed\nfrom slow_encoder import slow\n"
        f"files = sorted(pathlib.Path({str(photographs[0].parent)!r}).glob('*.png'))\n"
        "if __name__ == '__main__':\n"
        f"    embed(files, slow(), cache={str(tmp_path / 'cache')!r}, engine='{engine}(workers=2)', batch_size=1)\n"
    )
    (tmp_path / "killed.py").write_text(program)
    folders = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": folders}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py")], env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 90
        while len(list(tmp_path.rglob("*.safetensors"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)  # the run with all its workers, as a scheduler does it
    before = sum(info.rows for info in EmbeddingCache(tmp_path / "cache").ls())
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("slow_encoder").slow()
    monkeypatch.delitem(sys.modules, "slow_encoder")
    source = embed(photographs, model, cache=tmp_path / "cache", workers=1)
    assert 0 < source.report["hits"] == before < 24
    check(source, expected, 24 - before)
