"""Identity: equal where the behaviour is equal, different for anything that behaves differently, in every process."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import identity_examples as ex
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from episodes.identity import (
    UnknownIdentityError,
    canonical,
    describe,
    describe_architecture,
    digest,
    digest_array,
    digest_weights,
)


def all_different(*values: Any) -> None:
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(digests)


class TestPlainValues:
    def test_each_by_type_and_value(self) -> None:
        all_different(
            None, True, 1, 1.0, "1", b"1", float("inf"), "inf", float("nan"), 1j, ..., [1], [1, 2], [2, 1], {1}, {1, 2},
            {"a": 1}, {"a": 2}, {1: "a"}, Path("a"), range(3), range(4), slice(3), re.compile("a"), re.compile("a", re.I),
            re.compile(b"a"),
            np.float32(1), np.int8(1), np.zeros(3), np.zeros((3, 1)), np.array(["a"], object), np.array(["b"], object),
            torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), torch.tensor([0, 1]), torch.float16, InterpolationMode.BOX,
            np.random.default_rng(0), np.random.default_rng(1), torch.Generator().manual_seed(1),
            torch.Generator().manual_seed(2),
        )  # fmt: skip

    def test_the_order_of_keys_and_of_sets_does_not_count(self) -> None:
        assert digest({"b": 1, "a": {3, 1}}) == digest({"a": {1, 3}, "b": 1})

    def test_arrays_by_value_wherever_they_are(self) -> None:
        rows = torch.arange(12.0).reshape(3, 4)
        assert digest_array(rows.T) == digest_array(rows.T.contiguous())
        assert digest_array(rows) != digest_array(rows.reshape(4, 3))
        assert digest(rows.numpy().astype(">f4")) == digest(rows.numpy().astype("<f4"))
        with torch.inference_mode():
            made = torch.arange(12.0).reshape(3, 4)
        assert digest_array(made) == digest_array(rows)
        assert digest(rows.to_sparse()) != digest((rows + 1).to_sparse())

    def test_a_thing_that_holds_itself(self) -> None:
        loop: list[Any] = [1]
        loop.append(loop)
        assert digest(loop) != digest([1, [1]])

    def test_what_shows_no_state_is_refused_with_what_to_do(self) -> None:
        class Holder:
            def __init__(self) -> None:
                self.stream = iter([1])

        for thing in (object(), iter([1]), (n for n in [1]), torch.empty(2, device="meta")):
            with pytest.raises(UnknownIdentityError, match=r"give version='\.\.\.'.*cache=False, out=None"):
                describe(thing)
        with pytest.raises(UnknownIdentityError, match=r"list_iterator \(at stream\)"):
            describe(Holder())
        for thing in (float("nan"), {1, 2}, object()):
            with pytest.raises(UnknownIdentityError, match="not plain JSON"):
                canonical(thing)


def source_of(tmp_path: Path, text: str) -> ModuleType:
    """A module of the user's own, from a file that may say something else each time."""
    path = tmp_path / "user_code.py"
    path.write_text(text)
    found = importlib.util.spec_from_file_location("user_code", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def typed(text: str, file: str) -> ModuleType:
    """A module whose code has no file, or one that is not there."""
    module = ModuleType("__main__")
    exec(compile(text, file, "exec"), module.__dict__)
    return module


class TestFunctions:
    def test_partials_closures_methods_and_instances(self) -> None:
        one, other = ex.Slotted(0.1), ex.Slotted(0.2)
        all_different(
            ex.scaled, functools.partial(ex.scaled, 1), functools.partial(ex.scaled, 2), functools.partial(ex.scaled, x=2),
            ex.holding(2), ex.holding(3), one, other, one.__call__, other.__call__, ex.Both(0.1, 1), ex.Both(0.1, 2),
            ex.Both(0.2, 1), ex.plus, ex.minus, torch.relu, torch.sigmoid, np.tanh, "a".join, "b".join, str.lower, len,
        )  # fmt: skip
        assert digest(ex.holding(2)) == digest(ex.holding(2))
        assert digest(ex.Both(0.1, 1)) == digest(ex.Both(0.1, 1))

    @pytest.mark.parametrize("reader", [ex.scaled, ex.Slotted(1).__call__, functools.partial(ex.scaled, 1), ex.helped])
    def test_globals_and_helpers_count(self, reader: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
        before = digest(reader)
        monkeypatch.setattr(ex, "FACTOR", 2.5)
        monkeypatch.setattr(ex, "helper", lambda x: x * 4)
        monkeypatch.setattr(ex.Slotted, "__call__", lambda self, x: x + self.mean)
        assert digest(reader) != before

    @pytest.mark.parametrize(
        "changed",
        [
            "return x * 3",
            "return helper(x) + np.float32(1)",
            "from math import tau as helper\n    return helper(x)",
            "return [helper(y) for y in x]",
        ],
    )
    def test_code_counts_and_comments_do_not(self, tmp_path: Path, changed: str) -> None:
        text = "import numpy as np\ndef helper(x): return x * 2\ndef f(x):\n    return helper(x)\n"
        f = source_of(tmp_path, text).f
        again = source_of(tmp_path, "# a comment\n\n" + text.replace("return helper(x)", "return helper( x )  # so")).f
        assert digest(f) == digest(again)
        assert digest(source_of(tmp_path, text.replace("return helper(x)", changed)).f) != digest(f)
        assert digest(source_of(tmp_path, text.replace("x * 2", "x * 2.5")).f) != digest(f)

    def test_helpers_behind_modules_and_imports_inside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def by_module(x: float) -> float:
            return ex.helper(x)

        def imported(x: float) -> float:
            from identity_examples import helper

            return helper(x)

        before = digest([by_module, imported]), digest(by_module), digest(imported)
        monkeypatch.setattr(ex, "helper", lambda x: x)
        assert all(
            a != b
            for a, b in zip(before, (digest([by_module, imported]), digest(by_module), digest(imported)), strict=True)
        )

    def test_libraries_by_name_and_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from episodes.identity import code

        assert describe(v2.functional.hflip)["library"].startswith("torchvision.transforms")
        before = digest(v2.functional.resize), digest(functools.partial(v2.functional.resize, size=3))
        monkeypatch.setattr(code, "version_of", lambda module: "another")
        assert digest(v2.functional.resize) != before[0]
        assert digest(functools.partial(v2.functional.resize, size=3)) != before[1]

    def test_a_file_of_the_project_that_is_called_as_one_of_python(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from episodes.identity.code import is_library

        is_library.cache_clear()
        assert is_library("profile") and is_library("sys") and is_library("json.decoder")
        (tmp_path / "profile.py").write_text("def f(x): return x\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "profile", raising=False)
        is_library.cache_clear()
        own = importlib.import_module("profile")
        try:
            before = digest(own.f)
            monkeypatch.setattr(own, "f", typed("def f(x): return -x\n", "profile.py").f)
            assert digest(own.f) != before and not is_library("profile")
        finally:
            del sys.modules["profile"]
            is_library.cache_clear()

    def test_adapters_are_known_by_their_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from fewshot import load_learner
        from fewshot.adaptation import moments

        before = digest(load_learner("coral | logistic"))
        assert digest(load_learner("coral | logistic")) == before
        monkeypatch.setattr(moments, "_centred", lambda rows, known: rows)
        assert digest(load_learner("coral | logistic")) != before

    def test_a_function_that_calls_itself(self, tmp_path: Path) -> None:
        text = "def f(n): return g(n - 1) if n else {0}\ndef g(n): return f(n)\n"
        assert digest(source_of(tmp_path, text.format(0)).f) == digest(source_of(tmp_path, text.format(0)).f)
        assert digest(source_of(tmp_path, text.format(0)).f) != digest(source_of(tmp_path, text.format(1)).f)

    def test_code_without_a_file(self) -> None:
        made: dict[str, Any] = {}
        exec("def f(x): return x\ndef g(x): return x + 1", made)
        assert digest(made["f"]) != digest(made["g"])

    def test_an_edit_of_the_file_while_it_runs_changes_nothing(self, tmp_path: Path) -> None:
        f = source_of(tmp_path, "def f(x): return x\n").f
        before = digest(f)
        (tmp_path / "user_code.py").write_text("def f(x): return -x\n")
        assert digest(f) == before

    def test_what_the_compiler_may_not_touch_is_what_it_was(self) -> None:
        from torch._compile import _disable_dynamo

        def seeded() -> torch.Tensor:
            torch.manual_seed(0)
            return torch.rand(1)

        before, plain = digest(seeded), torch.manual_seed
        assert describe(_disable_dynamo(torch.random.manual_seed)) == describe(torch.random.manual_seed)
        try:  # as torch does to itself once its compiler is imported, by an export for one
            torch.manual_seed = _disable_dynamo(torch.random.manual_seed)
            assert digest(seeded) == before
        finally:
            torch.manual_seed = plain


class TestClasses:
    BASE = "class Base:\n    rate = 1\n    def go(self, x): return x\nclass Kind(Base):\n    def run(self, x): return self.go(x)\n"

    @pytest.mark.parametrize(("old", "new"), [("return x", "return -x"), ("rate = 1", "rate = 2"), ("self.go(x)", "self.go(2 * x)")])  # fmt: skip
    def test_the_whole_order_of_resolution_counts(self, tmp_path: Path, old: str, new: str) -> None:
        make = lambda text: source_of(tmp_path, text).Kind()  # noqa: E731
        assert digest(make(self.BASE)) == digest(make(self.BASE))
        assert digest(make(self.BASE)) != digest(make(self.BASE.replace(old, new)))

    @pytest.mark.parametrize("file", ["<stdin>", "<ipython-input-3-0a>", "<string>", "typed.py"])
    @pytest.mark.parametrize("name", ["__call__", "__init__", "__getitem__"])
    @pytest.mark.parametrize("kind", ["class Kind:", "@dataclass(init=False)\nclass Kind:\n    size: int = 1"])
    def test_methods_typed_at_a_prompt_count(self, file: str, name: str, kind: str) -> None:
        text = f"from dataclasses import dataclass\n{kind}\n    def {name}(self, x=0): self.size = x * 2\n"
        assert digest(typed(text, file).Kind()) == digest(typed(text, file).Kind())
        assert digest(typed(text, file).Kind()) != digest(typed(text.replace("x * 2", "x * 3"), file).Kind)
        assert digest(typed(text, file).Kind) != digest(typed(text.replace("x * 2", "x * 3"), file).Kind)

    @pytest.mark.parametrize(
        ("old", "new"),
        [("lambda: [1]", "lambda: [2]"), ("init=True", "init=False"), ("size: int = 1", "size: int = 2")],
    )
    def test_fields_of_data_classes_count(self, old: str, new: str) -> None:
        text = (
            "from dataclasses import dataclass, field\n@dataclass\nclass Kind:\n    size: int = 1\n"
            "    shown: list = field(default_factory=lambda: [1], init=True)\ndef make(): return Kind()\n"
        )
        assert digest(typed(text, "<stdin>").make) == digest(typed(text, "<stdin>").make)
        assert digest(typed(text, "<stdin>").make) != digest(typed(text.replace(old, new), "<stdin>").make)

    def test_what_a_cached_property_keeps_does_not_count(self) -> None:
        class Lazy:
            @functools.cached_property
            def table(self) -> int:
                return 3

        one = Lazy()
        before = digest(one)
        assert one.table == 3
        assert digest(one) == before


def attention(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(8, batch_first=True, **{"nhead": 2, **options})


class TestModules:
    def test_structure_and_settings_at_every_depth(self) -> None:
        layer = attention()
        changed = []
        for options in ({"nhead": 4}, {"norm_first": True}, {"activation": "gelu"}, {"layer_norm_eps": 1e-3}):
            changed.append(attention(**options))
            changed[-1].load_state_dict(layer.state_dict())
        assert len({describe_architecture(one)["digest"] for one in (layer, *changed)}) == 5
        pair = nn.Sequential(layer, nn.ReLU())
        before = describe_architecture(pair)
        layer.norm_first = True
        assert describe_architecture(pair) != before

    def test_attributes_and_all_buffers(self) -> None:
        net, other = ex.Net(), ex.Net("amax")
        assert digest(net) == digest(ex.Net())
        assert digest(net) != digest(other)
        assert digest_weights(net) == digest_weights(other)
        other = ex.Net()
        other.shift += 1  # not saved in its state_dict
        assert digest_weights(net) != digest_weights(other)

    @pytest.mark.parametrize("edit", ["add_", "data", "numpy", "inference"])
    def test_weights_edited_in_place_by_any_road(self, edit: str) -> None:
        net = ex.Net()
        before = digest_weights(net)
        if edit == "add_":
            with torch.no_grad():
                net.layer.weight[0, 0] += 1e-6
        elif edit == "data":
            net.layer.weight.data[0, 0] += 1e-6
        elif edit == "numpy":
            net.layer.weight.detach().numpy()[0, 0] += 1e-6
        else:
            with torch.inference_mode():
                net.layer.weight[0, 0] += 1e-6
        assert digest_weights(net) != before
        assert digest_weights(net.half()) != before

    def test_hooks_parametrizations_and_a_replaced_forward(self) -> None:
        nets = [ex.Net() for _ in range(7)]
        nets[1].layer.register_forward_hook(lambda module, inputs, output: output + 1)
        nets[2].layer.register_forward_hook(lambda module, inputs, output: output + 2)
        nets[3].layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
        parametrize.register_parametrization(nets[4].layer, "weight", nn.Identity())
        nets[5].forward = lambda x: x.sum(-1)  # type: ignore[method-assign]
        nets[6].layer.forward = lambda x: x[..., :3]  # type: ignore[method-assign]
        assert len({describe_architecture(net)["digest"] for net in nets}) == len(nets)

    def test_a_part_that_is_held_outside_the_registry(self) -> None:
        nets = [ex.Net() for _ in range(2)]
        for net in nets:
            net.hidden = [nn.Linear(2, 2)]  # type: ignore[assignment]
        with torch.no_grad():
            nets[1].hidden[0].weight.copy_(nets[0].hidden[0].weight)  # type: ignore[index, union-attr, operator]
            nets[1].hidden[0].bias.copy_(nets[0].hidden[0].bias)  # type: ignore[index, union-attr, operator]
            assert digest(nets[0]) == digest(nets[1])
            nets[1].hidden[0].bias += 1  # type: ignore[index, union-attr, operator]
        assert digest(nets[0]) != digest(nets[1])

    @pytest.mark.filterwarnings("ignore:.*torch.jit")
    def test_scripted_programs(self) -> None:
        class Twice(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x * 2

        class Half(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x / 2

        scripted = [torch.jit.trace(kind(), torch.zeros(1)) for kind in (Twice, Half, Twice)]
        assert digest(scripted[0]) != digest(scripted[1])

    def test_modes_and_use_do_not_count(self) -> None:
        net = attention()
        before = digest(net)
        net.eval()(torch.zeros(1, 3, 8))
        assert digest(net) == before


@pytest.mark.parametrize("module", [v1, v2])
def test_preprocessing_is_known_by_value(module: Any) -> None:
    def preprocess(
        size: int = 224, interpolation: Any = InterpolationMode.BICUBIC, antialias: bool = True, mean: float = 0.5
    ) -> Any:
        resize = module.Resize(size, interpolation=interpolation, antialias=antialias)
        return module.Compose([resize, module.CenterCrop(224), module.Normalize([mean] * 3, [0.5] * 3)])

    assert digest(preprocess()) == digest(preprocess())
    changes: list[dict[str, Any]] = [
        {}, {"size": 256}, {"interpolation": InterpolationMode.BILINEAR}, {"antialias": False}, {"mean": 0.48},
    ]  # fmt: skip
    all_different(*(preprocess(**change) for change in changes))


def test_estimators_with_arrays() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    long, other = np.full(2000, 0.0005), np.full(2000, 0.0005)
    other[1000] = 0.0006  # where a printed array shows three dots
    assert repr(GaussianNB(priors=long)) == repr(GaussianNB(priors=other))
    all_different(GaussianNB(priors=long), GaussianNB(priors=other), LogisticRegression(), LogisticRegression(C=2))
    assert digest(LogisticRegression(C=2)) == digest(LogisticRegression(C=2))


def test_the_same_in_every_process() -> None:
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import functools, identity_examples as ex
from torchvision.transforms import v2
from episodes.identity import digest
from fewshot import load_learner
print(digest([ex.scaled, ex.helped, ex.plus, ex.holding({{"x", "y", "z"}}), ex.Both(1, 2), ex.Net(), ex,
              functools.partial(ex.scaled, x={{"q": 1, "r": 2}}), v2.Resize(3), load_learner("l2 | ridge")]))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-W", "ignore", *flags, "-c", program], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
        ).stdout
        for seed, flags in (("0", []), ("12345", ["-X", "importtime"]))
    }  # fmt: skip
    assert len(printed) == 1
