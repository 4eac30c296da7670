"""Meta-training: it learns, resumes exactly, validates, and explains wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from meta_training_examples import SPEC, TEST, TRAIN, VALIDATE, sampler, weights
from torch.nn import functional as F

from episodes import Episode, EpisodeSampler, TensorSource, VariableSampler, evaluate
from fewshot import Learner, load_learner, meta_train
from fewshot.cli import main
from fewshot.meta import load_weights, save_weights
from fewshot.meta.training import gather


def test_it_learns_a_metric() -> None:
    training = meta_train(
        SPEC,
        TRAIN,
        sampler(TRAIN),
        steps=150,
        lr=3e-3,
        validation=(VALIDATE, sampler(VALIDATE, 1)),
        every=50,
        progress=False,
    )
    results = evaluate(
        {"trained": training.learner, "raw": "prototypes"}, TEST, sampler(TEST, 2), episodes=200, progress=False
    )
    assert results["trained"].mean > results["raw"].mean + 0.2
    assert training.best == max(report["validation"] for report in training.history) and len(training.history) == 3


@pytest.mark.parametrize("options", [
    {"optimizer": "adam", "schedule": "cosine", "warm_up": 3}, {"optimizer": "sgd", "clip": 0.5, "accumulate": 2},
    {"optimizer": "adamw", "weight_decay": 0.01, "precision": "bfloat16"},
], ids=str)  # fmt: skip
def test_a_resumed_run_ends_with_the_very_same_weights(options: dict[str, Any], tmp_path: Path) -> None:
    common: dict[str, Any] = {"every": 4, "batch": 2, "progress": False, **options}
    whole = meta_train(SPEC, TRAIN, sampler(TRAIN), steps=12, **common).learner

    class Stop(Exception):
        pass

    def stop(report: dict[str, Any]) -> None:
        if report["step"] == 8:
            raise Stop

    with pytest.raises(Stop):
        meta_train(SPEC, TRAIN, sampler(TRAIN), steps=12, out=tmp_path, callbacks=[stop], **common)
    resumed = meta_train(SPEC, TRAIN, sampler(TRAIN), steps=12, out=tmp_path, **common)
    assert resumed.step == 12 and [report["step"] for report in resumed.history] == [4, 8, 12]
    for name, value in weights(whole).items():
        assert torch.equal(resumed.learner.state_dict()[name], value), name
    again = meta_train(SPEC, TRAIN, sampler(TRAIN), steps=12, out=tmp_path, **common)
    assert torch.equal(
        weights(again.learner)["transforms.0.net.layers.1.weight"], weights(whole)["transforms.0.net.layers.1.weight"]
    )
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 8, 12]


def test_swapped_arguments_are_named() -> None:
    source = TensorSource(torch.rand(20, 4), torch.arange(20) % 2)
    with pytest.raises(ValueError, match="sampler is TensorSource"):
        meta_train("mlp(item_shape=(4,)) | prototypes", EpisodeSampler(source.labels, 2, 1, 2), source, steps=1)


def test_another_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    meta_train(SPEC, TRAIN, sampler(TRAIN), steps=2, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a training with another plan"):
        meta_train(SPEC, TRAIN, sampler(TRAIN), steps=2, lr=0.1, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="holds a training with another learner"):
        meta_train(SPEC.replace("24", "20"), TRAIN, sampler(TRAIN), steps=2, out=tmp_path, progress=False)


SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
from test_training import SPEC, TRAIN, sampler
import torch
from fewshot import meta_train
torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # what takes long, the imports, is done once
state = Path(sys.argv[1]) / "state.json"
for kills in range(4):
    before = json.loads(state.read_text())["step"] if state.exists() else 0
    child = os.fork()
    if not child:  # one that is to be killed is slow, so that the kill comes in its midst on a busy machine, too
        meta_train(SPEC, TRAIN, sampler(TRAIN), steps=60, every=3, batch=2, out=sys.argv[1], progress=False,
                   callbacks=[lambda report: time.sleep(0.3 if kills < 3 else 0)])
        os._exit(0)
    while kills < 3 and not (state.exists() and json.loads(state.read_text())["step"] > before + 6):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), kills
        time.sleep(0.01)
    if kills < 3:
        os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (-signal.SIGKILL if kills < 3 else 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are made by fork here")
def test_killed_runs_end_with_the_uninterrupted_weights(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=[str(folder) for folder in Path(__file__).parents[:3]]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(script), str(tmp_path / "run")], env=environment, check=True)
    assert json.loads((tmp_path / "run" / "state.json").read_text())["step"] == 60
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = meta_train(SPEC, TRAIN, sampler(TRAIN), steps=60, every=3, batch=2, progress=False).learner
    finally:
        torch.set_num_threads(threads)
    save_weights(whole, tmp_path / "whole.safetensors", step="60")
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    last = load_weights(SPEC, tmp_path / "run" / "last.safetensors")
    for name, value in weights(whole).items():
        assert torch.equal(last.state_dict()[name], value), name


def test_patience_ends_a_training_that_no_longer_gains(tmp_path: Path) -> None:
    training = meta_train(
        SPEC, TRAIN, sampler(TRAIN), steps=400, lr=1e-7, every=2, patience=2, validation=(VALIDATE, sampler(VALIDATE)),
        validation_episodes=20, out=tmp_path, progress=False,
    )  # fmt: skip
    assert training.step < 400
    best = load_weights(load_learner(SPEC), tmp_path / "best.safetensors")
    assert all(torch.equal(best.state_dict()[name], value) for name, value in weights(training.learner).items())


@pytest.mark.parametrize("spec", [
    "mlp(item_shape=(16,), widths=(12,)) | r2d2", "mlp(item_shape=(16,), widths=(12,)) | matching",
    "mlp(item_shape=(16,), widths=(12,)) | metaoptnet", "mlp(item_shape=(16,), widths=(12,)) | scaled-prototypes", "maml(net='linear', item_shape=(16,))",
    "maml++(net='mlp(widths=(8,))', item_shape=(16,))", "reptile(net='mlp(widths=(8,))', item_shape=(16,))",
    "proto-maml(net='mlp(widths=(8,))', item_shape=(16,))", "scaled-prototypes",
])  # fmt: skip
def test_everything_with_weights_trains(spec: str) -> None:
    asked, targets = gather(VALIDATE, sampler(VALIDATE).draw(0, 200), torch.device("cpu"))
    fresh = meta_train(spec, TRAIN, sampler(TRAIN), steps=1, lr=1e-12, progress=False).learner
    learner = meta_train(spec, TRAIN, sampler(TRAIN), steps=60, lr=5e-3, progress=False, every=30).learner
    before, after = (
        float(F.cross_entropy(model(asked).flatten(0, 1), targets.flatten()).detach()) for model in (fresh, learner)
    )
    assert after < 0.97 * before


class Crowd(Learner):
    """Prototypes, scaled by a weight; it keeps count of the queries of each episode."""

    name = "crowd"
    transductive = True

    def __init__(self, shown: dict[int, int]) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.shown = shown

    def forward(self, episode: Episode) -> torch.Tensor:
        """Minus squared distances to the class means, of queries centred on their mean."""
        self.shown.update(dict.fromkeys(episode.ids.tolist(), episode.query.shape[1]))
        one_hot = episode.one_hot
        means = one_hot.mT @ episode.support / one_hot.sum(1).unsqueeze(-1).clamp(min=1)
        query = episode.query - 0.1 * episode.query.mean(1, keepdim=True)
        return -self.scale * torch.cdist(query, means).square()

    def __repr__(self) -> str:
        return "crowd()"


def test_episodes_of_unequal_queries_train_without_padding() -> None:
    sizes = torch.tensor([4, 30, 7, 30, 9, 30, 30, 5])
    labels = torch.arange(8).repeat_interleave(sizes)
    source = TensorSource(torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)), labels)
    varied = VariableSampler(labels, query=5, least_way=3, most_way=6)
    shown: dict[int, int] = {}
    learner = Crowd(shown)
    training = meta_train(learner, source, varied, steps=1, batch=12, optimizer="sgd", lr=1e-3, every=1, progress=False)
    drawn = varied.draw(0, 12)
    asked = (drawn.targets >= 0).sum(1)
    assert shown == dict(enumerate(asked.tolist())) and len(asked.unique()) > 3
    losses = []
    for e in range(12):  # the mean over all queries of the batch
        episode, targets = drawn.alone(e).episode(source)
        logits = Crowd({})(episode)
        losses.append(F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item())
    assert training.history[0]["loss"] == pytest.approx(sum(losses) / int(asked.sum()), rel=1e-5)


def test_augmentation_is_seeded_by_the_step() -> None:
    def shake(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return rows + 0.1 * torch.randn(rows.shape, generator=generator)

    runs = [meta_train(SPEC, TRAIN, sampler(TRAIN), steps=3, augment=shake, progress=False).learner for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True))


def test_wrong_use_is_explained() -> None:
    for options, words in (({"optimizer": "lion"}, "adam, adamw, sgd"), ({"steps": 0}, "steps=0"),
                           ({"schedule": "step"}, "constant, cosine"), ({"precision": "int8"}, "bfloat16")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            meta_train(SPEC, TRAIN, sampler(TRAIN), progress=False, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"has no weights to train; put a network in front"):
        meta_train("prototypes", TRAIN, sampler(TRAIN))
    with pytest.raises(FloatingPointError, match="at step 1; lower lr="):
        meta_train(SPEC, TRAIN, sampler(TRAIN), steps=2, lr=1e30, progress=False)


def test_training_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learner = "mlp(item_shape=(64,), widths=(16,)) | prototypes"
    line = ["train", "--data", "digits", "--learner", learner, "--steps", "20", "--every", "10", "--query", "5", "--out",
            str(tmp_path), "--quiet", "--json"]  # fmt: skip
    assert main(line) == 0
    reports = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [report["step"] for report in reports] == [10, 20]
    assert main(line) == 0 and capsys.readouterr().out == ""  # done already
    assert main(["evaluate", "--data", "digits", "--learner", learner, "--weights", str(tmp_path / "last.safetensors"),
                 "--episodes", "30", "--quiet", "--shot", "1"]) == 0  # fmt: skip
    assert "last.safetensors" in capsys.readouterr().out
    plain, further = tmp_path / "plain", tmp_path / "further"
    assert main([*line[:5], "--out", str(plain), "--epochs", "2", "--quiet"]) == 0
    assert main([*line[:-4], "--out", str(further), "--weights", str(plain / "last.safetensors"), "--quiet"]) == 0
    assert json.loads((plain / "log.jsonl").read_text().splitlines()[-1])["step"] == 2 * (1797 // 64)
    assert main([*line, "--validation", "digits"]) == 2
    assert "share classes" in capsys.readouterr().err
