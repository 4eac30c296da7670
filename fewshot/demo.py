"""``make demo``: few-shot on real digits, then zero-shot from prompts with and without a task description; offline."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

LEARNERS = ["prototypes", "nearest", "ridge", "logistic"]
SHOTS = [1, 2, 5, 10]
TASKS = ["the shape of the object", "the color of the object", "the color of the background"]


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, compare, draw accuracy against shots, then classify scenes by words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=5000, help="episodes per cell (default 5000)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the pictures (default demo/)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    few_shot(options.episodes, options.out)
    zero_shot(options.out)
    print(f"\nall of it in {time.perf_counter() - begin:.1f} s; pictures are in {options.out}/")
    return 0


def few_shot(episodes: int, out: Path) -> None:
    """Learners on raw digits by shots; then an encoder that was trained on other symbols."""
    from episodes import EpisodeSampler, Results, compare_all, evaluate, load_dataset
    from episodes.report import plot_shots
    from fewshot import embed

    source = load_dataset("digits")
    print(f"{source.name}: {len(source):,} real handwritten digits in {len(source.class_names)} classes\n")
    results = Results()
    for shot in SHOTS:
        sampler = EpisodeSampler(source.labels, way=5, shot=shot, query=15, seed=0, name=source.name)
        results += evaluate(LEARNERS, source, sampler, episodes=episodes)
    print(results)
    for shot in (1, 5):
        print(f"\n5-way {shot}-shot, paired over the same episodes:")
        for comparison in compare_all(results.select(shot=shot)):
            print(f"  {comparison}")
    for name in ("accuracy.svg", "accuracy.png"):
        plot_shots(results, out / name)

    print("\nthe same digits through fewshot:conv4-omniglot, which has seen no digit, 5-way 1-shot:")
    encoded = embed("digits:images", "fewshot:conv4-omniglot", cache=False)
    sampler = EpisodeSampler(source.labels, way=5, shot=1, query=15, seed=0)
    trained = evaluate("prototypes", encoded, sampler, episodes=episodes)["prototypes"]
    raw = evaluate("prototypes", source, sampler, episodes=episodes)["prototypes"]
    difference = trained.scores - raw.scores
    print(f"  conv4-omniglot {trained}\n  raw pixels     {raw}")
    print(f"  {100 * difference.mean():+.2f} on the same episodes, better in {(difference > 0).mean():.0%} of them")


def zero_shot(out: Path) -> None:
    """Scenes by prompts, without a single example; the task description defines what the class names refer to."""
    import numpy as np

    from episodes import load_dataset
    from fewshot import ZeroShotClassifier

    print("\nzero-shot with fewshot:tiny-clip on drawn scenes, accuracy in % without and with a task description:")
    spaces = dict(zip(("shape", "colour", "background"), TASKS, strict=True))
    rows = []
    pictures: Any = None
    for space, task in spaces.items():
        source: Any = load_dataset(f"scenes:{space}", count=400, seed=7)
        pictures = source.features.permute(0, 2, 3, 1).numpy()
        truth = np.array(source.class_names)[source.labels]
        found = {}
        for description in (None, task):
            classifier = ZeroShotClassifier("fewshot:tiny-clip", description, cache=False).fit(None, source.class_names)
            found[description] = classifier.predict(list(pictures))
        scores = [100 * float((found[key] == truth).mean()) for key in (None, task)]
        print(f"  {space:10}  {scores[0]:5.1f}  {scores[1]:5.1f}   task: {task!r}")
        rows.append((task, found[task], truth))
    print("\n" + str(classifier.explain(list(pictures[:1]), sentences=3)[0]))
    _grid(pictures, rows, out / "zero_shot.png")


def _grid(pictures: Any, rows: list[tuple[str, Any, Any]], path: Path, columns: int = 8) -> None:
    """Pictures with the predictions for each task beneath; wrong ones in red."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * columns, 2.2))
    axes = figure.subplots(1, columns)
    for number, axis in enumerate(axes):
        axis.imshow(pictures[number])
        axis.set_xticks([])
        axis.set_yticks([])
        for line, (_, found, truth) in enumerate(rows):
            right = found[number] == truth[number]
            colour = "black" if right else "tab:red"
            axis.text(
                0.5, -0.08 - 0.14 * line, found[number], transform=axis.transAxes, ha="center", va="top", c=colour
            )
    figure.suptitle("zero-shot: " + "; ".join(task for task, _, _ in rows), fontsize=10)
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    raise SystemExit(main())
