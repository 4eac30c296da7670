"""Transfer learning around the episodes: what tells beforehand whether features will serve a task."""

from fewshot.transfer.domain_distance import linear_cka, mmd, proxy_a_distance
from fewshot.transfer.evidence import logme
from fewshot.transfer.posteriors import leep, nce
from fewshot.transfer.separation import h_score, neighbour_purity

__all__ = ["h_score", "leep", "linear_cka", "logme", "mmd", "nce", "neighbour_purity", "proxy_a_distance"]
