"""`CrossDomainSampler`: learn from one domain, be asked about another."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from episodes.sampler import Draw, EpisodeSampler, _as_labels
from episodes.source import TensorSource


class _SupportSampler(EpisodeSampler):
    _fewest_queries = 0


class CrossDomainSampler:
    """Episodes whose support comes from one domain and whose queries come from another.

    Classes are drawn among those with enough rows in both. `join` makes one `Source` of two.

    Args:
        labels: class of each row of the dataset ``[M]``, integers from 0, the same classes in both domains.
        domains: domain of each row ``[M]``, integers.
        way: classes per episode N.
        shot: support rows per class K.
        query: query rows per class.
        seed: 0 to 2**64 - 1.
        support_domain: where the support comes from.
        query_domain: where the queries come from.
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
        name: str = "the dataset",
    ) -> None:
        classes, places = _as_labels(labels), np.asarray(domains)
        if places.shape != classes.shape:
            raise ValueError(f"domains are {list(places.shape)}; they must be [M] with M={len(classes)}, as labels.")
        total = int(classes.max()) + 1 if len(classes) else 0
        rows = [np.flatnonzero(places == domain) for domain in (support_domain, query_domain)]
        sizes = [np.bincount(classes[part], minlength=total) for part in rows]
        both = np.flatnonzero((sizes[0] >= max(shot, 1)) & (sizes[1] >= query))
        if len(both) < way:
            raise ValueError(
                f"way={way}, but {name!r} has {len(both)} classes with at least shot={shot} rows in domain "
                f"{support_domain} and query={query} rows in domain {query_domain}; lower way, shot or query."
            )
        self._rows: list[NDArray[np.int64]] = rows
        # The same seed and number of classes, so both draw the same classes.
        self._support = _SupportSampler(classes[rows[0]], way, shot, 0, seed, classes=both.tolist(), name=name)
        self._query = EpisodeSampler(classes[rows[1]], way, 0, query, seed, classes=both.tolist(), name=name)
        self.way, self.shot, self.query, self.rows, self.name = way, shot, query, len(classes), name
        self._domains = (int(support_domain), int(query_domain))

    def draw(self, first: int = 0, count: int = 1) -> Draw:
        """Episodes ``first, ..., first + count - 1``."""
        learned, asked = self._support.draw(first, count), self._query.draw(first, count)
        support = torch.from_numpy(self._rows[0])[learned.support]
        query = torch.from_numpy(self._rows[1])[asked.query]
        return Draw(support, learned.labels, query, asked.targets, learned.classes, learned.ids)

    def recipe(self) -> dict[str, Any]:
        """What an episode number depends on besides the dataset, as JSON values."""
        return {**self._query.recipe(), "sampler": self.kind, "shot": self.shot, "domains": list(self._domains)}

    def __repr__(self) -> str:
        return f"CrossDomainSampler(way={self.way}, shot={self.shot}, query={self.query})"


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
