"""`choose_device` and `processors`: one rule, whatever the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from episodes import device
from episodes.device import choose_device, processors, quota


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without accelerators, whatever this one has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("machine")
def test_auto_without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto", held=torch.device("cuda:1")) == torch.device("cuda:1")
    assert choose_device("cpu", held=torch.device("cuda:1")) == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto", float64=False) == choose_device("mps") == torch.device("mps")
    assert choose_device("auto") == torch.device("cpu"), "MPS has no float64"


def test_auto_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == choose_device(float64=False) == torch.device("cuda:1")
    assert choose_device("auto", held=torch.device("cpu")) == torch.device("cuda:1")
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device(torch.device("cuda:0")) == torch.device("cuda:0")
    with pytest.raises(ValueError, match=r"device='cuda:2', but torch finds 2 CUDA devices"):
        choose_device("cuda:2")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gpu", r"device='gpu'; it must be 'auto', 'cpu', 'cuda', .*did you mean 'cuda'\?"),
        ("GPU:0", "did you mean 'cuda'"),
        ("tpu9", "device='tpu9'; it must be"),
        (None, "device=None; it must be"),
        ("cuda", "device='cuda', but torch finds no CUDA devices"),
        (torch.device("mps"), "device='mps', but torch finds no Apple GPU"),
    ],
)
def test_devices_that_are_not_there(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_device(given)  # type: ignore[arg-type]


@pytest.mark.usefixtures("machine")
def test_every_entry_point_refuses_alike() -> None:
    from episodes import EpisodeSampler, TensorSource, evaluate
    from fewshot import FewShotClassifier, embed, meta_train

    source = TensorSource(torch.eye(8), [0, 1] * 4)
    pictures = TensorSource(torch.rand(8, 3, 16, 16), [0, 1] * 4)
    sampler = EpisodeSampler(source.labels, way=2, shot=1, query=1)
    calls = (
        lambda: evaluate(["prototypes"], source, sampler, episodes=1, device="gpu"),
        lambda: embed(source, "pixels", cache=False, device="gpu"),
        lambda: FewShotClassifier(device="gpu").fit([[0.0], [1.0]], [0, 1]),
        lambda: meta_train("conv4 | prototypes", pictures, sampler, steps=1, device="gpu"),
    )
    for call in calls:
        with pytest.raises(ValueError, match="did you mean 'cuda'"):
            call()


def groups(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_max", ".max").replace("_cfs", ".cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_quota_of_a_control_group(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "mounted"
    assert quota(membership, root) is None, "no Linux"
    membership.write_text("0::/jobs/mine\n")
    groups(root, jobs__mine__cpu_max="max 100000")
    assert quota(membership, root) is None
    groups(root, jobs__mine__cpu_max="150000 100000")
    assert quota(membership, root) == 1.5
    groups(root, jobs__cpu_max="50000 100000")
    assert quota(membership, root) == 0.5, "a group above allows less"
    membership.write_text("0::/a/path/of/the/host\n")
    groups(root, cpu_max="200000 100000")
    assert quota(membership, root) == 2.0, "in a container the group is mounted at the top"
    groups(root, cpu_max="rubbish")
    assert quota(membership, root) is None


def test_quota_of_version_1(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "mounted"
    membership.write_text("4:memory:/x\n1:cpu,cpuacct:/x\n")
    groups(root, cpu__x__cpu_cfs_quota_us="-1", cpu__x__cpu_cfs_period_us="100000")
    assert quota(membership, root) is None
    groups(root, cpu__x__cpu_cfs_quota_us="300000")
    assert quota(membership, root) == 3.0


@pytest.mark.parametrize(("allowed", "expected"), [(None, 4), (8.0, 4), (1.5, 2), (0.1, 1)])
def test_processors(monkeypatch: pytest.MonkeyPatch, allowed: float | None, expected: int) -> None:
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(device, "_own_quota", lambda: allowed)
    assert processors() == expected
