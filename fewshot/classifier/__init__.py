"""The learners as scikit-learn estimators: `FewShotClassifier`."""

from __future__ import annotations

from fewshot.classifier.explanation import Explanation, Neighbour
from fewshot.classifier.few_shot import FewShotClassifier

__all__ = ["Explanation", "FewShotClassifier", "Neighbour"]
