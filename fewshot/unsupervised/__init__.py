"""Learning without labels: encoders from unlabelled pictures, principal components, clusters."""

from fewshot.unsupervised.clustering import Clustering, cluster, matched_accuracy
from fewshot.unsupervised.method import Method
from fewshot.unsupervised.methods import METHODS, load_method
from fewshot.unsupervised.pca import PCAEncoder, fit_pca, load_pca
from fewshot.unsupervised.pretraining import pretrain_unlabelled

__all__ = [
    "METHODS",
    "Clustering",
    "Method",
    "PCAEncoder",
    "cluster",
    "fit_pca",
    "load_method",
    "load_pca",
    "matched_accuracy",
    "pretrain_unlabelled",
]
