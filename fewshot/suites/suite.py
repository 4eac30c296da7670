"""What a suite holds: datasets, each with its encoders, learners and tasks, and figures that others published."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """One dataset of a suite, and what is evaluated on it.

    Attributes:
        data: spec string, as `episodes.load_dataset` takes it; ``{root}`` in it is the folder of all datasets.
        name: what tables call it.
        learners: spec strings.
        encoders: spec strings; ``""`` takes the rows as they are.
        ways: classes per episode; ``"all"`` of them.
        shots: support rows per class.
        query: query rows per class.
        episodes: per cell.
        seeds: of the sampler.
        sampler: how episodes are drawn, as `fewshot evaluate --sampler` takes it.
        metric: what is measured.
        base: spec of a dataset of other classes, for what is fitted to base data; or empty.
        weights: file of trained weights by learner.
        templates: of prompts, for learners that use class text; empty: the default ones.
        task: what the task is, in words, for the same.
    """

    data: str
    name: str
    learners: tuple[str, ...]
    encoders: tuple[str, ...] = ("",)
    ways: tuple[int | str, ...] = (5,)
    shots: tuple[int, ...] = (1, 5)
    query: int = 15
    episodes: int = 1000
    seeds: tuple[int, ...] = (0,)
    sampler: str = "fixed"
    metric: str = "accuracy"
    base: str = ""
    weights: tuple[tuple[str, str], ...] = ()
    templates: tuple[str, ...] = ()
    task: str = ""


@dataclass(frozen=True)
class Published:
    """A figure that somebody published, to be shown beside those measured.

    Attributes:
        dataset: name of the dataset in the suite.
        method: whose figure it is.
        way: classes per episode.
        shot: support rows per class.
        score: in %.
        half: half of its 95 % interval in points, or None.
        encoder: network it stands on.
        source: where it was published.
    """

    dataset: str
    method: str
    way: int | str
    shot: int
    score: float
    half: float | None = None
    encoder: str = ""
    source: str = ""


@dataclass(frozen=True)
class Suite:
    """A whole suite.

    Attributes:
        name: file name without its ending.
        title: what tables are headed.
        notes: what a reader should know before comparing.
        datasets: in the order of the columns.
        published: figures of others.
    """

    name: str
    title: str
    datasets: tuple[Dataset, ...]
    published: tuple[Published, ...] = ()
    notes: str = ""
