"""For each contract check a learner broken for it, whose honest twin (the class it derives from) passes."""

from __future__ import annotations

from broken_learners import construction, gradients, hygiene, invariances, outputs
from broken_learners.honest import (
    Honest,
    HonestImages,
    HonestInnerLoop,
    HonestTransductive,
    HonestWeights,
    HonestZeroShot,
)

BROKEN = [*outputs.BROKEN, *invariances.BROKEN, *gradients.BROKEN, *hygiene.BROKEN, *construction.BROKEN]
# What the honest twin of a broken learner does not derive from, but from what is broken in another way.
TWINS: dict[type[Honest], type[Honest]] = {gradients.MultipliesAParameterByZero: Honest}
HONEST = [Honest, HonestImages, HonestZeroShot, HonestTransductive, HonestWeights, HonestInnerLoop]
