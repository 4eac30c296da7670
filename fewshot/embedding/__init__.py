"""Embedding: dataset and encoder in, a table of features out; what is cached is not computed again.

Each module calls only those below it::

    embed_dataset   `embed`: settings, plan, what is missing, the table
    auditing        cached rows compared with fresh ones
    workers         what an engine's workers do
    filling         compute and write, with decoding ahead
    lanes           on a CPU: a batch for each processor, from reading to features
    copies          encoders that may be copied, and weights laid out once
    canary          fixed items that detect changed encoder output
    settings        how rows are computed, and the space of the cache that follows from it
    ahead           batches decoded in threads
    loading         rows read, decoded and transformed, as a batch
    plan            content keys, views, what the cache lacks
    forward         device, precision, batch size, memory
"""

from episodes.embedding_source import EmbeddingSource
from fewshot.embedding.embed_dataset import embed

__all__ = ["EmbeddingSource", "embed"]
