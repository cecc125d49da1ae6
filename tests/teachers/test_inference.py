"""A folded network says what the network said, and is left alone where that cannot be known."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.models.convnet import ConvNet
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.inference import fold_batch_norms, recorded, takes_channels_last
from kd_lightning.teachers.live import LiveTeacher, state_hash

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


class Deciding(Attributes):
    """What runs depends on the numbers."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if bool(inputs.sum() > 0) else super().forward(-inputs)


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


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [(residual, 6, 0), (without_gain, 2, 0), (Attributes, 2, 1), (Twice, 2, 2), (Branching, 2, 2), (Deciding, 2, 2)],
)
def test_norms_go_into_convolutions_that_nothing_else_reads(
    make: Callable[[], nn.Module], before: int, after: int
) -> None:
    network = settled(make()).double()
    expected = network(IMAGES.double())
    teacher = LiveTeacher(copy.deepcopy(network), TASK)
    teacher.connect({})
    assert (norms(network), norms(teacher.network)) == (before, after)
    found = teacher({**BATCH, "inputs": IMAGES.double()}).logits
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_it_can_be_left_as_it_was_trained() -> None:
    network = residual()
    expected = network(IMAGES)
    teacher = LiveTeacher(network, TASK, folded=False)
    teacher.connect({})
    assert norms(teacher.network) == 6
    assert torch.equal(teacher(BATCH).logits, expected)


@pytest.mark.parametrize("tap", ["stages.0.0.conv.0", "stages.0.0.conv.1", "stages.0.0.conv.1:input"])
def test_what_is_tapped_stays(tap: str) -> None:
    plain, teacher = LiveTeacher(residual(), TASK, folded=False), LiveTeacher(residual(), TASK)
    for each in (plain, teacher):
        each.connect({"it": tap})
    assert norms(teacher.network) == 1
    torch.testing.assert_close(teacher(BATCH).features["it"], plain(BATCH).features["it"])
    assert teacher(BATCH).features["it"].is_contiguous()


def test_a_tap_beyond_a_folded_norm_reads_what_it_read() -> None:
    plain, teacher = LiveTeacher(residual(), TASK, folded=False), LiveTeacher(residual(), TASK)
    for each in (plain, teacher):
        each.connect({"sum": "stages.1.0.activation:input", "norm": "stages.0.0.shortcut"})
    found, expected = teacher(BATCH).features, plain(BATCH).features
    torch.testing.assert_close(found["sum"], expected["sum"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["norm"], expected["norm"], rtol=1e-4, atol=1e-5)


def test_a_convolution_with_a_hook_stays() -> None:
    network, seen = residual(), []
    network.get_submodule("stages.0.0.conv.0").register_forward_hook(lambda *_: seen.append(1))
    graph = recorded(network)
    assert graph is not None
    seen.clear()
    assert fold_batch_norms(network, graph, []) == 5
    network(IMAGES)
    assert seen == [1]


def test_channels_come_last_where_nothing_looks_at_strides() -> None:
    for network, last in ((residual(), True), (settled(Attributes()), False)):
        teacher = LiveTeacher(network, TASK)
        teacher.connect({})
        graph = recorded(network)
        assert graph is not None
        assert takes_channels_last(graph) is last
        convolution = next(module for module in teacher.network.modules() if isinstance(module, nn.Conv2d))
        assert convolution(torch.randn(2, 1, 8, 8)).is_contiguous(memory_format=torch.channels_last) is last
        teacher(BATCH)  # a view of channels that come last would raise


def test_recording_leaves_nothing_behind() -> None:
    class Keeping(Attributes):
        def forward(self, inputs: Tensor) -> Tensor:
            self.last = super().forward(inputs)
            return self.last

    network = settled(Keeping())
    assert recorded(network) is not None
    assert not hasattr(network, "last")
    assert recorded(nn.Linear(2, 2)) is None


def test_the_digest_is_that_of_the_network_as_it_was_given() -> None:
    network = residual()
    given = state_hash(network)
    teacher = LiveTeacher(network, TASK)
    teacher.connect({})
    assert state_hash(teacher.network) != given
    assert teacher.content_hash() == given
    next(teacher.network.parameters()).mul_(2)
    assert teacher.content_hash() != given
