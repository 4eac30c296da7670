"""How far a query is from what its answer claims it to be."""

from __future__ import annotations

from torch import Tensor

from episodes.episode import Episode
from fewshot.maths.centring import relative_to_centre, shifted
from fewshot.maths.linalg import product


def distance_to_answer(episode: Episode, logits: Tensor) -> Tensor:
    """Squared distance of each query to the mean of the class that it is given to ``[E, Q]``.

    For learners whose logits are regressions or margins: these grow with distance along their directions, so neither
    they nor the probabilities made of them tell a stranger.
    """
    _, means, _, offset = relative_to_centre(episode)
    query = shifted(episode.query, offset)
    squares = means.square().sum(-1).unsqueeze(1) - 2 * product(query, means.mT)  # [E, Q, N], less |q|²
    chosen = squares.gather(-1, logits.argmax(-1, keepdim=True)).squeeze(-1)
    return (chosen + query.square().sum(-1)).clamp(min=0)
