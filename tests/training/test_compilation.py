"""``compile=true``: the same numbers, names and files, taps that work, and a clear word where the compiler cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.chunked import arithmetic as chunk_arithmetic
from kd_lightning.losses.functional.chunked import loss as chunked
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.models.taps import tap_network
from kd_lightning.training import compilation
from kd_lightning.training.compilation import compile_network
from kd_lightning.types import Aligned, Outputs
from tests.support.parts import FEATURES, TinyNet
from tests.support.processes import DDP, FSDP, in_two
from tests.support.rounding import tolerance
from tests.support.tiny import experiment
from tests.training.test_chunked_losses import NETWORKS
from tests.training.test_resume import STAGES, run, stored


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """Nothing compiled before counts, and the setting that is made for good is undone."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=True):
        yield
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the C++ or Triton at its end: the networks are traced, and what was traced runs."""

    def trace(network: nn.Module, body: bool = False) -> None:
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        network.compile(backend="eager")

    for place in ("supervised", "distillation"):
        monkeypatch.setattr(f"kd_lightning.training.{place}.compile_network", trace)


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


class Match(Loss):
    """Compares features."""

    def __init__(self) -> None:
        super().__init__(taps={"hidden": ("norm", "norm:input"), "first": ("last:input", "first")})
        self.project = nn.Linear(5, 9)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        difference = sum(self.project(student.features[name]) - teacher.features[name] for name in self.taps)
        assert isinstance(difference, Tensor)
        return masked_mean(difference.square().mean(-1), aligned.mask)


MATCH = {"match": {"_target_": "tests.training.test_compilation.Match"}}


def weights(outputs: Path) -> dict[str, Tensor]:
    return {
        f"{stage} {name}": tensor
        for stage in STAGES
        for path in (outputs / "store" / stage).glob("*/weights.safetensors")
        for name, tensor in load_file(path).items()
    }


def assert_same(found: Path, wanted: Path, tolerance: float) -> None:
    one, other = weights(wanted), weights(found)
    assert list(one) == list(other)
    assert len(one) > 20
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=tolerance)


def test_taps_of_a_compiled_network_are_those_of_the_network() -> None:
    """In any order of calls with and without them, and with few compilations."""
    for order in ("with without with without", "without with without with"):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        torch.manual_seed(0)
        network = TinyNet(dropout=0.0).eval()
        plain = TinyNet(dropout=0.0).eval()
        plain.load_state_dict(network.state_dict())
        names = list(network.state_dict())
        network.compile(backend="eager")
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        assert list(network.state_dict()) == names
        for word in order.split():
            inputs = torch.randn(4, FEATURES)
            if word == "without":
                assert torch.equal(network(inputs), plain(inputs))
                continue
            with tap_network(network, {"a": "norm", "b": "last:input"}) as features:
                network(inputs)
            with tap_network(plain, {"a": "norm", "b": "last:input"}) as wanted:
                plain(inputs)
            assert all(torch.equal(features[name], wanted[name]) for name in wanted)
        assert graphs() == 2


def test_compile_network_asks_for_guards_on_hooks() -> None:
    assert torch._dynamo.config.skip_nnmodule_hook_guards
    network = TinyNet()
    compile_network(network)
    assert not torch._dynamo.config.skip_nnmodule_hook_guards
    assert network._compiled_call_impl is not None


@pytest.mark.usefixtures("traced")
def test_a_run_whose_networks_are_compiled_is_the_same_and_has_keys_of_its_own(tmp_path: Path) -> None:
    plain = experiment(tmp_path / "plain", loss=MATCH).run().records
    assert graphs() == 0
    compiled = experiment(tmp_path / "compiled", loss=MATCH, compile=True).run().records
    assert graphs() >= 4, "positive control: teacher and student, training and evaluating"
    assert_same(tmp_path / "compiled", tmp_path / "plain", tolerance(terms=64, steps=26))
    for stage in STAGES:
        assert compiled[stage]["store_key"] != plain[stage]["store_key"]
        assert compiled[stage]["test"] == pytest.approx(plain[stage]["test"], abs=tolerance(terms=64, steps=26))
    assert compiled["distill"]["teacher_unchanged"]


@pytest.mark.usefixtures("traced")
def test_losses_by_chunks_are_compiled_with_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, calls = torch.compile(chunk_arithmetic._in_one_go, backend="eager"), []

    def counted(arithmetic: Any, chunk: Any) -> Any:
        calls.append(len(arithmetic.soft))
        return compiled(arithmetic, chunk)

    monkeypatch.setattr(chunked, "compiled_arithmetic", lambda: counted)
    experiment(tmp_path / "plain", **NETWORKS, chunked_loss=True).run()
    assert not calls
    experiment(tmp_path / "compiled", **NETWORKS, chunked_loss=True, compile=True).run()
    assert {0, 1} == set(calls), "on labels alone, and distilling"
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert list(one) == list(other)
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=tolerance(terms=64, steps=26))


@pytest.mark.usefixtures("traced")
def test_it_can_be_stopped_and_goes_on(tmp_path: Path) -> None:
    from tests.training.test_resume import Stop, StopAfter

    run(tmp_path / "whole", compile=True)
    with pytest.raises(Stop):
        run(tmp_path / "parts", [StopAfter(17)], compile=True)
    run(tmp_path / "parts", compile=True)
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "strategy", [pytest.param(DDP, id="ddp"), pytest.param(FSDP, id="fsdp", marks=pytest.mark.full)]
)
def test_in_two_processes_as_well(strategy: dict[str, Any], tmp_path: Path) -> None:
    experiment(tmp_path / "plain", **in_two(strategy)).run()
    experiment(tmp_path / "compiled", compile=True, **in_two(strategy)).run()
    assert_same(tmp_path / "compiled", tmp_path / "plain", tolerance(terms=64, steps=26))


def test_a_compiler_that_fails_is_a_setting_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no working C++ compiler")

    def use_broken(network: nn.Module, body: bool = False) -> None:
        network.compile(backend=broken)

    monkeypatch.setattr("kd_lightning.training.supervised.compile_network", use_broken)
    with pytest.raises(ConfigError, match=r"compile=true: .*no working C\+\+ compiler.*: set compile=false") as caught:
        experiment(tmp_path, compile=True).run()
    assert "\n" not in str(caught.value)


def test_nothing_is_compiled_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "compile_network", None)
    monkeypatch.setattr("kd_lightning.training.supervised.compile_network", None)
    experiment(tmp_path).run()


@pytest.mark.slow
@pytest.mark.full
def test_really_compiled_it_is_the_same_within_rounding(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("compile=true needs a C++ compiler on the CPU, and g++ is not installed")
    # No Adam: the bias before a BatchNorm has no gradient but rounding, which Adam scales up.
    sgd = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}
    quick: dict[str, Any] = {
        "loss": MATCH,
        "student__optimizer": sgd,
        "teacher__optimizer": sgd,
        "student__model__dropout": 0.0,  # a compiled dropout draws other numbers
        "teacher__model__dropout": 0.0,
        "teacher__steps": 4,
        "student__steps": 4,
        "student__pretrain_steps": 0,
    }
    plain = experiment(tmp_path / "plain", **quick).run().records
    assert graphs() == 0
    compiled = experiment(tmp_path / "compiled", compile=True, **quick).run().records
    assert graphs() >= 4
    assert list(compiled) == list(plain)
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert list(one) == list(other)
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-5)
