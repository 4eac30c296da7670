"""Checkpoints, saved classifiers, and folders of encoders that hold Python."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes import EpisodeSampler
from fault_trials.trial import FINE, WRONG, damage, kind, one_of, source
from fewshot import FewShotClassifier, load_encoder, meta_train

ODD = [None, True, -1, 10**400, 1e308, "", "9" * 5000, [], [[1]], {}, "\ud800"]


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
