"""Imports: light ones stay light, packages keep their direction, and there is no circle."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from import_graph import floors, graph_of

import episodes
import fewshot

ROOT = Path(episodes.__file__).parents[1]
HEAVY = ["torchvision", "open_clip", "sklearn", "matplotlib", "timm", "scipy", "pandas", "ray", "transformers"]
FOR_LEARNERS = {"learner", "transforms", "registry", "renamed", "maths", "nets"}  # what learners may import of fewshot
FILES = sorted([*(ROOT / "episodes").rglob("*.py"), *(ROOT / "fewshot").rglob("*.py")])


def imported(path: Path, tree: ast.AST) -> Iterator[str]:
    """Dotted names that a piece of a file imports, ``from a import b`` as ``a.b``."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Statements that run when a module is imported: none in functions, none for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        yield from at_import_time(child)


def test_the_reader_of_imports_reads_them_all() -> None:
    code = """
from . import sampler
from ..learners.ridge import Ridge
try:
    import a.b as c
except ImportError:
    import d
if TYPE_CHECKING:
    import e
def f():
    from g import h
class K:
    import i
"""
    path, tree = ROOT / "fewshot" / "cli" / "x.py", ast.parse(code)
    everything = ["fewshot.cli.sampler", "fewshot.learners.ridge.Ridge", "a.b", "d", "e", "g.h", "i"]
    assert sorted(imported(path, tree)) == sorted(everything)
    at_once = [name for statement in at_import_time(tree) for name in imported(path, statement)]
    assert sorted(at_once) == sorted(set(everything) - {"e", "g.h"})


@pytest.mark.parametrize("path", [p for p in FILES if ROOT / "episodes" in p.parents], ids=lambda p: p.name)
def test_episodes_never_imports_fewshot(path: Path) -> None:
    wrong = [name for name in imported(path, ast.parse(path.read_text())) if name.partition(".")[0] == "fewshot"]
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}; fewshot imports episodes, never the other way"


def test_episodes_imports_only_numpy_and_torch_at_once() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "torch", "episodes"}
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        if ROOT / "episodes" in path.parents
        for statement in at_import_time(ast.parse(path.read_text()))
        for name in imported(path, statement)
        if name.partition(".")[0] not in allowed
    }
    assert not wrong, sorted(wrong)


def test_learners_import_neither_one_another_nor_other_packages() -> None:
    home = ROOT / "fewshot" / "learners"
    wrong = [
        f"{path.relative_to(home)}: {name}"
        for path in FILES
        # The adapter of a peer puts its network in front of a learner of ours, and SimpleShot is a pipeline of two parts.
        if home in path.parents and path.name not in ("__init__.py", "learn2learn.py", "simpleshot.py")
        for name in imported(path, ast.parse(path.read_text()))
        if name.startswith("fewshot.") and name.split(".")[1] not in FOR_LEARNERS
        # A learner that is a package may import its own files.
        if not name.startswith(f"fewshot.learners.{Path(path.relative_to(home).parts[0]).stem}.")
    ]
    assert not wrong, f"{wrong}; learners may import episodes and fewshot.{{{', '.join(sorted(FOR_LEARNERS))}}}"


def test_there_is_no_circle() -> None:
    graph = graph_of("fewshot")
    found, circular = floors(graph)
    assert not circular, {name: sorted(graph[name] & set(circular)) for name in circular}
    floor = {name.removeprefix("fewshot."): number for number, names in enumerate(found) for name in names}
    assert floor["learner"] < floor["learners.ridge"] < floor["meta.training"] < floor["cli.train"]
    assert floor["cache"] < floor["embedding"] < floor["classifier.few_shot"] < floor["classifier"]


def test_what_learners_share_does_not_import_learners_or_other_packages() -> None:
    for shared in FOR_LEARNERS:
        for path in [ROOT / "fewshot" / f"{shared}.py", *(ROOT / "fewshot" / shared).rglob("*.py")]:
            if path.exists():
                names = [n for n in imported(path, ast.parse(path.read_text())) if n.startswith("fewshot.")]
                assert {name.split(".")[1] for name in names} <= FOR_LEARNERS, f"{path.name} imports {names}"


def test_what_classifiers_use_does_not_import_them() -> None:
    """They bring scikit-learn, scipy and pandas, which take longer to import than a small network to tune."""
    below = (
        "adaptation",
        "embedding",
        "encoders",
        "meta",
        "multi_task",
        "prompts",
        "runtimes",
        "transfer",
        "unsupervised",
    )
    for path in (path for package in below for path in (ROOT / "fewshot" / package).rglob("*.py")):
        names = [n for n in imported(path, ast.parse(path.read_text())) if n.startswith("fewshot.classifier")]
        assert not names, f"{path.relative_to(ROOT)} imports {names}"


def test_no_library_file_prints_pickles_or_sets_global_random_numbers() -> None:
    banned = {"print", "pickle", "cloudpickle", "joblib", "manual_seed_all"}
    may_print = {"cli", "demo.py"}  # these write to the terminal
    for path in FILES:
        if may_print & set(path.relative_to(ROOT).parts):
            continue
        tree = ast.parse(path.read_text())
        assert not banned & {name.partition(".")[0] for name in imported(path, tree)}, path.name
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        wrong = calls & {
            "print",
            "np.random.seed",
            "random.seed",
            "torch.manual_seed",
            "torch.random.manual_seed",
            "torch.seed",
        }
        # Both put back what they set: modules draw their first weights from the global generator only.
        exempt = ROOT / "fewshot" / "testing" in path.parents or path == ROOT / "fewshot" / "meta" / "start.py"
        if not exempt:
            assert not wrong, f"{path.relative_to(ROOT)} calls {wrong}"


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    report = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", report],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import fewshot", "import episodes"])
def test_a_bare_import_is_light(code: str) -> None:
    assert not modules_after(code) & {*HEAVY, "torch", "numpy", "PIL"}


def test_learning_from_features_needs_nothing_heavy() -> None:
    code = """
import torch
from episodes import EpisodeSampler, TensorSource, evaluate
from fewshot import load_learner, list_learners
source = TensorSource(torch.randn(40, 4), torch.arange(40) % 4)
evaluate({"p": load_learner("l2 | prototypes")}, source, EpisodeSampler(source.labels, 3, 1, 2), episodes=8)
"""
    loaded = modules_after(code) & set(HEAVY)
    # torch itself brings some of them where they are installed (sympy does, through numpy).
    assert not loaded - (modules_after("import torch") & set(HEAVY)), loaded


@pytest.mark.parametrize("package", [episodes, fewshot], ids=["episodes", "fewshot"])
def test_every_public_name_can_be_imported(package) -> None:  # type: ignore[no-untyped-def]
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


def test_help_is_quick() -> None:
    resource = pytest.importorskip("resource", reason="measures processor time, which this system does not report")

    def seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)

    # Compared with a bare interpreter as well, so that a slow or busy machine does not count.
    bare = min(seconds("-c", "pass") for _ in range(3))
    spent = min(seconds("-m", "fewshot", "--help") for _ in range(3))
    assert spent - bare < 0.25, f"fewshot --help takes {spent:.2f} s of processor time, {bare:.2f} s bare"
