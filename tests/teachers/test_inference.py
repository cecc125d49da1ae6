"""A folded network says what the network said, and is left alone where that cannot be known."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kd_lightning.models.convnet import ConvNet
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers import folding as inference
from kd_lightning.teachers.live import LiveTeacher, hash_state

TASK = PositionTask(5, {"accuracy": Accuracy()}, "accuracy", ArrayExample([1, 8, 8]))
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
BATCH = {"inputs": IMAGES, "targets": torch.zeros(6, dtype=torch.int64), "index": torch.arange(6)}


class Twice(nn.Module):
    """One convolution that two norms read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.other = nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.BatchNorm2d(5)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.one(self.conv(inputs)) + self.other(self.conv(inputs))
        return found.mean((2, 3))


class Branching(Twice):
    """The norm is not the only one to read the convolution."""

    def forward(self, inputs: Tensor) -> Tensor:
        convolved = self.conv(inputs)
        found: Tensor = self.one(convolved) + convolved
        return found.mean((2, 3))


class Attributes(Twice):
    """In no ``Sequential``, and with a view that needs channels first."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.one(self.conv(inputs)).relu().view(-1, 5, 36).mean(-1)


class Named(Twice):
    """The norm's argument has a name."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.one(input=self.conv(inputs)).mean((2, 3))  # type: ignore[no-any-return]


class Deciding(Attributes):
    """What runs depends on the numbers."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if bool(inputs.sum() > 0) else super().forward(-inputs)


class Optional(Twice):
    """What is recorded, where every argument is there, is not what runs."""

    def forward(self, inputs: Tensor, skip: Tensor | None = None) -> Tensor:
        convolved = self.conv(inputs)
        found: Tensor = self.one(convolved) + (convolved if skip is None else skip)
        return found.mean((2, 3))


class Looking(Twice):
    """It looks into its own modules."""

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.one(self.conv(inputs)) * self.one.weight[:, None, None]).mean((2, 3))  # type: ignore[no-any-return]


class Aliased(Twice):
    """Its convolution has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(self.conv, self.one)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs).mean((2, 3))  # type: ignore[no-any-return]


class Counting(Twice):
    """It writes into a buffer whenever it runs."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls.add_(1)
        self.last = self.one(self.conv(inputs)).mean((2, 3))
        return self.last


class Apart(nn.Module):
    """Convolution and norm in containers of their own, which can be tapped."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 5, 3))
        self.post = nn.Sequential(nn.BatchNorm2d(5), nn.ReLU())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.post(self.stem(inputs)).mean((2, 3))  # type: ignore[no-any-return]


def settled(network: nn.Module) -> nn.Module:
    """With statistics, gains and shifts as training leaves them, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            for parameter in module.parameters():
                nn.init.normal_(parameter, generator=generator)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def residual() -> nn.Module:
    torch.manual_seed(0)
    return settled(ConvNet(5, channels=(4, 6), blocks=2, residual=True))


def without_gain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 5, 3, stride=2, padding=1, padding_mode="circular"), nn.BatchNorm2d(5, affine=False)),
        *(nn.ReLU(), nn.Conv2d(5, 10, 3, groups=5, bias=False), nn.BatchNorm2d(10), nn.Flatten(), nn.Linear(40, 5)),
    )


def folded(network: nn.Module, taps: dict[str, str] | None = None, **settings: Any) -> LiveTeacher:
    teacher = LiveTeacher(network, TASK, **settings)
    teacher.connect(taps or {})
    return teacher


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        *((residual, 6, 0), (without_gain, 2, 0), (Attributes, 2, 1), (Apart, 1, 0)),
        *((each, 2, 2) for each in (Twice, Branching, Named, Deciding, Optional, Looking, Aliased)),
    ],
)
def test_norms_go_into_convolutions_that_nothing_else_reads(
    make: Callable[[], nn.Module], before: int, after: int
) -> None:
    network = settled(make()).double()
    teacher = folded(copy.deepcopy(network))
    found = teacher({**BATCH, "inputs": IMAGES.double()}).logits
    assert (norms(network), norms(teacher.network)) == (before, after)
    torch.testing.assert_close(found, network(IMAGES.double()), rtol=1e-12, atol=1e-12)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_it_can_be_left_as_it_was_trained() -> None:
    teacher = folded(residual(), folded=False)
    assert torch.equal(teacher(BATCH).logits, residual()(IMAGES))
    assert norms(teacher.network) == 6


def test_a_fold_that_changes_what_is_said_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(convolution: Any, norm: Any) -> nn.Module:
        found = fuse_conv_bn_eval(convolution, norm)
        found.bias.data += 0.01
        return found

    network = residual()
    monkeypatch.setattr(inference, "fuse_conv_bn_eval", wrong)
    teacher = folded(network)
    assert torch.equal(teacher(BATCH).logits, residual()(IMAGES))
    assert teacher.network is network


TAPS = ["stages.0.0.conv.0", "stages.0.0.conv.1", "stages.0.0.conv.1:input", "stages.0.0.conv:0"]


@pytest.mark.parametrize("tap", TAPS)
def test_what_is_tapped_stays(tap: str) -> None:
    plain, teacher = folded(residual(), {"it": tap}, folded=False), folded(residual(), {"it": tap})
    found = teacher(BATCH).features["it"]
    torch.testing.assert_close(found, plain(BATCH).features["it"])
    assert norms(teacher.network) == 1
    assert found.is_contiguous()


@pytest.mark.parametrize(
    ("make", "tap", "left"),
    [
        *((Apart, tap, 1) for tap in ("stem", "post:input")),
        *((residual, tap, 0) for tap in ("stages.1.0.activation:input", "stages.0.0.shortcut")),
    ],
)
def test_a_tap_around_a_norm_reads_what_it_read(make: Callable[[], nn.Module], tap: str, left: int) -> None:
    network = settled(make())
    one, other = (folded(copy.deepcopy(network), {"it": tap}, folded=fold) for fold in (False, True))
    found, expected = other(BATCH).features["it"], one(BATCH).features["it"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert norms(other.network) == left


def test_a_network_with_hooks_stays_and_no_hook_sees_a_recording() -> None:
    network, seen = residual(), []
    network.get_submodule("stages.0.0.conv.0").register_forward_hook(lambda *_: seen.append(1))
    teacher = folded(network)
    teacher(BATCH)
    assert seen == [1]
    assert norms(teacher.network) == 6


@pytest.mark.parametrize(("make", "last"), [(residual, True), (Attributes, False)])
def test_channels_come_last_where_nothing_looks_at_strides(make: Callable[[], nn.Module], last: bool) -> None:
    teacher = folded(settled(make()))
    teacher(BATCH)  # a view of channels that come last would raise
    convolution = next(module for module in teacher.network.modules() if isinstance(module, nn.Conv2d))
    images = torch.randn(2, 1, 8, 8)
    assert convolution(images).is_contiguous(memory_format=torch.channels_last) is last


def test_the_network_that_was_given_is_left_as_it_was() -> None:
    network = settled(Counting())
    before = copy.deepcopy(network.state_dict())
    teacher = folded(network)
    teacher(BATCH)
    assert norms(teacher.network) == 1
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    assert not hasattr(network, "last"), "copies ran, and were recorded"


def test_the_digest_is_that_of_the_network_as_it_was_given() -> None:
    given = hash_state(residual())
    teacher = folded(residual())
    assert teacher.content_hash() == given
    teacher(BATCH)
    assert hash_state(teacher.network) != given
    assert teacher.content_hash() == given
    next(teacher.network.parameters()).mul_(2)
    assert teacher.content_hash() != given


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_it_is_folded_in_the_precision_in_which_it_runs(dtype: torch.dtype) -> None:
    teacher, network = folded(residual()).to(dtype), residual().to(dtype)
    given = hash_state(network)
    found, expected = teacher({**BATCH, "inputs": IMAGES.to(dtype)}).logits, network(IMAGES.to(dtype))
    assert norms(teacher.network) == 0
    close = 1e-12 if dtype == torch.float64 else 0.05
    torch.testing.assert_close(found, expected, rtol=close, atol=close * float(expected.abs().max()))
    assert teacher.content_hash() == given


def test_under_autocast_it_is_folded_in_float32() -> None:
    teacher = folded(residual())
    with torch.autocast("cpu", torch.bfloat16):
        teacher(BATCH)
    torch.testing.assert_close(teacher(BATCH).logits, residual()(IMAGES), rtol=1e-4, atol=1e-5)
    assert norms(teacher.network) == 0


def test_what_is_compiled_is_the_network_that_runs() -> None:
    teacher = folded(residual())
    (network,) = teacher.networks()
    assert norms(network) == 0
    teacher(BATCH)
    assert teacher.network is network
    assert list(teacher.children()) == [network]
