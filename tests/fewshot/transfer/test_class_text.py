"""CoOp and CLIP-LoRA: against plain loops on open_clip's own model, on cached features, kept, read back, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from episodes import EpisodeSampler, TensorSource, TextSource, evaluate, load_dataset
from fewshot import FewShotClassifier, embed, fine_tune, load_encoder, load_learner, load_tuned
from fewshot.encoders.bundled import FOLDER
from fewshot.transfer.copying import copied
from fewshot.transfer.lora import add_lora

PLAIN: dict[str, Any] = {
    "optimizer": "sgd", "schedule": "constant", "warm_up": 0.0, "weight_decay": 0.0, "progress": False, "cache": False,
}  # fmt: skip
TINY = FOLDER / "tiny-clip"


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_encoder("fewshot:tiny-clip")


@pytest.fixture(scope="module")
def scenes() -> TensorSource:
    """The colour of the ground, which 'a photo of a red' does not mean to the model."""
    return load_dataset("scenes:background", count=200, seed=3)


@pytest.fixture(scope="module")
def few(scenes: TensorSource) -> TensorSource:
    return scenes.select(torch.arange(36))


def theirs() -> tuple[Any, Any]:
    """open_clip's own model and tokenizer of the bundled folder."""
    model = open_clip.create_model(f"local-dir:{TINY}").eval()
    return model, open_clip.get_tokenizer(f"local-dir:{TINY}", bpe_path=str(TINY / "merges.txt.gz"))


def pixels(tiny: Any, source: TensorSource) -> Tensor:
    from fewshot.transfer.inputs import Inputs

    taken: Tensor = Inputs(source, tiny).take(torch.arange(len(source)), torch.device("cpu"))
    return taken


# Word vectors in a text


def test_words_in_front_are_the_words_themselves(tiny: Any) -> None:
    with torch.no_grad():
        behind = tiny.encode_after(tiny.word_vectors("a photo of a"), ["red.", "dark blue."])
        plain = tiny.encode_texts(["a photo of a red.", "a photo of a dark blue."])
    torch.testing.assert_close(behind, plain, atol=1e-5, rtol=1e-5)
    assert tiny.word_vectors("a photo of a").shape == (4, 128)
    with pytest.raises(ValueError, match=r"has 2 tokens, and behind a context of 22 .* reads 0"):
        tiny.encode_after(torch.zeros(22, 128), ["red."])


# CoOp


def test_prompt_equals_a_plain_loop(tiny: Any, few: TensorSource) -> None:
    model, tokenizer = theirs()
    names, labels = few.class_names, few.labels
    with torch.no_grad():
        images = F.normalize(model.encode_image(pixels(tiny, few)), dim=1)
    tokens = tokenizer([f"{name}." for name in names])
    context = 0.02 * torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    context.requires_grad_()
    updates = torch.optim.SGD([context], lr=2e-3, momentum=0.9)
    scale = float(model.logit_scale.detach().exp())

    def words() -> Tensor:
        rows = []
        for line in tokens:  # one class at a time, all positions
            end = int(line.argmax())
            looked_up = model.token_embedding(line[: end + 1])
            x = torch.cat([looked_up[:1], context, looked_up[1:]])
            x = torch.cat([x, torch.zeros(model.context_length - len(x), 128)]) + model.positional_embedding
            x = model.ln_final(model.transformer(x[None], attn_mask=model.attn_mask))[0]
            rows.append(x[end + 4] @ model.text_projection)
        return F.normalize(torch.stack(rows), dim=1)

    losses = []
    for _ in range(3):
        loss = F.cross_entropy(scale * images @ words().T, labels)
        losses.append(float(loss.detach()))
        updates.zero_grad()
        loss.backward()
        updates.step()
    tuned = fine_tune(tiny, few, "prompt(4)", epochs=3, batch_size=36, **PLAIN)
    assert [report["loss"] for report in tuned.history[0]] == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(tuned.head.weight, scale * words().detach(), atol=2e-3, rtol=2e-3)
    with torch.no_grad():
        torch.testing.assert_close(tuned.logits(few, cache=False), scale * images @ words().T, atol=1e-2, rtol=1e-2)
    assert tuned.changed == [] and not tuned.head.bias.any() and tuned.head.unit


def test_prompt_learns_what_the_words_mean_and_is_kept(
    tiny: Any, scenes: TensorSource, few: TensorSource, tmp_path: Path
) -> None:
    rest = scenes.select(torch.arange(100, 200))
    tuned = fine_tune(tiny, few, "prompt(16)", epochs=20, progress=False, cache=tmp_path / "cache")
    logits = tuned.logits(rest, cache=False, batch_size=8)
    right = float((logits.argmax(1) == rest.labels).double().mean())
    assert right > 0.9
    again = load_tuned(tuned.save(tmp_path / "tuned"), tiny)
    assert again.head.unit and torch.equal(again.logits(rest, cache=False, batch_size=8), logits)
    # The class vectors are class text to any learner that takes it.
    source = embed(rest, tuned, cache=False, progress=False, storage="float32")
    sampler = EpisodeSampler(source.labels, way=5, shot=0, query=3)
    scores = evaluate(["zero-shot"], source, sampler, episodes=10, text=again.head.weight.detach(), progress=False)
    assert scores["zero-shot"].mean >= right - 0.05
    assert len(FewShotClassifier(tuned, "prototypes", cache=False).fit(list(few.features[:8].permute(0, 2, 3, 1).numpy()),
               few.labels[:8].tolist()).classes_) > 1  # fmt: skip


def test_images_are_computed_once(
    tiny: Any, few: TensorSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, seen = copied(tiny), []
    run = type(encoder).encode_images

    def counted(self: Any, batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return run(self, batch)

    monkeypatch.setattr(type(encoder), "encode_images", counted)
    for strategy in ("prompt(2)", "prompt(init='a photo of a')"):
        fine_tune(encoder, few, strategy, epochs=3, progress=False, cache=tmp_path)
    rows_once = sum(seen)
    assert len(few) <= rows_once <= 2 * len(few)  # the cache may try some rows twice to find a batch size
    fine_tune(encoder, few.select(torch.arange(35)), "prompt(2)", epochs=3, progress=False, cache=tmp_path)
    assert sum(seen) - rows_once < 10  # known rows by which the cache checks the encoder


def test_augmented_images_go_through_the_frozen_tower(tiny: Any, few: TensorSource) -> None:
    tuned = fine_tune(tiny, few, "prompt(4)", epochs=2, augment="flip", progress=False, cache=False)
    assert tuned.changed == [] and len(tuned.history[0]) == 2


def test_a_killed_prompt_goes_on(tiny: Any, few: TensorSource, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(report: dict[str, Any]) -> None:
        if report["step"] >= 4:
            raise Stop

    for strategy in ("prompt(4)", "clip-lora(1)"):
        options = {"epochs": 3, "batch_size": 18, "progress": False, "cache": False}
        with pytest.raises(Stop):
            fine_tune(tiny, few, strategy, out=tmp_path, callbacks=[stop], **options)
        resumed = fine_tune(tiny, few, strategy, out=tmp_path, **options)
        whole = fine_tune(tiny, few, strategy, **options)
        assert torch.equal(resumed.head.weight, whole.head.weight) and resumed.changed == whole.changed
        state = whole.module.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in resumed.module.state_dict().items())


# CLIP-LoRA


def test_clip_lora_equals_a_plain_loop(tiny: Any, few: TensorSource) -> None:
    model, tokenizer = theirs()
    labels, given = few.labels, pixels(tiny, few)
    tokens = tokenizer([f"a photo of a {name}." for name in few.class_names])
    scale = float(model.logit_scale.detach().exp())
    state = {name: value.detach() for name, value in model.state_dict().items()}
    # The random beginning is the library's; all else is written out.
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for prefix, kind, ends in (("visual.", "images", ["q_proj", "k_proj", "v_proj"]), ("", "texts", ["attn"])):
        tower = copied(tiny).tower(kind)
        add_lora(tower, 2, 4.0, ends, 0)
        for name, value in tower.named_parameters():
            if name.endswith(".A"):
                path, _, rest = name.partition(".parametrizations.")
                own = f"{prefix}{path}.{rest.partition('.')[0]}"
                a = value.detach().clone().requires_grad_()
                factors[own] = a, torch.zeros(len(state[own]), 2, requires_grad=True)
    assert len(factors) == 5

    def weights() -> dict[str, Tensor]:
        return {**state, **{name: state[name] + 4.0 / 2 * b @ a for name, (a, b) in factors.items()}}

    def both() -> tuple[Tensor, Tensor]:
        images, texts, _ = torch.func.functional_call(model, weights(), (given, tokens))
        return images, texts

    updates = torch.optim.SGD([value for pair in factors.values() for value in pair], lr=0.01, momentum=0.9)
    losses = []
    for _ in range(3):
        images, texts = both()  # of length one
        loss = F.cross_entropy(scale * images @ texts.T, labels)
        losses.append(float(loss.detach()))
        updates.zero_grad()
        loss.backward()
        updates.step()
    tuned = fine_tune(tiny, few, "clip-lora(2, lr=0.01)", epochs=3, batch_size=36, prefix=False, **PLAIN)
    assert [report["loss"] for report in tuned.history[0]] == pytest.approx(losses, rel=1e-3)
    for name, value in weights().items():
        if value.is_floating_point():
            torch.testing.assert_close(tuned.module.state_dict()[name], value, atol=1e-4, rtol=1e-3)
    assert sorted(tuned.changed) == sorted(factors) and losses[-1] < losses[0]
    # The head is the text of the tuned tower.
    with torch.no_grad():
        texts = F.normalize(tuned.encode_texts([f"a photo of a {name}." for name in few.class_names]), dim=1)
    torch.testing.assert_close(tuned.head.weight, scale * texts, atol=1e-3, rtol=1e-3)
    line = tuned.plan.phases[0].lines[-1]
    assert (line.name, line.trained) == ("text tower", 2 * 2 * (128 + 3 * 128))


def test_clip_lora_reads_back_and_leaves_the_encoder_alone(tiny: Any, few: TensorSource, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in tiny.module.state_dict().items()}
    learned = [value.requires_grad for value in tiny.module.parameters()]
    tuned = fine_tune(tiny, few, "clip-lora(2, targets=['attn', 'q_proj'])", epochs=3, progress=False, cache=False)
    assert all(torch.equal(value, before[name]) for name, value in tiny.module.state_dict().items())
    assert [value.requires_grad for value in tuned.module.parameters()] == learned
    assert list(tuned.module.state_dict()) == list(before)
    assert {name.rpartition(".")[2] for name in tuned.changed} == {"in_proj_weight", "weight"}
    again = load_tuned(tuned.save(tmp_path), tiny)
    assert torch.equal(again.logits(few, cache=False, batch_size=8), tuned.logits(few, cache=False, batch_size=8))


# What is refused


@pytest.mark.parametrize("strategy", ["prompt(4)", "clip-lora"])
def test_what_has_no_words_is_refused(strategy: str, tiny: Any, few: TensorSource) -> None:
    unnamed = TensorSource(few.features, few.labels, kind="images")
    with pytest.raises(ValueError, match=r"classes are called \['0', '1', '2'\]; name them by class_names="):
        fine_tune(tiny, unnamed, strategy, progress=False, cache=False)
    with pytest.raises(ValueError, match="no tower of open_clip"):
        fine_tune("fewshot:conv4-omniglot", few, strategy, progress=False, cache=False)
    for options in ({"wise": 0.5}, {"l2_sp": 0.1}, {"mixup": 0.2}):
        with pytest.raises(ValueError, match=f"there is no {next(iter(options))}"):
            fine_tune(tiny, few, strategy, progress=False, cache=False, **options)
    episode = EpisodeSampler(few.labels, way=3, shot=1, query=1).draw(0, 1).episode(few)[0]
    with pytest.raises(ValueError, match="name them by class_names="):
        load_learner(f"tuned(encoder='fewshot:tiny-clip', strategy='{strategy}')")(episode)


def test_other_misuse(tiny: Any, few: TensorSource) -> None:
    with pytest.raises(ValueError, match=r"neither tower .* ends in 'nothing'"):
        fine_tune(tiny, few, "clip-lora(targets=['attn', 'nothing'])", progress=False, cache=False)
    texts = TextSource(["a red heart", "a blue heart"], [0, 1], ["red", "blue"])
    with pytest.raises(ValueError, match="these rows are texts"):
        fine_tune(tiny, texts, "clip-lora", progress=False, cache=False)
    pictures = list(few.features[:8].permute(0, 2, 3, 1).numpy())
    with pytest.raises(ValueError, match="leaves features as they are"):
        FewShotClassifier(tiny, strategy="prompt(4)", cache=False).fit(pictures, few.labels[:8].tolist())
    with pytest.raises(ValueError, match=r"no .label."):
        fine_tune(tiny, few, "clip-lora(template='a photo')", progress=False, cache=False)
