"""A frozen teacher stays as it is, whoever calls ``train()``."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import TapError
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.live import LiveTeacher, hash_state

TASK = PositionTask(3, {"accuracy": Accuracy()}, "accuracy", ArrayExample([6]))


def network() -> nn.Module:
    """BatchNorm and dropout: what a teacher in train mode would move, and what would make it answer at random."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))


def batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "inputs": torch.randn(8, 6, generator=generator) * 3 + 1,
        "targets": torch.zeros(8, dtype=torch.int64),
        "index": torch.arange(8),
    }


def bytes_of(net: nn.Module) -> str:
    """Our own digest: values and names of all parameters and buffers, in the order of ``state_dict``."""
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.double().numpy().tobytes())
    return digest.hexdigest()


class Whole(nn.Module):
    """A tree that holds a teacher and a student, as a user might build one."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = network()


def test_forward_passes_move_nothing_even_after_train() -> None:
    net = network().train()
    before = bytes_of(net)
    teacher = LiveTeacher(net, TASK)
    hashed = teacher.content_hash()
    for call in (teacher.train, Whole(teacher).train, lambda: teacher.train(True)):
        call()
        for step in range(3):
            teacher(batch(step))
        assert not any(module.training for module in teacher.modules())
    assert bytes_of(net) == before
    assert teacher.content_hash() == hashed


def test_an_unprotected_network_would_drift() -> None:
    """The positive control: without gradient alone, BatchNorm moves and dropout answers at random."""
    net = network().train().requires_grad_(False)
    before, hashed = bytes_of(net), hash_state(net)
    with torch.no_grad():
        answers = [net(batch()["inputs"]) for _ in range(2)]
    assert not torch.equal(*answers)
    assert bytes_of(net) != before
    assert hash_state(net) != hashed


def test_train_still_reaches_the_rest_of_the_tree() -> None:
    whole = Whole(LiveTeacher(network(), TASK))
    whole.train()
    assert all(module.training for module in whole.student.modules())
    whole.eval()
    assert not any(module.training for module in whole.modules())


def test_answers_are_those_of_the_network_in_eval_mode_every_time() -> None:
    net = network()
    expected = network().eval()(batch()["inputs"])
    teacher = LiveTeacher(net, TASK).train()
    assert torch.equal(teacher(batch()).logits, expected)
    assert torch.equal(teacher(batch()).logits, teacher(batch()).logits)


def test_nothing_has_a_gradient() -> None:
    net = network()
    teacher = LiveTeacher(net, TASK)
    teacher.connect({"hidden": "2"})
    with torch.enable_grad():
        said = teacher(batch() | {"inputs": batch()["inputs"].requires_grad_()})
    for tensor in (said.logits, said.features["hidden"]):
        assert not tensor.requires_grad
        assert tensor.grad_fn is None
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_asking_the_teacher_draws_no_random_number() -> None:
    """Else a student beside a teacher would see other dropout than one alone."""
    teacher = LiveTeacher(network(), TASK)
    state = torch.get_rng_state()
    teacher(batch())
    assert torch.equal(torch.get_rng_state(), state)


def test_features_are_served_by_the_names_that_were_asked_for() -> None:
    teacher = LiveTeacher(network(), TASK)
    assert teacher(batch()).features == {}
    teacher.connect({"hint/hidden": "2", "hint/read": "4:input"})
    said = teacher(batch())
    assert set(said.features) == {"hint/hidden", "hint/read"}
    assert torch.equal(said.features["hint/hidden"], teacher.network[:3](batch()["inputs"]))
    assert torch.equal(teacher.network[4](said.features["hint/read"]), said.logits)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in teacher.modules())


def test_a_tap_that_is_not_there_is_refused_when_connected() -> None:
    with pytest.raises(TapError, match="teacher"):
        LiveTeacher(network(), TASK).connect({"hidden": "9"})


def test_hash_sees_every_parameter_and_buffer_and_nothing_else() -> None:
    same = hash_state(network())
    assert hash_state(network().train()) == hash_state(network().eval().requires_grad_(False)) == same
    for name in network().state_dict():
        net = network()
        net.state_dict()[name].add_(1)
        assert hash_state(net) != same, name
    assert hash_state(network().double()) != same
    assert hash_state(network().to(torch.bfloat16)) != same


def test_hash_sees_buffers_that_are_not_saved() -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("scale", torch.ones(1), persistent=False)
    before = hash_state(net)
    net.get_buffer("scale").add_(1)
    assert hash_state(net) != before
