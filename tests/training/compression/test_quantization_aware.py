"""Rounding to 8 bits in training: to which numbers, with which gradient, and as the exported file computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kd_lightning.deploy.export.formats import quiet
from kd_lightning.errors import ConfigError
from kd_lightning.training.compression.base import Compression, Together
from kd_lightning.training.compression.magnitude_pruning import MagnitudePruning
from kd_lightning.training.compression.quantization_aware import QuantizationAware, round_input, round_weight


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_numbers_are_those_of_the_formula(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scale = np.abs(values).max() / 127
    signed = np.array([np.clip(np.rint(each / scale), -127, 127) for each in values.ravel()]) * scale
    np.testing.assert_allclose(round_weight(torch.tensor(values)).numpy().ravel(), signed, rtol=1e-5, atol=1e-6)
    low, high = min(values.min(), 0), max(values.max(), 0)
    step = (high - low) / 255
    zero = np.rint(-low / step)
    unsigned = np.array([np.clip(np.rint(each / step) + zero, 0, 255) - zero for each in values.ravel()]) * step
    np.testing.assert_allclose(round_input(torch.tensor(values)).numpy().ravel(), unsigned, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("values", [torch.zeros(3, 4), torch.full((3, 4), 2.5), torch.tensor([[1.0, -3.0, 0.0]])])
def test_zeros_stay_zeros_and_rounding_again_changes_nothing(values: torch.Tensor) -> None:
    for each in (round_weight, round_input):
        once = each(values)
        assert torch.isfinite(once).all()
        assert (once[values == 0] == 0).all()
        torch.testing.assert_close(each(once), once)


def test_the_gradient_of_an_input_is_that_of_the_identity() -> None:
    values = torch.randn(4, 3, requires_grad=True)
    (round_input(values) * torch.arange(12.0).view(4, 3)).sum().backward()
    torch.testing.assert_close(values.grad, torch.arange(12.0).view(4, 3))


def test_gradients_are_those_at_the_rounded_weights_and_go_to_the_exact_ones() -> None:
    one, batch = network(), torch.randn(8, 6)
    exact = [each.detach().clone() for each in one.parameters()]
    with QuantizationAware().deployed(one):
        one(batch).square().sum().backward()
    for each, value in zip(one.parameters(), exact, strict=True):
        assert torch.equal(each, value)
    rounded = network()
    with torch.no_grad():
        for layer in (rounded[0], rounded[2]):  # type: ignore[index]
            layer.weight.copy_(round_weight(layer.weight))
    hidden = rounded[1](rounded[0](round_input(batch)))  # type: ignore[index]
    rounded[2](round_input(hidden)).square().sum().backward()  # type: ignore[index]
    for one_parameter, other in zip(one.parameters(), rounded.parameters(), strict=True):
        torch.testing.assert_close(one_parameter.grad, other.grad)


def test_what_goes_wrong_within_leaves_the_network_as_it_was() -> None:
    one = network()
    exact = [each.detach().clone() for each in one.parameters()]
    with pytest.raises(RuntimeError), QuantizationAware().deployed(one):
        one(torch.randn(2, 99))
    assert all(torch.equal(each, value) for each, value in zip(one.parameters(), exact, strict=True))
    assert not any(each._forward_pre_hooks for each in one.modules())


@pytest.mark.parametrize("inputs", [True, False])
def test_only_weights_or_inputs_too(inputs: bool) -> None:
    one, batch = network(), torch.randn(8, 6)
    plain = one(batch)
    with QuantizationAware(inputs).deployed(one):
        hooked = [bool(each._forward_pre_hooks) for each in one.children()]
        assert hooked == [inputs, False, inputs]
        assert not torch.equal(one(batch), plain)


def test_frozen_matrices_are_rounded_too_and_odd_calls_go_through() -> None:
    one = network().requires_grad_(False)
    exact = one[0].weight.clone()  # type: ignore[index, union-attr, operator]
    with QuantizationAware().deployed(one):
        assert not torch.equal(one[0].weight, exact)  # type: ignore[index, union-attr, arg-type]
        assert one(torch.randn(0, 6)).shape == (0, 3)
        assert one[0](input=torch.randn(2, 6)).shape == (2, 5)  # type: ignore[index, operator]


def test_what_is_no_compression_is_refused() -> None:
    with pytest.raises(ConfigError, match="pruning is no kd_lightning"):
        Together(pruning={"sparsity": 0.9})  # type: ignore[arg-type]


def test_both_at_once_keep_zeros() -> None:
    one = network()
    both = Together(pruning=MagnitudePruning(0.5, 0.0, 0.0), quantization=QuantizationAware())
    assert isinstance(both, Compression)
    assert not both.is_complete(one, 9, 10)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    both.watch(optimizer, one, 10, lambda: 0)
    for each in one.parameters():
        each.grad = torch.randn_like(each)
    optimizer.step()
    zero = [each == 0 for each in (one[0].weight, one[2].weight)]  # type: ignore[index]
    assert [int(each.sum()) for each in zero] == [15, 8]
    assert both.is_complete(one, 1, 10)
    assert not both.is_complete(one, 0, 10)
    with both.deployed(one):
        for each, was in zip((one[0].weight, one[2].weight), zero, strict=True):  # type: ignore[index]
            assert (each[was] == 0).all()
            assert len(each.unique()) <= 255


def test_it_computes_as_onnxruntime_does_in_8_bits(tmp_path: Path) -> None:
    """And further from the plain network than from that one."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    one, batch = network().eval(), torch.randn(32, 6)
    with torch.no_grad(), quiet():
        program = torch.export.export(one, (batch,))
        made = torch.onnx.export(program, dynamo=True, verbose=False)
        assert made is not None
        made.save(tmp_path / "wide.onnx")
        quantize_dynamic(tmp_path / "wide.onnx", tmp_path / "small.onnx", weight_type=QuantType.QInt8)
        session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
        (answers,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        with QuantizationAware().deployed(one):
            ours = one(batch)
        plain = one(batch)
    away = (torch.from_numpy(answers) - ours).abs().max()
    assert away < 1e-5
    assert (torch.from_numpy(answers) - plain).abs().max() > 100 * away
