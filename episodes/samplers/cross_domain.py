"""`CrossDomainSampler`: support from one domain, queries from another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.counter import shot_stream, uniforms
from episodes.draw import Draw
from episodes.identity import digest_array
from episodes.samplers.fixed import EpisodeSampler
from episodes.samplers.pool import as_labels, whole
from episodes.samplers.sampler import Sampler
from episodes.source import TensorSource


class _SupportSampler(EpisodeSampler):
    _fewest_queries = 0  # the queries come from elsewhere


class _TargetSampler(EpisodeSampler):
    """Queries, and `unlabelled` further rows of each class beside them.

    `beyond` is the number of shots drawn in the other domain with the same random numbers, which these rows must not
    share: where the domains list their rows in the same order, they would be the same things.
    """

    def __init__(self, *arguments: Any, unlabelled: int = 0, beyond: int = 0, **more: Any) -> None:
        self.unlabelled, self._beyond = unlabelled, beyond
        super().__init__(*arguments, **more)

    def _needs(self) -> tuple[str, int]:
        words, need = super()._needs()
        return (f"{words} + unlabelled", need + self.unlabelled) if self.unlabelled else (words, need)

    def _numbers(self, first: int, count: int, shot: int, more: int = 0) -> NDArray[np.float64]:
        numbers = super()._numbers(first, count, shot, more)
        for number in range(self.shot, shot):
            numbers[self.query + number] = uniforms(
                self.seed, shot_stream(number + self._beyond), first, count, self.way
            )
        return numbers

    def _block(self, first: int, count: int) -> Draw:
        if not self.unlabelled:
            return super()._block(first, count)
        rows, query, chosen = self._rows(first, count, self.shot + self.unlabelled)
        unlabelled = torch.from_numpy(rows[:, :, self.shot :].reshape(count, self.way * self.unlabelled))
        drawn = self._drawn(first, rows[:, :, : self.shot], query, self.classes[chosen])
        return replace(drawn, unlabelled=unlabelled)


class CrossDomainSampler(Sampler):
    """Episodes whose support comes from one domain and whose queries come from another.

    Classes are drawn among those with enough rows in both. `join` makes one `Source` of two. With one domain for both,
    these are the episodes of `EpisodeSampler` on its rows: the score of a learner without a change of domain.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0, the same classes in both domains.
        domains: domain of each row ``[M]``, integers.
        way: classes per episode N.
        shot: support rows per class K.
        query: query rows per class.
        seed: 0 to 2**64 - 1.
        support_domain: where the support comes from.
        query_domain: where the queries come from; may be the same.
        unlabelled: further rows per class of the queries' domain, without labels, in `Episode.unlabelled`: what domain
            adaptation may see of the target.
        episodes: how many episodes iteration yields; endless by default.
        name: what error messages call the dataset.

    Raises:
        ValueError: too few classes have `shot` rows in the one and `query` rows in the other domain.

    >>> sampler = CrossDomainSampler([0, 0, 1, 1] * 2, [0] * 4 + [1] * 4, way=2, shot=1, query=2)
    >>> drawn = sampler.draw(0, 1)
    >>> int(drawn.support.max()) < 4 <= int(drawn.query.min())
    True
    """

    kind = "cross-domain"

    def __init__(
        self,
        labels: Any,
        domains: Any,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        *,
        support_domain: int = 0,
        query_domain: int = 1,
        unlabelled: int = 0,
        episodes: int | None = None,
        name: str = "the dataset",
    ) -> None:
        classes, places = as_labels(labels), np.asarray(domains)
        if places.shape != classes.shape or (places.size and not np.issubdtype(places.dtype, np.integer)):
            raise ValueError(
                f"domains are {places.dtype} of shape {list(places.shape)}; they must be integers [M] with "
                f"M={len(classes)}, one for each of the labels."
            )
        self._domains = [int(support_domain), int(query_domain)]
        self._rows: list[NDArray[np.int64]] = [np.flatnonzero(places == domain) for domain in self._domains]
        self.unlabelled = whole("unlabelled", unlabelled, 0)
        self._parts = self._samplers(classes, way, shot, query, seed, name)
        queries = self._parts[-1]
        self.way, self.shot, self.query, self.seed = queries.way, self._parts[0].shot, queries.query, queries.seed
        self.classes, self.rows, self.name = queries.classes, len(classes), name
        self.episodes = None if episodes is None else whole("episodes", episodes, 0)
        self._digests = [digest_array(classes), digest_array(places.astype(np.int64))]
        self._all_classes = len(np.unique(classes))

    def _samplers(
        self, classes: NDArray[np.int64], way: int, shot: int, query: int, seed: int, name: str
    ) -> list[EpisodeSampler]:
        """Of support and queries; just one where both are of one domain, since they must not share a row."""
        support, query_domain = self._domains
        if support == query_domain:
            of_domain = f"domain {query_domain} of {name}"
            rows = classes[self._rows[0]]
            return [_TargetSampler(rows, way, shot, query, seed, name=of_domain, unlabelled=self.unlabelled)]
        way, shot, query = whole("way", way, 1), whole("shot", shot, 0), whole("query", query, 1)
        learned = _with_rows(classes[self._rows[0]], max(shot, 1))
        both = np.intersect1d(learned, _with_rows(classes[self._rows[1]], query + self.unlabelled))
        if len(both) < way:
            raise ValueError(
                f"way={way}, but {name!r} has {len(both)} classes with at least shot={shot} rows in domain "
                f"{support} and query={query}{f' + unlabelled={self.unlabelled}' if self.unlabelled else ''} rows in "
                f"domain {query_domain}; lower one of them."
            )
        # The same seed and number of classes, so both draw the same classes.
        return [
            _SupportSampler(classes[self._rows[0]], way, shot, 0, seed, classes=both.tolist(), name=name),
            _TargetSampler(
                classes[self._rows[1]], way, 0, query, seed, classes=both.tolist(), name=name,
                unlabelled=self.unlabelled, beyond=shot,
            ),
        ]  # fmt: skip

    @classmethod
    def of(cls, source: Any, way: int, shot: int, query: int, seed: int, **arguments: Any) -> CrossDomainSampler:
        """Needs the domain of each row as `domains`, which a source does not know."""
        if "domains" not in arguments:
            raise ValueError(
                "cross-domain needs domains=[M], the domain of each row; make a CrossDomainSampler in Python."
            )
        return cls(source.labels, arguments.pop("domains"), way, shot, query, seed, name=source.name, **arguments)

    def _block(self, first: int, count: int) -> Draw:
        drawn = [part._block(first, count) for part in self._parts]
        learned, queried = drawn[0], drawn[-1]
        support = torch.from_numpy(self._rows[0])[learned.support]
        query = torch.from_numpy(self._rows[1])[queried.query]
        more = None if queried.unlabelled is None else torch.from_numpy(self._rows[1])[queried.unlabelled]
        return Draw(support, learned.labels, query, queried.targets, learned.classes, learned.ids, unlabelled=more)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the rows themselves, as JSON values."""
        labels, domains = self._digests
        return {
            "sampler": self.kind, "way": self.way, "shot": self.shot, "query": self.query, "seed": self.seed,
            "classes": digest_array(self.classes), "from_classes": [len(self.classes), self._all_classes],
            "labels": labels, "domains": self._domains, "domain_of_rows": domains,
            **({"unlabelled": self.unlabelled} if self.unlabelled else {}),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"CrossDomainSampler(way={self.way}, shot={self.shot}, query={self.query})"


def _with_rows(labels: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Classes that have at least so many rows."""
    found, counts = np.unique(labels, return_counts=True)
    return found[counts >= least]


def join(*sources: TensorSource) -> tuple[TensorSource, torch.Tensor]:
    """Several sources of the same classes (by name) as one, and the domain of each row ``[M]``.

    Raises:
        ValueError: their rows have different shapes, or they share no class.
    """
    shapes = {tuple(source.features.shape[1:]) for source in sources}
    if len(shapes) != 1:
        raise ValueError(f"rows have shapes {sorted(shapes)}; sources can be joined where rows are of one shape.")
    names = sorted(set.intersection(*(set(source.class_names) for source in sources)))
    if not names:
        raise ValueError(f"{' and '.join(repr(source.name) for source in sources)} share no class name.")
    number = {name: place for place, name in enumerate(names)}
    features, labels, domains = [], [], []
    for domain, source in enumerate(sources):
        of_class = torch.tensor([number.get(name, -1) for name in source.class_names])
        new = of_class[source.labels]
        kept = new >= 0
        features.append(source.features[kept.to(source.features.device)])
        labels.append(new[kept])
        domains.append(torch.full((int(kept.sum()),), domain))
    joined = " + ".join(source.name for source in sources)
    return TensorSource(torch.cat(features), torch.cat(labels), names, name=joined), torch.cat(domains)
