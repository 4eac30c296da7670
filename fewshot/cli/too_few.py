"""Classes that are too small for the episodes that are asked for: said by name, with what would do."""

from __future__ import annotations

from collections import Counter
from typing import Any


def refuse_too_few(source: Any, called: str, way: int, shot: int, query: int, advice: str) -> None:
    """Refuse a way, shot and query for which there are too few large classes.

    Args:
        source: labelled rows.
        called: what the user called them.
        way: classes per episode.
        shot: support rows per class.
        query: query rows per class.
        advice: a sentence for those who wanted something else.

    Raises:
        ValueError: the message names the small classes and, where there are enough, a query or shot that would do.
    """
    counts = Counter(source.labels.tolist())
    need = shot + query
    able = sum(count >= need for count in counts.values())
    if able >= way:
        return
    small = sorted((count, source.class_names[label]) for label, count in counts.items() if count < need)
    listed = ", ".join(f"{name} ({count})" for count, name in small[:6]) + (", ..." if len(small) > 6 else "")
    largest = sorted(counts.values())[-min(way, len(counts))]  # rows that enough classes have
    hint = "lower --shot, --query or --way"
    if len(counts) >= way and largest > shot:
        hint = f"--query {largest - shot} would do"
    elif len(counts) >= way and largest > 1:
        hint = f"--shot 1 --query {largest - 1} would do"
    raise ValueError(
        f"{called}: --way {way} --shot {shot} --query {query} needs {way} classes of {need} rows, and there are "
        f"{able}. Too small: {listed or 'none, but there are too few classes'}; {hint}. {advice}"
    )
