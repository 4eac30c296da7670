"""A pretrained network in front of a learner: the encoder's own features, meta-trained, saved, an encoder again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes import EpisodeSampler, TensorSource, evaluate
from fewshot import FewShotClassifier, embed, load_encoder, load_learner, meta_train
from fewshot.cli import main
from fewshot.encoders import Encoder, ModuleEncoder, Preprocess
from fewshot.meta import load_weights, pretrain, save_weights
from fewshot.transfer.backbone import BackboneFront, front_of
from fewshot.transforms import Pipeline

BUNDLED = "fewshot:conv4-omniglot"
SPEC = "backbone | prototypes(distance='cosine', scale=10.0)"


def pictures(side: int = 16, rows: int = 48, classes: int = 6) -> TensorSource:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    means = torch.rand(classes, 3, side, side, generator=random)
    pixels = 0.5 * means[labels] + 0.5 * torch.rand(rows, 3, side, side, generator=random)
    return TensorSource((pixels * 255).round().to(torch.uint8), labels, kind="images", name="pictures")


def sampler(source: TensorSource) -> EpisodeSampler:
    return EpisodeSampler(source.labels, 3, 2, 3, 0, name="pictures")


def small(size: int = 16, resize: int | None = None) -> ModuleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(width, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()) for width in (3, 4)]
        net = nn.Sequential(*blocks, nn.Flatten())
        with torch.no_grad():
            for block in blocks:
                block[1].running_mean.normal_(0, 0.1)  # type: ignore[union-attr, operator]
        return ModuleEncoder(net, Preprocess(size, resize, (0.5,) * 3, (0.25,) * 3))


def train(learner: Any, out: Path | None = None, **options: Any) -> Any:
    source = pictures()
    options = {"steps": 4, "batch": 2, "lr": 1e-3, "every": 2, "progress": False, **options}
    return meta_train(learner, source, sampler(source), out=out, **options)


@pytest.mark.parametrize(
    ("encoder", "side"),
    [(small(), 16), (small(16, 16), 16), (small(16, 20), 16), (small(), 12), (BUNDLED, 16), ("fewshot:tiny-clip", 64)],
)
def test_features_are_those_of_the_encoder(encoder: Any, side: int) -> None:
    source = pictures(side, 12)
    front = BackboneFront(encoder).eval()
    expected = embed(source, encoder, cache=False, storage="float32", progress=False).features
    rows = source[torch.arange(12)].float()
    rows = rows / 255 if rows.max() > 1 else rows
    torch.testing.assert_close(front(rows.view(2, 6, *rows.shape[1:]), None).flatten(0, 1), expected)
    assert front(rows[:0].unsqueeze(0), None).shape == (1, 0, expected.shape[1])


def test_a_step_by_hand() -> None:
    source, encoder = pictures(), small()
    learner = Pipeline([BackboneFront(encoder)], load_learner("prototypes(distance='cosine', scale=10.0)"))
    train(learner, optimizer="sgd", steps=1, lr=0.1, batch=1)
    net, drawn = copy.deepcopy(encoder.module).eval(), sampler(source).draw(0, 1)  # statistics are frozen
    episode, targets = drawn.episode(source[drawn.rows])

    def features(rows: Tensor) -> Tensor:
        scaled = rows.float() if rows.is_floating_point() else rows.float() / 255
        return F.normalize(net((scaled - 0.5) / 0.25), dim=-1)

    shown, asked = features(episode.support[0]), features(episode.query[0])
    means = torch.stack([shown[episode.labels[0] == n].mean(0) for n in range(3)])
    F.cross_entropy(10 * asked @ F.normalize(means, dim=-1).T, targets[0]).backward()
    for (name, value), (_, ours) in zip(
        net.named_parameters(), front_of(learner).net.network.named_parameters(), strict=True
    ):
        assert value.grad is not None
        torch.testing.assert_close(ours, value - 0.1 * value.grad, msg=name)
    for name, value in encoder.module.named_buffers():
        assert torch.equal(value, front_of(learner).encoder_.module.get_buffer(name))  # type: ignore[union-attr]
    assert torch.equal(small().module.state_dict()["0.0.weight"], encoder.module.state_dict()["0.0.weight"])


@pytest.mark.parametrize(("choice", "moves"), [("frozen", False), ("train", True)])
def test_statistics_move_only_where_asked(choice: str, moves: bool) -> None:
    encoder = small()
    learner = Pipeline([BackboneFront(encoder, choice)], load_learner("ridge"))
    train(learner)
    after = front_of(learner).encoder_.module
    assert after is not None
    assert torch.equal(after.get_buffer("0.1.running_mean"), encoder.module.get_buffer("0.1.running_mean")) != moves


@pytest.mark.parametrize("behind", ["matching", "r2d2", "l2 | logistic", "scaled-prototypes"])
def test_others_stand_behind_it_too(behind: str) -> None:
    before = load_encoder(BUNDLED).module
    assert before is not None
    training = train(f"backbone | {behind}", steps=2)
    after = front_of(training.learner).encoder_.module
    assert after is not None and not torch.equal(after.state_dict()["layers.0.weight"],
                                                 before.state_dict()["layers.0.weight"])  # fmt: skip


def test_saved_resumed_and_an_encoder_again(tmp_path: Path) -> None:
    whole, seen = train(SPEC), []

    def interrupt(report: dict[str, Any]) -> None:
        seen.append(report)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(SPEC, tmp_path, callbacks=[interrupt])
    training = train(SPEC, tmp_path)
    encoder = load_encoder(f"trained:{tmp_path}")
    assert encoder.name == f"trained:{tmp_path}" and encoder.module is not None
    for other in (front_of(whole.learner), front_of(training.learner)):
        assert other.encoder_.module is not None
        for name, value in other.encoder_.module.state_dict().items():
            assert torch.equal(value, encoder.module.state_dict()[name])
    assert encoder.fingerprint == front_of(whole.learner).encoder_.fingerprint
    assert encoder.fingerprint["weights"] != load_encoder(BUNDLED).fingerprint["weights"]
    train(training.learner, tmp_path)  # with the weights that it led to
    with pytest.raises(ValueError, match="another learner"):
        train("backbone(batch_norm='train') | prototypes(distance='cosine', scale=10.0)", tmp_path)
    again = load_weights(load_learner(SPEC), tmp_path / "last.safetensors")
    source = pictures()
    found = evaluate({"a": again, "b": whole.learner}, source, sampler(source), episodes=3, progress=False)
    assert found["a"].mean == found["b"].mean


def test_the_whole_recipe(tmp_path: Path) -> None:
    source = pictures()
    first = pretrain("backbone | prototypes", source, epochs=1, batch=16, lr=1e-4, progress=False)
    save_weights(first.learner, tmp_path / "pretrained.safetensors")
    training = train(load_weights(load_learner(SPEC), tmp_path / "pretrained.safetensors"), tmp_path / "meta")
    names = {"M": training.learner, "F": load_learner(
        f"pmf(encoder='trained:{tmp_path / 'meta'}', steps=2, augment='flip')")}  # fmt: skip
    results = evaluate(names, source, sampler(source), episodes=2, progress=False)
    assert 0 <= results["F"].mean <= 1
    answers = FewShotClassifier(f"trained:{tmp_path / 'meta'}", "prototypes", cache=False)
    images = [source.features[n].permute(1, 2, 0).numpy() for n in range(12)]
    assert answers.fit(images, source.labels[:12].tolist()).predict(images).shape == (12,)


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    source = pictures(28, 30, 3)
    for row in range(30):
        folder = Path("photos") / str(int(source.labels[row]))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.features[row].permute(1, 2, 0).numpy()).save(folder / f"{row}.png")
    data = ["--data", "folder:photos(size=28)", "--way", "3", "--shot", "1", "--query", "2"]
    line = ["train", *data, "--encoder", BUNDLED, "--steps", "2", "--every", "1", "--lr", "1e-4", "--out", "meta"]
    assert main(line) == 0
    tail = ["--learner", "prototypes", "--shot", "1", "--way", "3", "--query", "2", "--episodes", "2"]
    assert main(["evaluate", "--data", "folder:photos", "--encoder", "trained:meta", *tail]) == 0
    capsys.readouterr()
    for given, words in (
        (["--encoder", "pixels", "--out", "other"], "'pixels' has no network"),
        (["--encoder", f"{BUNDLED}(size=3)", "--out", "other"], "size"),
        (["--encoder", BUNDLED, "--lr", "1e-3", "--out", "meta"], "holds a training with another"),
    ):
        assert main(["train", *data, *given]) != 0
        assert words in capsys.readouterr().err


class Words(Encoder):
    """Texts only."""

    name, dim = "words", 3

    def __init__(self) -> None:
        self.module = nn.Linear(3, 3)

    def encode_texts(self, texts: Any) -> Tensor:
        """Nothing."""
        return torch.zeros(len(texts), 3)


def test_what_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for encoder, words in (("pixels", "'pixels' has no network"), (Words(), "'words' encodes no images")):
        with pytest.raises(ValueError, match=words):
            BackboneFront(encoder)
    with pytest.raises(ValueError, match="batch_norm='off'; it must be one of frozen, train"):
        load_learner("backbone(batch_norm='off') | prototypes")
    with pytest.raises(FileNotFoundError, match="there are no weights"):
        load_encoder(f"trained:{tmp_path}")
    save_weights(load_learner("conv4 | prototypes"), tmp_path / "last.safetensors")
    with pytest.raises(ValueError, match=r"holds conv4 \| prototypes, which has no pretrained network in front"):
        load_encoder(f"trained:{tmp_path}")
    with pytest.raises(ValueError, match="has no pretrained network in front"):
        front_of(load_learner("prototypes"))
    rows = torch.rand(1, 2, 3, 8, 8)
    BackboneFront(small(20)).eval()(rows, None)
    assert "rows of 8x8 pixels are enlarged to the 20x20" in caplog.text
    with pytest.raises(ValueError, match="normalised"):
        BackboneFront(small(8))(rows - 2, None)
