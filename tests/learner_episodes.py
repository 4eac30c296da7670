"""Episodes that tests of learners share, and what a slow reference answers on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from episodes import Episode

EPISODES, DIM = 6, 12


def make(
    shots: list[int],
    *,
    dim: int = DIM,
    dtype: torch.dtype = torch.float64,
    spread: float = 0.7,
    seed: int = 0,
    episodes: int = EPISODES,
    query: int = 5,
) -> tuple[Episode, Tensor]:
    """Episodes with the given shots (0 is an absent class), support rows in random order."""
    random = torch.Generator().manual_seed(seed)
    way = len(shots)
    means = spread * torch.randn(episodes, way, dim, generator=random, dtype=torch.float64)
    labels = torch.arange(way).repeat_interleave(torch.tensor(shots)).expand(episodes, -1)
    order = torch.rand(labels.shape, generator=random).argsort(1)
    labels = labels.gather(1, order)
    noise = torch.randn(episodes, sum(shots), dim, generator=random, dtype=torch.float64)
    support = means.gather(1, labels.unsqueeze(-1).expand(-1, -1, dim)) + noise
    targets = torch.arange(way).repeat_interleave(query).expand(episodes, -1)
    asked = means.repeat_interleave(query, 1)
    asked = asked + torch.randn(asked.shape, generator=random, dtype=torch.float64)
    ids = torch.arange(episodes)
    return Episode(support.to(dtype), labels, asked.to(dtype), way=way, ids=ids), targets


def padded(episode: Episode, rows: int = 3) -> Episode:
    """The same episodes with padding rows of garbage, in front and at the end."""
    garbage = 1e3 * torch.randn(len(episode), 2 * rows, episode.support.shape[2], dtype=torch.float64)
    garbage = garbage.to(episode.support.dtype)
    none = torch.full((len(episode), rows), -1)
    return episode.replace(
        support=torch.cat([garbage[:, :rows], episode.support, garbage[:, rows:]], 1),
        labels=torch.cat([none, episode.labels, none], 1),
    )


def expect(reference: Callable[..., Any], episode: Episode) -> Tensor:
    """The reference's logits of each episode."""
    return torch.stack(
        [
            torch.from_numpy(
                reference(
                    episode.support[e].double().numpy(),
                    episode.labels[e].numpy(),
                    episode.query[e].double().numpy(),
                    episode.way,
                )
            )
            for e in range(len(episode))
        ]
    )


def up_to_a_constant(logits: Tensor) -> Tensor:
    """Logits with mean zero over the classes that are possible, which is what a softmax sees."""
    finite = logits.isfinite()
    mean = logits.where(finite, 0).sum(-1, keepdim=True) / finite.sum(-1, keepdim=True)
    return logits - mean


def with_text(shots: list[int], *, dtype: torch.dtype = torch.float64, query: int = 5) -> Episode:
    """Episodes with text near the class means."""
    episode, _ = make(shots, dim=16, dtype=dtype, query=query)
    generator = torch.Generator().manual_seed(5)
    centres = episode.query.view(len(episode), len(shots), query, 16).mean(2)
    text = centres + 0.5 * torch.randn(centres.shape, generator=generator, dtype=dtype)
    return episode.replace(text=text)


def expected(reference: Callable[..., Any], episode: Episode) -> Tensor:
    """The logits of a reference that reads text, of each episode; padding rows are left out."""
    assert episode.text is not None
    found = []
    for e in range(len(episode)):
        known = episode.labels[e] >= 0
        arrays = (episode.support[e, known], episode.labels[e, known], episode.query[e], episode.text[e])
        found.append(torch.from_numpy(reference(*(array.numpy() for array in arrays))))
    return torch.stack(found)
