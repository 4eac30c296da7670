"""The learners as scikit-learn estimators: `FewShotClassifier` and `ZeroShotClassifier`."""

from __future__ import annotations

from fewshot.classifier.explanation import Explanation, Neighbour
from fewshot.classifier.few_shot import FewShotClassifier
from fewshot.classifier.sentences import Sentence, ZeroShotExplanation
from fewshot.classifier.zero_shot import ZeroShotClassifier

__all__ = ["Explanation", "FewShotClassifier", "Neighbour", "Sentence", "ZeroShotClassifier", "ZeroShotExplanation"]
