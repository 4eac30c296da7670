"""`cluster`: groups of rows by an encoder's features, and how well they match known classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from episodes.inputs import check_whole
from fewshot.encoders.encoder import Encoder


@dataclass(frozen=True, eq=False)  # tensors have no single truth
class Clustering:
    """Rows in groups.

    Attributes:
        labels: group of each row, 0..G-1 ``[M]``.
        centres: means of the groups ``[G, D]``.
        inertia: sum of squared distances of rows from their centre.
        accuracy: share of rows in the group that is matched with their class, or None where no classes are known.
        nmi: normalised mutual information of groups and classes, 0..1, or None.
        ari: adjusted Rand index: 1 if they are the same, about 0 by chance, or None.
        matches: the class that is matched with each group, or None; groups beyond the number of classes have none.
    """

    setting: ClassVar[str] = "unsupervised"  # see `episodes.SETTINGS`
    labels: Tensor
    centres: Tensor
    inertia: float
    accuracy: float | None = None
    nmi: float | None = None
    ari: float | None = None
    matches: tuple[str | None, ...] | None = None

    def __str__(self) -> str:
        found = f"{len(self.labels)} rows in {len(self.centres)} groups"
        if self.accuracy is None:
            return found
        return f"{found}: matched accuracy {100 * self.accuracy:.1f} %, NMI {self.nmi:.3f}, ARI {self.ari:.3f}"


def cluster(
    encoder: str | Encoder,
    source: Any,
    clusters: int | None = None,
    *,
    unit: bool = True,
    repeats: int = 10,
    seed: int = 0,
    cache: Any = None,
    progress: bool = True,
) -> Clustering:
    """Group rows by k-means on an encoder's features: the best of several starts (k-means++).

    Args:
        encoder: spec string or `Encoder`.
        source: rows as `fewshot.embed` takes them; labels, where it has some, serve the report alone.
        clusters: how many groups G; None: as many as the source has classes.
        unit: features at length one, so that distances go by direction.
        repeats: starts.
        seed: of the starts.
        cache: of embeddings, as in `fewshot.embed`.
        progress: show a bar.

    Raises:
        ValueError: fewer rows than groups, or neither classes nor `clusters` given.

    References: Arthur, Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; Vinh, Epps, Bailey,
    "Information theoretic measures for clusterings comparison", JMLR 11 (2010), on NMI and the adjusted Rand index.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    from episodes.any_source import as_source
    from fewshot.embedding import embed
    from fewshot.encoders import load_encoder

    given = load_encoder(encoder)
    items = as_source(source, given)
    known = len(items.class_names) > 1
    if clusters is None and not known:
        raise ValueError(f"{items.name!r} has no classes by which to choose the number of groups; give clusters=.")
    groups = len(items.class_names) if clusters is None else check_whole("clusters", clusters)
    if len(items) < groups:
        raise ValueError(f"{len(items)} rows cannot make {groups} groups; lower clusters, or give more rows.")
    features = embed(items, given, cache=cache, storage="float32", progress=progress).features.double().cpu()
    if unit:
        features = torch.nn.functional.normalize(features, dim=1)
    fitted = KMeans(groups, n_init=check_whole("repeats", repeats), random_state=seed).fit(features.numpy())
    labels = torch.from_numpy(fitted.labels_.astype(np.int64))
    centres = torch.from_numpy(fitted.cluster_centers_)
    if not known:
        return Clustering(labels, centres, float(fitted.inertia_))
    accuracy, matches = matched_accuracy(items.labels, labels, len(items.class_names), groups)
    return Clustering(
        labels, centres, float(fitted.inertia_), accuracy,
        float(normalized_mutual_info_score(items.labels, labels)), float(adjusted_rand_score(items.labels, labels)),
        tuple(None if match is None else items.class_names[match] for match in matches),
    )  # fmt: skip


def matched_accuracy(
    labels: Tensor | Sequence[int], clusters: Tensor | Sequence[int], classes: int | None = None,
    groups: int | None = None,
) -> tuple[float, list[int | None]]:  # fmt: skip
    """``max over matchings m of mean(m(cluster) = label)``: each group stands for one class, each class for one group.

    Args:
        labels: class of each row ``[M]``.
        clusters: group of each row ``[M]``.
        classes: how many classes there are; None: by the labels.
        groups: how many groups there are; None: by the clusters.

    Returns:
        The share, and the class of each group: None for those without one.

    Raises:
        ValueError: lengths differ, or there are no rows.

    Reference: Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics Quarterly 2 (1955).
    """
    from scipy.optimize import linear_sum_assignment

    wanted, found = np.asarray(labels, dtype=np.int64), np.asarray(clusters, dtype=np.int64)
    if wanted.shape != found.shape or wanted.ndim != 1 or not len(wanted):
        raise ValueError(
            f"labels {list(wanted.shape)} and clusters {list(found.shape)} must be [M] both, M at least 1."
        )
    classes, groups = classes or int(wanted.max()) + 1, groups or int(found.max()) + 1
    counts = np.zeros((groups, classes), dtype=np.int64)
    np.add.at(counts, (found, wanted), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matches: list[int | None] = [None] * groups
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        matches[row] = column
    return float(counts[rows, columns].sum() / len(wanted)), matches
