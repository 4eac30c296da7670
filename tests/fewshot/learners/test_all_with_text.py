"""All learners with class text: without support, on hard input, and without query labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_episodes import with_text
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from episodes import Episode, EpisodeSampler, TensorSource, VariableSampler, evaluate
from fewshot import load_learner
from fewshot.learners import list_learners

WITH_TEXT = [name for name in list_learners() if "text" in load_learner(name).needs]
DATA = Path(__file__).parents[4] / "shared" / "data" / "clip_vitb32" / "caltech101.npz"


@pytest.mark.parametrize(
    "spec",
    [
        "tip-adapter(",
        "tip-adapter-f(words=0.0, ",
        "zs-lp(words=0.0, steps=9, ",
        "clap(words=0.0, steps=9, ",
        "taskres(words=0.0, steps=9, ",
    ],
)
def test_an_auto_scale_is_the_likeliest_of_the_support(spec: str) -> None:
    episode = with_text([4, 3, 5, 4])
    assert episode.text is not None
    cosine = cosine_similarity(episode.support.unsqueeze(2), episode.text.unsqueeze(1), dim=-1)  # [E, S, N]
    for number in range(len(episode)):
        scales = [100 * 2 ** (-half / 2) for half in range(12)]
        losses = [cross_entropy(scale * cosine[number], episode.labels[number]) for scale in scales]
        scale = scales[int(torch.stack(losses).argmin())]
        one = episode[number : number + 1]
        auto, explicit = (load_learner(f"{spec}scale={value!r})") for value in ("auto", scale))
        torch.testing.assert_close(auto(one), explicit(one), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", WITH_TEXT)
def test_without_support_it_answers_as_the_words_do(name: str) -> None:
    episode = with_text([2, 2, 2, 2])
    empty = episode.replace(support=episode.support[:, :0], labels=episode.labels[:, :0])
    learner, words = load_learner(name), load_learner("zero-shot")(empty)
    answers = learner(empty)
    assert answers.isfinite().all()
    agree = (answers.argmax(-1) == words.argmax(-1)).double().mean()
    # Transductive ones look at the other queries; the ridge also at the other words.
    assert agree > (0.6 if learner.transductive else 0.85 if name == "cross-modal" else 0.999)


@pytest.mark.parametrize("name", WITH_TEXT)
@pytest.mark.parametrize("shots", [[1, 1, 1], [2, 0, 5]], ids=str)
def test_hard_input_gives_no_nan(name: str, shots: list[int]) -> None:
    episode = with_text(shots, dtype=torch.float32)
    learner = load_learner(name)
    for hard in (
        episode.replace(support=-episode.support.abs(), query=-episode.query.abs()),
        episode.replace(support=torch.zeros_like(episode.support)),
        episode.replace(support=episode.support[:, :1].expand_as(episode.support)),
        episode.replace(query=episode.query[:, :1].expand_as(episode.query)),
    ):
        assert not learner(hard).isnan().any()


@pytest.mark.parametrize("name", WITH_TEXT)
def test_an_absent_way_gets_nothing(name: str) -> None:
    episode = with_text([3, 2, 0, 4], dtype=torch.float32)
    assert episode.text is not None
    text = episode.text.clone()
    text[:, 2] = 0
    logits = load_learner(name)(episode.replace(text=text))
    assert logits[..., 2].isneginf().all() and logits[..., [0, 1, 3]].isfinite().all()


def test_evaluate_gives_text_and_hides_absent_ways() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(8, 24, generator=generator)
    rows = centres.repeat_interleave(30, 0) + 0.4 * torch.randn(240, 24, generator=generator)
    source = TensorSource(rows, torch.arange(8).repeat_interleave(30))
    sampler = VariableSampler(source.labels, query=5, least_way=3, most_way=8)
    results = evaluate(["zero-shot", "tip-adapter"], source, sampler, episodes=60, text=centres, progress=False)
    assert results["zero-shot"].mean > 0.97 and results["tip-adapter"].mean > 0.97


@pytest.mark.parametrize("name", [name for name in WITH_TEXT if name not in ("clip-adapter",)])
def test_no_learner_sees_a_query_label(name: str) -> None:
    """An episode holds no answers; what is marked differs, what is answered does not."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(4).repeat_interleave(12)
    rows = torch.randn(4, 16, generator=generator)[labels] + 0.5 * torch.randn(48, 16, generator=generator)
    text = torch.randn(4, 16, generator=generator)
    answers: list[list[Tensor]] = []
    for shuffled in (False, True):

        class Spy(torch.nn.Module):  # fmt: skip
            def forward(self, episode: Episode) -> Tensor:
                fields = {key for key, value in vars(episode).items() if isinstance(value, Tensor)}
                assert fields <= {"support", "labels", "query", "text", "ids"}
                answers[-1].append(load_learner(name)(episode))
                return answers[-1][-1]

        class Shuffler(EpisodeSampler):
            def draw(self, first: int = 0, count: int = 1) -> Any:
                from dataclasses import replace

                drawn = super().draw(first, count)
                return replace(drawn, targets=drawn.targets.flip(1)) if shuffled else drawn  # noqa: B023

        answers.append([])
        source = TensorSource(rows, labels)
        evaluate({"spy": Spy()}, source, Shuffler(labels, 4, 2, 3), episodes=5, text=text, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_bad_numbers_are_refused() -> None:
    for spec, words in (("zero-shot(combine='mean')", "vectors"), ("tip-adapter(beta=0)", "beta=0"), ("clap(lr=0)", "lr=0"),
                        ("cross-modal(solver='svm')", "'ridge' or 'sgd'"), ("zs-lp(wise=2)", "wise=2")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            load_learner(spec)
    with pytest.raises(ValueError, match="same model"):
        load_learner("zero-shot")(with_text([1, 1]).replace(text=torch.zeros(6, 2, 3, dtype=torch.float64)))


@pytest.mark.skipif(not DATA.exists(), reason="needs the real CLIP features beside the checkout")
def test_real_features_give_the_published_order() -> None:
    with np.load(DATA) as file:
        keep = np.flatnonzero(file["text_mask"])
        rows, labels = file["support16_X"].astype(np.float32), file["support16_y"]
        asked, answers = file["test_X"].astype(np.float32), file["test_y"]
        text = torch.from_numpy(file["text_W"][keep].astype(np.float32))[None]
    index = np.concatenate([np.flatnonzero(labels == label)[:4] for label in keep])
    chosen = np.isin(answers, keep)
    targets = torch.from_numpy(np.searchsorted(keep, answers[chosen]))
    episode = Episode(
        torch.from_numpy(rows[index])[None], torch.arange(48).repeat_interleave(4)[None], torch.from_numpy(asked[chosen])[None],
        48, text,
    )  # fmt: skip
    score = {
        spec: float((load_learner(spec)(episode).argmax(-1) == targets).float().mean())
        for spec in ("zero-shot", "tip-adapter", "proker", "prototypes")
    }
    assert abs(score["zero-shot"] - 0.961) < 0.002
    assert score["tip-adapter"] > score["zero-shot"] and score["proker"] > score["zero-shot"] > score["prototypes"]
