"""Embedding: dataset and encoder in, a table of features out; what is cached is not computed again.

Each module calls only those below it::

    embed_dataset   `embed`: settings, plan, what is missing, the table
    auditing        cached rows compared with fresh ones
    workers         what an engine's workers do
    filling         compute and write, with decoding ahead
    canary          fixed items that detect changed encoder output
    settings        how rows are computed, and the space of the cache that follows from it
    loading         rows read and decoded in threads, as batches
    plan            content keys, views, what the cache lacks
    forward         device, precision, batch size, memory
"""

from episodes.embedding_source import EmbeddingSource
from fewshot.embedding.embed_dataset import embed

__all__ = ["EmbeddingSource", "embed"]
