"""Transfer learning around the episodes: how much of a network to train, and what tells beforehand what will serve."""

from fewshot.transfer.domain_distance import linear_cka, mmd, proxy_a_distance
from fewshot.transfer.evidence import logme
from fewshot.transfer.fine_tuning import fine_tune
from fewshot.transfer.inspection import Inspection, contact_sheet, inspect
from fewshot.transfer.posteriors import leep, nce
from fewshot.transfer.separation import h_score, neighbour_purity
from fewshot.transfer.tuned_encoder import TunedEncoder, load_tuned

__all__ = [
    "Inspection",
    "TunedEncoder",
    "contact_sheet",
    "fine_tune",
    "h_score",
    "inspect",
    "leep",
    "linear_cka",
    "load_tuned",
    "logme",
    "mmd",
    "nce",
    "neighbour_purity",
    "proxy_a_distance",
]
