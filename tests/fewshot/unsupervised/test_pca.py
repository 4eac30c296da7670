"""Principal components against scikit-learn, and as an encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from episodes import TensorSource, TextSource
from fewshot import FewShotClassifier, embed, fine_tune, fit_pca, load_encoder
from fewshot.encoders import ModuleEncoder
from fewshot.encoders.tfidf import TfidfEncoder
from fewshot.unsupervised.pca import load_pca, principal_components

ROWS = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 9.0)) + 5


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("shape", [(30, 8), (6, 20)])
def test_components_equal_scikit_learn(whiten: bool, shape: tuple[int, int]) -> None:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mean, components, share = principal_components(rows, 4, whiten)
    peer = PCA(4, svd_solver="full", whiten=whiten).fit(rows.numpy())
    ours, theirs = ((rows - mean) @ components.T).numpy(), peer.transform(rows.numpy())
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-9)
    np.testing.assert_allclose(share, peer.explained_variance_ratio_, rtol=1e-9)
    again = principal_components(rows.flip(0), 4, whiten)[1]
    torch.testing.assert_close(again, components)  # signs do not depend on the order of rows


def test_it_is_an_encoder_with_an_identity_of_its_own_and_labels_do_not_matter(tmp_path: Path) -> None:
    source = TensorSource(ROWS.view(30, 1, 2, 4), torch.arange(30) % 3)
    found = fit_pca("pixels", source, 3, cache=False, progress=False)
    unlabelled = fit_pca("pixels", source.features, 3, cache=False, progress=False)
    assert found.fingerprint == unlabelled.fingerprint != load_encoder("pixels").fingerprint
    assert fit_pca("pixels", source, 2, cache=False, progress=False).fingerprint != found.fingerprint
    features = embed(source, found, cache=False, progress=False, storage="float32").features.numpy()
    expected = PCA(3, svd_solver="full").fit_transform(ROWS.double().numpy())
    np.testing.assert_allclose(np.abs(features), np.abs(expected), atol=1e-4)
    found.save(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "moved")
    for again in (load_encoder(tmp_path / "moved"), load_encoder(f"pca:{tmp_path / 'moved'}")):
        assert again.fingerprint == found.fingerprint and again.setting == "self-taught"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no tower"):
        fine_tune(fit_pca(ModuleEncoder(torch.nn.Flatten()), source, 2, cache=False, progress=False), source, "full")


def test_a_saved_classifier_does_not_read_whatever_lies_at_the_same_place_elsewhere(tmp_path: Path) -> None:
    source = TensorSource(torch.arange(192, dtype=torch.uint8).view(12, 1, 4, 4), torch.arange(12) % 2)
    place = fit_pca("pixels(size=4)", source, 3, cache=False, progress=False).save(tmp_path / "pca")
    pictures = [row.expand(3, 4, 4).permute(1, 2, 0).contiguous().numpy() for row in source.features]
    for spec in (str(place), f"pca:{place}"):
        fitted = FewShotClassifier(encoder=spec).fit(pictures, source.labels.tolist())
        fitted.save(tmp_path / "model")
        with pytest.raises(ValueError, match="files of a machine"):
            FewShotClassifier.load(tmp_path / "model")
        again = FewShotClassifier.load(tmp_path / "model", encoder=spec)
        assert again.predict(pictures).tolist() == fitted.predict(pictures).tolist()


def test_texts_have_components_too() -> None:
    texts = [f"word{a} word{b}" for a in range(4) for b in range(4)]
    found = fit_pca(TfidfEncoder(texts), TextSource(texts, [0] * 16), 3, cache=False, progress=False)
    assert embed(texts, found, cache=False, progress=False).features.shape == (16, 3)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    source = TensorSource(ROWS, torch.arange(30) % 3)
    with pytest.raises(ValueError, match="at most 8 components"):
        fit_pca("pixels", source, 9, cache=False, progress=False)
    with pytest.raises(ValueError, match="at most 3"):
        fit_pca("pixels", source.select(torch.arange(4)), 4, cache=False, progress=False)
    with pytest.raises(FileNotFoundError, match=r"PCAEncoder\.save"):
        load_pca(str(tmp_path))
    own = fit_pca(ModuleEncoder(torch.nn.Flatten()), source, 2, cache=False, progress=False)
    own.save(tmp_path)
    with pytest.raises(ValueError, match="give encoder="):
        load_pca(str(tmp_path))
    with pytest.raises(ValueError, match="other weights"):
        load_pca(str(tmp_path), "pixels")
    assert load_pca(str(tmp_path), ModuleEncoder(torch.nn.Flatten())).fingerprint == own.fingerprint
    notes = json.loads((tmp_path / "pca.json").read_text())
    (tmp_path / "pca.json").write_text(json.dumps({**notes, "map": "another"}))
    with pytest.raises(ValueError, match="do not belong together"):
        load_pca(str(tmp_path), ModuleEncoder(torch.nn.Flatten()))
