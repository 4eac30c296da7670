"""Transfer learning around the episodes: how much of a network to train, and what tells beforehand what will serve."""

from fewshot.transfer.advice import Advice
from fewshot.transfer.advising import advise
from fewshot.transfer.alignment.choosing import choose_alignment
from fewshot.transfer.domain_distance import linear_cka, mmd, proxy_a_distance
from fewshot.transfer.encoder_scores import EncoderScores, score_encoder
from fewshot.transfer.evidence import logme
from fewshot.transfer.fine_tuning import fine_tune
from fewshot.transfer.inspection import Inspection, contact_sheet, inspect
from fewshot.transfer.left_out import left_out_mean, left_out_ridge
from fewshot.transfer.negative import negative_transfer
from fewshot.transfer.posteriors import leep, nce
from fewshot.transfer.separation import h_score, neighbour_purity
from fewshot.transfer.source_free.adapting import adapt_to
from fewshot.transfer.tuned_encoder import TunedEncoder, load_tuned
from fewshot.transfer.verdict import NegativeTransfer, NegativeTransferWarning

__all__ = [
    "Advice",
    "EncoderScores",
    "Inspection",
    "NegativeTransfer",
    "NegativeTransferWarning",
    "TunedEncoder",
    "adapt_to",
    "advise",
    "choose_alignment",
    "contact_sheet",
    "fine_tune",
    "h_score",
    "inspect",
    "leep",
    "left_out_mean",
    "left_out_ridge",
    "linear_cka",
    "load_tuned",
    "logme",
    "mmd",
    "nce",
    "negative_transfer",
    "neighbour_purity",
    "proxy_a_distance",
    "score_encoder",
]
