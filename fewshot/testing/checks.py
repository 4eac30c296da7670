"""The contract checks by name: every public function of the modules beside this one."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from fewshot.testing import construction, gradients, hygiene, invariances, outputs
from fewshot.testing.trial import Trial

Check = Callable[[Trial], None]
CHECKS: dict[str, Check] = {
    name: function
    for module in (outputs, invariances, gradients, hygiene, construction)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
}
