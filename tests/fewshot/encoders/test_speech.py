"""`transformers:FOLDER` of speech models: equal to a plain loop, whatever the batch, and through `embed`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episodes import AudioSource
from fewshot import FewShotClassifier, embed, load_encoder

transformers = pytest.importorskip("transformers", reason="speech models are read by the extra 'text'")
SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8, 8), "conv_kernel": (10, 4), "conv_stride": (5, 4), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
MODELS = {
    "wav2vec2, layer norms": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wav2vec2, group norm": ("Wav2Vec2", {"feat_extract_norm": "group"}),
    "hubert": ("Hubert", {"feat_extract_norm": "layer"}),
    "data2vec": ("Data2VecAudio", {"num_conv_pos_embeddings": 3}),
}
LENGTHS = (900, 1500, 900, 333)


@pytest.fixture(scope="module", params=MODELS, ids=str)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, options = MODELS[request.param]
    place: Path = tmp_path_factory.mktemp("speech")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **options})
    getattr(transformers, f"{name}Model")(config).save_pretrained(place)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=name != "Hubert").save_pretrained(place)
    return place


def recordings() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [(0.1 * generator.standard_normal(length)).astype(np.float32) for length in LENGTHS]


def plain_loop(folder: Path, layer: int | None = None) -> torch.Tensor:
    """Each recording by itself, as transformers documents it."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for wave in recordings():
        given = extractor(wave, sampling_rate=8000, return_tensors="pt")
        with torch.inference_mode():
            found = model(given["input_values"], output_hidden_states=True)
        rows.append((found.last_hidden_state if layer is None else found.hidden_states[layer])[0].mean(0))
    return torch.stack(rows)


def test_it_equals_a_plain_loop_and_padding_has_no_part(folder: Path) -> None:
    encoder = load_encoder(f"transformers:{folder}")
    waves = [torch.from_numpy(wave) for wave in recordings()]
    with torch.inference_mode():
        together = encoder.encode_sounds(waves)
        alone = torch.cat([encoder.encode_sounds([wave]) for wave in waves])
        middle = load_encoder(f"transformers:{folder}(layer=1)").encode_sounds(waves)
    torch.testing.assert_close(together, plain_loop(folder), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(middle, plain_loop(folder, layer=1), atol=1e-5, rtol=1e-5)
    assert (encoder.rate, encoder.dim) == (8000, 16) and not encoder.encodes("images") and encoder.encodes("sounds")


def test_embed_brings_recordings_to_the_model_and_keeps_the_rows(folder: Path, tmp_path: Path) -> None:
    source = AudioSource(recordings(), [0, 1, 0, 1], rate=8000)
    rows = embed(source, f"transformers:{folder}", cache=tmp_path, storage="float32", progress=False)
    torch.testing.assert_close(rows.features, plain_loop(folder), atol=1e-5, rtol=1e-5)
    again = embed(source, f"transformers:{folder}", cache=tmp_path, storage="float32", batch_size=1, progress=False)
    assert (again.report["hits"], again.report["computed"]) == (4, 0)
    other = embed(
        AudioSource(recordings(), [0, 1, 0, 1], rate=16000), f"transformers:{folder}", cache=tmp_path,
        storage="float32", progress=False,
    )  # fmt: skip
    assert other.report["hits"] == 0  # the same numbers, played twice as fast


def test_classifiers_name_recordings_that_are_too_short(folder: Path, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="sound files are read by the extra 'audio'")
    files = []
    for number, wave in enumerate([*recordings(), np.array([0.1, 0.2, 0.1] * 8)]):
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], wave, 8000)
    model = FewShotClassifier(f"transformers:{folder}", learner="nearest", cache=False)  # knows what it was fitted on
    model.fit(files[:4], ["a", "b", "a", "b"])
    assert list(model.predict(files[:2])) == ["a", "b"]
    with pytest.raises(ValueError, match=r"4\.wav.*lasts 0\.003 s, and 'transformers:.*' takes 0\.003125 s at least"):
        model.predict(files)


def test_refusals(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"layer=9; .* hidden states 0\.\.2"):
        load_encoder(f"transformers:{folder}(layer=9)")
    with pytest.raises(ValueError, match="pool is for texts"):
        load_encoder(f"transformers:{folder}(pool='cls')")
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"no speech model that can be read .*preprocessor_config\.json"):
        load_encoder(f"transformers:{tmp_path / 'broken'}")
    with pytest.raises(TypeError, match="does not encode texts; it encodes sounds"):
        load_encoder(f"transformers:{folder}").encode_texts(["a"])
    with pytest.raises(ValueError, match=r"views=2, but .* holds sounds"):
        embed(AudioSource(recordings(), [0, 1, 0, 1], rate=8000), f"transformers:{folder}", views=2, cache=False)


def test_what_the_features_depend_on_is_in_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    known = load_encoder(f"transformers:{folder}").fingerprint
    assert known == load_encoder(f"transformers:{folder}").fingerprint
    assert known != load_encoder(f"transformers:{folder}(layer=1)").fingerprint
    shutil.copytree(folder, tmp_path / "other")
    settings: Any = json.loads((folder / "preprocessor_config.json").read_text())
    for change in ({"sampling_rate": 16000}, {"do_normalize": not settings["do_normalize"]}):
        (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps({**settings, **change}))
        assert known != load_encoder(f"transformers:{tmp_path / 'other'}").fingerprint
