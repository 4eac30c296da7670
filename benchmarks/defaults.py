"""Are the learners' default hyper-parameters good on data they were not chosen on, and how are they chosen?

    python benchmarks/defaults.py --data ../shared/data --out defaults.jsonl             # the table, before and after
    python benchmarks/defaults.py --data ../shared/data --out defaults.jsonl --choose    # candidates, one set left out
    python benchmarks/defaults.py --data ../shared/data --out defaults.jsonl --sets SST-2 --episodes 300 --each
    python benchmarks/defaults.py --large                                                # time and memory at 200 ways

Nine feature sets of pictures and sounds (5-way 1 and 5 shots, all classes at 1, 4 and 16 shots), four of texts (1, 5
and 10 shots), and for learners with class words six sets of either kind. Each figure is the difference from
class means behind the same transforms on the same episodes: ``prototypes`` for ``X``, ``l2 | prototypes`` for
``l2 | X`` and for candidates (of learners with words: from the better of that and zero-shot). A candidate's
worth is its mean difference over all settings plus its lowest one, so that gains on one set do not pay for losses on
another; each set in turn is left out of the choice and shows the score of the choice on unseen data. With
``--out`` nothing is computed twice. The lowest of many settings is partly chance: ``--sets``, ``--settings`` and
``--episodes`` measure those in question again, with an interval that tells.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from candidates import BEFORE, CANDIDATES, LEARNERS, WORDED, WORDED_CANDIDATES
from feature_sets import FeatureSet, image_sets, text_sets, worded_sets

from episodes import Episode, EpisodeSampler, Result, compare, evaluate
from fewshot import load_learner

REFERENCE = "l2 | prototypes"
_QUERIES = 300  # of an episode with all classes, at most


class Setting(NamedTuple):
    """One feature set with one number of classes and shots."""

    data: FeatureSet
    name: str
    sampler: EpisodeSampler
    episodes: int


def settings(data: FeatureSet, only: list[str] | None = None, episodes: int | None = None) -> Iterator[Setting]:
    """Five classes and all of them, by shots; some of these, of so many episodes."""
    for setting in _settings(data):
        if only is None or setting.name in only:
            yield setting if episodes is None else setting._replace(episodes=episodes)


def _settings(data: FeatureSet) -> Iterator[Setting]:
    labels, classes = data.source.labels, len(data.source.class_names)
    fewest = int(labels.bincount().min())
    if classes > 5:
        for shot in (1, 5):
            if shot < fewest:
                query = min(15, fewest - shot)
                yield Setting(data, f"5-way {shot}", EpisodeSampler(labels, 5, shot, query, name=data.name), 40)
    for shot in (1, 5, 10) if data.is_text else (1, 4, 16):
        if shot < fewest:
            query = max(1, min(fewest - shot, _QUERIES // classes))
            sampler = EpisodeSampler(labels, classes, shot, query, name=data.name)
            yield Setting(data, f"all {shot}", sampler, int(np.clip(500 // (classes * shot), 2, 20)))


def scores_of(setting: Setting, specs: list[str], out: str | None) -> dict[str, Result]:
    """Results of all specs in one setting."""
    found = evaluate({spec: load_learner(spec) for spec in specs}, setting.data.source, setting.sampler,
                     episodes=setting.episodes, text=setting.data.text, out=out, progress=False)  # fmt: skip
    return {spec: found[spec] for spec in specs}


Differences = dict[str, dict[tuple[str, str], tuple[float, float]]]  # spec -> (set, setting) -> points, half interval


def differences(
    asked: list[Setting], specs: list[str], worded: bool, out: str | None, reference: str = REFERENCE
) -> Differences:
    """Of all specs from the reference, in points."""
    table: Differences = {spec: {} for spec in specs}
    for setting in asked:
        begin = time.perf_counter()
        references = [reference, "zero-shot"] if worded else [reference]
        found = scores_of(setting, list(dict.fromkeys([*references, *specs])), out)
        best = max((found[name] for name in references), key=lambda result: result.mean)
        for spec in specs:
            pair = compare(found[spec], best)
            table[spec][setting.data.name, setting.name] = (100 * pair.difference, 100 * pair.ci95)
        print(f"{setting.data.name}, {setting.name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    return table


def worth(
    by_setting: dict[tuple[str, str], tuple[float, float]], without: str = "", only: str = ""
) -> tuple[float, float]:
    """Mean and lowest difference over the sets that count."""
    values = [d for (name, _), (d, _) in by_setting.items() if name != without and (not only or name == only)]
    return float(np.mean(values)), float(np.min(values))


def choose(families: dict[str, list[str]], table: Differences) -> None:
    """Of each family the best candidate; and its score on each set that it was made without."""
    print("| learner | chosen | mean | lowest | chosen without one set | mean on it | lowest on it |")
    print("|---|---|---|---|---|---|---|")
    for family, candidates in families.items():
        names = sorted({name for name, _ in table[candidates[0]]})
        chosen = max(candidates, key=lambda spec: sum(worth(table[spec])))
        picks = {name: max(candidates, key=lambda spec: sum(worth(table[spec], without=name))) for name in names}
        seen = [worth(table[spec], only=name) for name, spec in picks.items()]
        counts = ", ".join(f"`{spec}` {count}" for spec, count in Counter(picks.values()).most_common())
        mean, lowest = worth(table[chosen])
        left_out = f"{np.mean([m for m, _ in seen]):+.1f} | {min(low for _, low in seen):+.1f}"
        print(f"| {family} | `{chosen}` | {mean:+.1f} | {lowest:+.1f} | {counts} | {left_out} |")
    print()


def show(title: str, rows: dict[str, tuple[str, str]], table: Differences) -> None:
    """Before and after: the mean difference, and the lowest one with its interval and where that is."""
    print(f"| {title} | before: mean | lowest | after: mean | lowest, ± 95 % | where |\n|---|---|---|---|---|---|")
    for name, (before, after) in rows.items():
        mean, lowest = worth(table[after])
        (data, setting), (_, half) = min(table[after].items(), key=lambda item: item[1][0])
        old = "{:+.1f} | {:+.1f}".format(*worth(table[before])) if before != after else " | "
        print(f"| `{name}` | {old} | {mean:+.1f} | {lowest:+.1f} ± {half:.1f} | {data}, {setting} |")
    print()


def show_each(rows: dict[str, tuple[str, str]], table: Differences) -> None:
    """The difference in each setting, with its interval."""
    for name, (_, spec) in rows.items():
        print(f"`{name}`:", ", ".join(f"{data}, {setting} {difference:+.1f} ± {half:.1f}"
                                      for (data, setting), (difference, half) in table[spec].items()))  # fmt: skip
    print()


def chained(front: str, spec: str) -> str:
    """With a transform in front."""
    return f"{front} | {spec}" if front else spec


def large(spec: str) -> None:
    """Time and memory of one learner on 200 classes of 16 examples, on one thread; printed as a row of a table."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(200, 640, generator=random)
    labels = torch.arange(200).repeat_interleave(16)[None]
    asked = torch.arange(200).repeat_interleave(5)
    rows = torch.nn.functional.normalize(centres[labels[0]] + 5 * torch.randn(3200, 640, generator=random), dim=-1)
    query = torch.nn.functional.normalize(centres[asked] + 5 * torch.randn(1000, 640, generator=random), dim=-1)
    words = torch.nn.functional.normalize(centres + torch.randn(200, 640, generator=random), dim=-1)
    learner = load_learner(spec)
    episode = Episode(rows[None], labels, query[None], way=200, text=words[None] if "text" in learner.needs else None)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        with torch.no_grad():
            right = f"{100 * float((learner(episode).argmax(-1)[0] == asked).float().mean()):.1f}"
    except ValueError as error:
        right = f"refused: {error}"
    seconds, after = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"| `{spec}` | {seconds:.1f} | {(after - before) / 2**20:.2f} | {right} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the real data")
    parser.add_argument("--out", help="JSON Lines file to add to and resume from")
    parser.add_argument("--cache", help="embedding cache (default: the user's)")
    parser.add_argument("--choose", action="store_true", help="measure the candidates and choose, one set left out")
    parser.add_argument("--only", nargs="+", default=[], metavar="LEARNER", help="some learners")
    parser.add_argument("--sets", nargs="+", metavar="SET", help="some sets")
    parser.add_argument("--settings", nargs="+", metavar="SETTING", help='some of them, as "5-way 1" or "all 16"')
    parser.add_argument("--episodes", type=int, help="of every setting (default: 40 of 5 ways, 2 to 20 of all classes)")
    parser.add_argument("--each", action="store_true", help="print the difference in each setting, of defaults alone")
    parser.add_argument("--kind", choices=("features", "words"), help="learners without, or with class words")
    parser.add_argument("--front", nargs="+", default=["", "l2"], help="transforms that learners stand behind")
    parser.add_argument("--large", action="store_true", help="time and memory at 200 ways and 16 shots")
    parser.add_argument("--one", metavar="SPEC", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        return large(options.one)
    if options.large:
        print("| learner | s | GB more | right |\n|---|---|---|---|", flush=True)
        timed = [*LEARNERS, "distribution-calibration", "logistic(C='cv')", *WORDED]
        for spec in options.only or timed:  # each in a process of its own
            subprocess.run([sys.executable, __file__, "--one", spec], check=False)
        return None
    if options.data is None:
        parser.error("--data is needed, the folder with the real data")
    for kind, families, names in (("features", CANDIDATES, LEARNERS), ("words", WORDED_CANDIDATES, WORDED)):
        if options.kind not in (None, kind):
            continue
        worded = kind == "words"
        texts = list(text_sets(options.data, options.cache))
        sets = [*worded_sets(options.data), *texts] if worded else [*texts, *image_sets(options.data, options.cache)]
        sets = [data for data in sets if options.sets is None or data.name in options.sets]
        asked = [setting for data in sets for setting in settings(data, options.settings, options.episodes)]
        if options.choose:
            families = {name: specs for name, specs in families.items() if not options.only or name in options.only}
            choose(families, differences(asked, [s for specs in families.values() for s in specs], worded, options.out))
            continue
        names = (
            [name for name in options.only if ("text" in load_learner(name).needs) == worded] if options.only else names
        )
        if not names:
            continue
        for front in ("",) if worded else options.front:
            old = {} if options.each else BEFORE
            rows = {chained(front, name): (chained(front, old.get(name, name)), chained(front, name)) for name in names}
            specs = list(dict.fromkeys(spec for pair in rows.values() for spec in pair))
            reference = REFERENCE if worded else chained(front, "prototypes")
            table = differences(asked, specs, worded, options.out, reference)
            if options.each:
                show_each(rows, table)
            show("learner, with words" if worded else "learner", rows, table)
    return None


if __name__ == "__main__":
    main()
