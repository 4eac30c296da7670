"""How far a query is from all classes, for learners whose logits only tell the classes apart.

Regressions and margins grow with distance along their directions, so neither they nor the probabilities made of them
tell a stranger. Nor do log-odds among single examples, which are high wherever one of them is a little nearer than the
others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from episodes.episode import Episode
from fewshot.maths.affinity import squared_distances
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.linalg import class_means, normalize, product, towards_class_means


def distance_to_means(episode: Episode) -> Tensor:
    """Squared distance of each query to the nearest class mean ``[E, Q]``, infinite where there is no class."""
    _, means, shots, offset = relative_to_centre(episode)
    distances = squared_distances(shifted(episode.query, offset), means)  # [E, Q, N]
    return distances.masked_fill((shots == 0).unsqueeze(1), torch.inf).amin(-1)


def distance_to_moved_rows(episode: Episode) -> Tensor:
    """Squared distance of each query to the nearest support row ``[E, Q]``, half way to the mean of its class.

    The nearest of single rows is often an odd one, and a mean knows nothing of the shape of its class.
    """
    known, _, _, offset = relative_to_centre(episode)
    rows = towards_class_means(known, 0.5)
    distances = squared_distances(shifted(episode.query, offset), rows)  # [E, Q, S]
    return distances.masked_fill((episode.labels < 0).unsqueeze(1), torch.inf).amin(-1)


def cosine_distance_to_means(episode: Episode) -> Tensor:
    """One minus the cosine of each query with the nearest class mean of rows of length one ``[E, Q]``, around zero.

    For learners by cosines around the mean of the support: a stranger, which lies near to that mean, is stretched to
    length one there, and looks like any other row.
    """
    means, shots = class_means(episode.without_query().replace(support=normalize(episode.support, dim=-1)))
    cosines = product(normalize(episode.query, dim=-1), normalize(means, dim=-1).mT)  # [E, Q, N]
    return 1 - cosines.masked_fill((shots == 0).unsqueeze(1), -torch.inf).amax(-1)
