"""CoOp and CLIP-LoRA against learners on frozen features, with the bundled model on its drawn scenes.

    python benchmarks/clip_prompts.py --out clip_prompts.jsonl

All classes at once, K examples a class drawn anew for each draw, the same rows answered in all. The class words of the
learners are "a photo of a ...". Draws that the file has are not computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from episodes import Episode, load_dataset
from episodes.statistics import mean_interval
from fewshot import Prompts, embed, fine_tune, load_encoder, load_learner

SPACES, SHOTS = ("background", "shape"), (1, 4, 16)
LEARNERS = ("zero-shot", "tip-adapter", "lp++")
STRATEGIES = ("prompt(16)", "prompt(init='a photo of a')", "clip-lora(2)", "clip-lora(8, lr=5e-3)")


def draw(space: str, shot: int, seed: int, encoder: object, cache: object, methods: list[str]) -> dict[str, float]:
    """Accuracy of each method: a learner's of that name, else a strategy's."""
    scenes = load_dataset(f"scenes:{space}", count=1200, seed=3)
    pool, test = torch.arange(700), scenes.select(torch.arange(700, 1200))
    order = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    labels = scenes.labels[order]
    chosen = torch.cat([order[labels == c][:shot] for c in range(len(scenes.class_names))])
    train = scenes.select(chosen)
    text = Prompts(scenes.class_names, "photo").encode(encoder, cache=cache)
    support, query = (embed(part, encoder, cache=cache, storage="float32", progress=False).features.float()
                      for part in (train, test))  # fmt: skip
    episode = Episode(support[None], train.labels[None], query[None], way=len(text), text=text[None])
    found = {}
    for name in methods:
        if name in LEARNERS:
            with torch.no_grad():
                answers = load_learner(name)(episode)[0].argmax(1)
        else:
            tuned = fine_tune(encoder, train, name, seed=seed, cache=cache, progress=False)
            answers = tuned.logits(test, cache=cache).argmax(1)
        found[name] = float((answers == test.labels).double().mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file, from which it resumes")
    parser.add_argument("--methods", nargs="+", default=[*LEARNERS, *STRATEGIES], choices=[*LEARNERS, *STRATEGIES])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.is_file() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["space"], row["shot"], row["draw"]) for row in rows}
    encoder = load_encoder("fewshot:tiny-clip")
    for seed in range(options.draws):
        for space in SPACES:
            for shot in SHOTS:
                if (space, shot, seed) in done:
                    continue
                found = draw(space, shot, seed, encoder, options.out.with_suffix(".cache"), options.methods)
                rows.append({"space": space, "shot": shot, "draw": seed, **found})
                with options.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    for space in SPACES:
        for name in options.methods:
            cells = []
            for shot in SHOTS:
                values = 100 * np.array([r[name] for r in rows if (r["space"], r["shot"]) == (space, shot)])
                cells.append(f"{values.mean():.1f} ± {mean_interval(values):.1f}")
            print(f"| {space} | `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
