"""What every loss obeys. Classes and YAML files are found by glob: a new loss is tested when it is there.

A loss that breaks a law by its nature says so in ``EXCUSED``, with the reason beside it.
"""

from __future__ import annotations

import importlib
import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

import kd_lightning.losses
from kd_lightning.config.conf_files import conf_dir
from kd_lightning.losses.base import Loss
from kd_lightning.losses.features.base import FeatureLoss
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence
from kd_lightning.models.taps import tap_network
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.types import Aligned, Outputs
from tests.losses.transformers import INPUTS, MASK, TASK, attached, networks

PROJECTED = {"test_a_student_like_its_teacher_is_at_the_minimum"}
"""A projection is between the two: equal features give no 0 before it is trained."""
DUPLICATED = {"test_rows_given_twice_leave_the_mean_as_it_is"}
"""Relations between samples: two equal ones are a pair like no other. The loss's own test has its own law."""
READS_LABELS = "test_soft_terms_read_neither_targets_nor_labeled_flags"
MINIMUM = "test_a_student_like_its_teacher_is_at_the_minimum"
EXCUSED: dict[str, set[str]] = {
    "crd": PROJECTED | {READS_LABELS},
    **dict.fromkeys(
        ("hint", "ickd", "vid", "overhaul", "activation_boundary", "factor", "review", "tinybert"), PROJECTED
    ),
    **dict.fromkeys(("pkt", "rkd", "similarity", "embedding_similarity"), DUPLICATED),
    # The target is a class of its own; tests/losses/test_labels.py says what holds of these.
    "dkd": {READS_LABELS},
    "wsld": {READS_LABELS},
    # Cross-entropies, which keep the teacher's entropy, and one with the label, which wants more than the teacher.
    "nkd": {READS_LABELS, MINIMUM},
    "taid": {MINIMUM},
    # Made of labels alone.
    "label_smoothing": {READS_LABELS, MINIMUM},
    # Its minimum is at the teacher with its rare classes lifted; the loss's own test looks there.
    "balanced_kd": {MINIMUM},
    # Margins in the teacher's order can always grow.
    "pairwise_ranking": {MINIMUM},
}
"""Name of the YAML -> names of the tests that do not hold for it."""

CONF = conf_dir() / "loss"
NAMES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
DATA = {"vocab_size": 5, "num_classes": 5}
SHAPES = [(6, 5), (3, 4, 5)]
WIDTH = 3
HEADS = 2
PIXELS = (4, 6)
ROWS = 9
"""In the training split; more than any case has."""
CLASS_ROWS = torch.tensor([40, 3, 12, 0, 7])
"""Of the labeled ones in the training split, by class."""
TEMPERATURE = 2.0


def raw(name: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)


def build(name: str, **changes: Any) -> Loss:
    """The loss of ``conf/loss/<name>.yaml`` in float64, with a fixed seed."""
    whole = OmegaConf.create({"data": DATA, "loss": {name: OmegaConf.load(CONF / f"{name}.yaml")}})
    torch.manual_seed(0)
    return hydra.utils.instantiate(whole.loss[name], **changes, _convert_="all").double()


class Case(NamedTuple):
    student: Outputs
    teacher: Outputs
    aligned: Aligned


def feature_shape(loss: Loss, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a tap where the logits are of the given shape: parts of attention layers have positions whatever the task; [..., D],
    or [B, D, H, W] for a loss that takes no feature with as many dimensions as the logits."""
    part, positions = path.partition(":")[2], shape[1] if len(shape) == 3 else 4
    if part in ("scores", "attention"):
        return (shape[0], HEADS, positions, positions)
    if part in ("query", "key", "value"):
        return (shape[0], positions, 8)
    fits = len(shape) in getattr(loss, "dimensions", (len(shape),))
    return (*shape[:-1], WIDTH) if fits else (shape[0], WIDTH, *PIXELS)


def uncounted(tensor: Tensor, mask: Tensor) -> Tensor:
    """Where a logit or feature belongs to nothing that counts, in the tensor's shape."""
    if tensor.shape[2:] == PIXELS:  # by row
        mask = mask.flatten(1).any(dim=1) if mask.dim() > 1 else mask
    if tensor.dim() == 4 and mask.dim() == 2:  # attention: between two positions
        counted = mask[:, None, :, None] & mask[:, None, None, :]
    else:
        counted = mask.reshape(mask.shape + (1,) * (tensor.dim() - mask.dim()))
    return ~counted.expand(tensor.shape)


def case(loss: Loss, shape: tuple[int, ...], scale: float = 2.0) -> Case:
    """Random Outputs [..., C] with features for every tap; the last position of each row does not count, nor, where there
    are pixels, the last row."""
    generator = torch.Generator().manual_seed(1)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64, generator=generator) * scale

    def outputs() -> Outputs:
        features = {name: feature_shape(loss, path, shape) for name, (path, _) in loss.taps.items()}
        return Outputs(random(*shape), {name: random(*size) for name, size in features.items()})

    mask = torch.ones(shape[:-1], dtype=torch.bool)
    mask[..., -1] = False
    if any(feature_shape(loss, path, shape)[2:] == PIXELS for path, _ in loss.taps.values()):
        mask[-1] = False
    targets = torch.randint(shape[-1], shape[:-1], generator=generator)
    return Case(outputs(), outputs(), Aligned(targets, mask, torch.ones_like(mask), torch.arange(shape[0])))


def build_projections(loss: Loss, student: Outputs, teacher: Outputs) -> None:
    """As before a training, from features of the case's shape; always the same ones."""
    torch.manual_seed(0)
    loss.expect_rows(ROWS)
    loss.expect_classes(CLASS_ROWS)
    loss.build(student.features, teacher.features)
    loss.to(torch.float64 if student.logits.dtype == torch.float64 else torch.float32)


def mapped(outputs: Outputs, change: Any) -> Outputs:
    return Outputs(change(outputs.logits), {name: change(tensor) for name, tensor in outputs.features.items()})


def moved_aligned(aligned: Aligned, change: Any) -> Aligned:
    return Aligned(*(change(tensor) for tensor in (aligned.targets, aligned.mask, aligned.labeled, aligned.index)))


def tensors(outputs: Outputs) -> list[Tensor]:
    return [outputs.logits, *outputs.features.values()]


def value_and_gradients(loss: Loss, given: Case, temperature: float = TEMPERATURE) -> tuple[Tensor, list[Tensor]]:
    """The value and its gradient by every tensor of the student (zeros where it does not depend on it)."""
    student = mapped(given.student, lambda tensor: tensor.detach().clone().requires_grad_())
    build_projections(loss, student, given.teacher)
    value = loss(student, given.teacher, given.aligned, temperature)
    assert value.shape == ()
    assert value.requires_grad
    gradients = torch.autograd.grad(value, tensors(student), allow_unused=True, materialize_grads=True)
    return value.detach(), list(gradients)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each loss in turn, but for the tests that it is excused from."""
    if request.function.__name__ in EXCUSED.get(request.param, set()):
        pytest.skip(f"{request.param} is excused, see EXCUSED")
    return request.param


shapes = pytest.mark.parametrize("shape", SHAPES)


def test_known_loss_is_found_and_excuses_are_for_what_exists() -> None:
    assert "kd" in NAMES
    assert "minilm" in ATTENTIVE
    assert set(EXCUSED) <= set(NAMES)
    assert all(law in globals() for laws in EXCUSED.values() for law in laws)


BASES = (Loss, LogitLoss, TemperedDivergence, FeatureLoss)


def test_every_class_has_a_file_of_settings() -> None:
    folder = Path(kd_lightning.losses.__file__).parent
    classes = set()
    for path in folder.rglob("*.py"):
        module = "kd_lightning.losses." + ".".join(path.relative_to(folder).with_suffix("").parts)
        for found in vars(importlib.import_module(module.removesuffix(".__init__"))).values():
            if inspect.isclass(found) and issubclass(found, Loss) and found not in BASES:
                classes.add(f"{found.__module__}.{found.__qualname__}")
    assert "kd_lightning.losses.logits.kd.KD" in classes
    assert classes == {raw(name)["_target_"] for name in NAMES}


def test_file_states_package_purpose_and_every_argument(name: str) -> None:
    lines = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# @package loss.{name}"
    assert lines[1].startswith("# ")
    # Equality, not inclusion: an argument absent from the file could not be overridden without a "+".
    assert set(raw(name)) - {"_target_"} == set(inspect.signature(type(build(name)).__init__).parameters) - {"self"}


@shapes
def test_value_is_finite_not_negative_and_not_weighted(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    value, _ = value_and_gradients(loss, case(loss, shape))
    assert value.isfinite()
    assert value > 0
    heavy = build(name, weight=3.0)
    assert heavy.weight == 3.0
    assert torch.equal(value_and_gradients(heavy, case(loss, shape))[0], value)


@shapes
@pytest.mark.parametrize("garbage", [0.0, 1e4, -1e4])
def test_a_masked_position_changes_nothing(name: str, shape: tuple[int, ...], garbage: float) -> None:
    loss = build(name)
    clean = case(loss, shape)

    def spoil(tensor: Tensor) -> Tensor:
        other = torch.linspace(garbage, 1.0, tensor.shape[-1], dtype=tensor.dtype)
        return torch.where(uncounted(tensor, clean.aligned.mask), other, tensor)

    value, gradients = value_and_gradients(loss, clean)
    for spoilt in (
        clean._replace(student=mapped(clean.student, spoil)),
        clean._replace(teacher=mapped(clean.teacher, spoil)),
    ):
        again, others = value_and_gradients(loss, spoilt)
        torch.testing.assert_close(again, value, rtol=0, atol=1e-12)
        for gradient, other in zip(gradients, others, strict=True):
            torch.testing.assert_close(other, gradient, rtol=0, atol=1e-12)
            assert not other[uncounted(other, clean.aligned.mask)].any()


@shapes
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_a_masked_position_may_be_anything(name: str, shape: tuple[int, ...], garbage: float) -> None:
    loss = build(name)
    clean = case(loss, shape)

    def spoil(tensor: Tensor) -> Tensor:
        return tensor.masked_fill(uncounted(tensor, clean.aligned.mask), garbage)

    value, gradients = value_and_gradients(loss, clean)
    spoilt = clean._replace(student=mapped(clean.student, spoil), teacher=mapped(clean.teacher, spoil))
    for case_, controls in ((clean._replace(student=spoilt.student), 1), (spoilt, 2)):
        assert sum(not all(t.isfinite().all() for t in tensors(side)) for side in case_[:2]) == controls
        again, others = value_and_gradients(loss, case_)
        torch.testing.assert_close(again, value, rtol=0, atol=1e-12)
        torch.testing.assert_close(others, gradients, rtol=0, atol=1e-12)
        assert not any(other[uncounted(other, clean.aligned.mask)].any() for other in others)


@shapes
def test_more_classes_of_the_teacher_are_taken_or_refused(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    given = case(loss, shape)
    value, _ = value_and_gradients(loss, given)
    more = torch.cat([given.teacher.logits, given.teacher.logits[..., :3]], dim=-1)
    wider = given._replace(teacher=Outputs(more, given.teacher.features))
    # Of those on features, simkd needs the teacher's classes for its layer, which is said before training.
    if loss.classwise and not loss.reads_features:
        with pytest.raises(ValueError, match="must match"):
            value_and_gradients(loss, wider)
        return
    again, _ = value_and_gradients(loss, wider)
    assert again.isfinite()
    assert again > 0
    assert torch.equal(again, value) == (
        name != "universal_logit"
    )  # the only one of them that reads the teacher's logits


@shapes
def test_the_mask_is_not_ignored(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    some = case(loss, shape)
    every = some._replace(aligned=replace(some.aligned, mask=torch.ones_like(some.aligned.mask)))
    assert not torch.equal(value_and_gradients(loss, some)[0], value_and_gradients(loss, every)[0])


@shapes
def test_soft_terms_read_neither_targets_nor_labeled_flags(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    given = case(loss, shape)
    none = replace(given.aligned, targets=None, labeled=torch.zeros_like(given.aligned.mask))
    value, gradients = value_and_gradients(loss, given)
    again, others = value_and_gradients(loss, given._replace(aligned=none))
    assert torch.equal(again, value)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


@shapes
def test_nothing_counts_gives_zero_with_zero_gradient(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    given = case(loss, shape)
    nothing = replace(given.aligned, mask=torch.zeros_like(given.aligned.mask))
    value, gradients = value_and_gradients(loss, given._replace(aligned=nothing))
    assert value.item() == 0.0
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("shape", [(0, 5), (0, 4, 5)])
def test_an_empty_batch_gives_zero(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    some = case(loss, (3, *shape[1:]))
    build_projections(loss, some.student, some.teacher)
    before = {key: tensor.clone() for key, tensor in loss.state_dict().items()}
    given = Case(
        mapped(some.student, lambda tensor: tensor[:0].requires_grad_()),
        mapped(some.teacher, lambda tensor: tensor[:0]),
        moved_aligned(some.aligned, lambda tensor: tensor[:0]),
    )
    value = loss(*given, TEMPERATURE)
    assert value.item() == 0.0
    value.backward()
    assert all(not parameter.grad.any() for parameter in loss.parameters() if parameter.grad is not None)
    torch.testing.assert_close(dict(loss.state_dict()), before, rtol=0, atol=0, equal_nan=True)


INFINITE = {"reverse_kl", "jeffreys", "adaptive_kl"}
"""A reverse divergence is infinite where the teacher forbids a class and the student does not."""
NUMBERS = {"logit_mse", "logit_cosine", "regression_mse", "regression_l1", "pairwise_ranking", "binary_kd"}
NUMBERS |= {"embedding_mse", "embedding_cosine"}
"""They read logits as numbers, of which -inf is none."""
FORBIDDING = [name for name in NAMES if issubclass(type(build(name)), LogitLoss) and name not in NUMBERS]


def forbid(given: Case, name: str, logit: float, student: bool = False) -> Case:
    """A class of each position at a logit that forbids it, the target now and then; the student's, too, where asked for."""
    targets = given.aligned.targets
    assert targets is not None
    places = torch.arange(targets.numel()).reshape(targets.shape) % DATA["num_classes"]
    if name == "wsld":  # its weights of a forbidden target are a limit that -10,000 is far from: its own test's
        places = (targets + 1) % DATA["num_classes"]

    def changed(outputs: Outputs) -> Outputs:
        return Outputs(outputs.logits.scatter(-1, places.unsqueeze(-1), logit))

    return given._replace(teacher=changed(given.teacher), student=changed(given.student) if student else given.student)


@shapes
@pytest.mark.parametrize("name", FORBIDDING)
def test_a_class_that_the_teacher_forbids_is_the_limit_of_one_it_holds_ever_less_possible(
    name: str, shape: tuple[int, ...]
) -> None:
    """0 log 0 = 0: a logit of -inf is that of -10,000, whose probability is 0 in float64."""
    given = case(build(name), shape)
    value, gradients = value_and_gradients(build(name), forbid(given, name, -math.inf))
    if name in INFINITE:
        assert value.item() == math.inf
        return
    expected, others = value_and_gradients(build(name), forbid(given, name, -1e4))
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradients, others, rtol=0, atol=1e-9)


@shapes
@pytest.mark.parametrize("name", FORBIDDING)
def test_a_class_that_both_forbid_adds_nothing(name: str, shape: tuple[int, ...]) -> None:
    given = case(build(name), shape)
    value, gradients = value_and_gradients(build(name), forbid(given, name, -math.inf, student=True))
    expected, others = value_and_gradients(build(name), forbid(given, name, -1e4, student=True))
    assert value.isfinite()
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradients, others, rtol=0, atol=1e-9)


@shapes
def test_order_of_the_rows_does_not_matter(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    given = case(loss, shape)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(3))
    moved = Case(
        mapped(given.student, lambda tensor: tensor[order]),
        mapped(given.teacher, lambda tensor: tensor[order]),
        moved_aligned(given.aligned, lambda tensor: tensor[order]),
    )
    value, gradients = value_and_gradients(loss, given)
    again, others = value_and_gradients(loss, moved)
    torch.testing.assert_close(again, value, rtol=0, atol=1e-12)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, gradient[order], rtol=0, atol=1e-12)


@shapes
def test_rows_given_twice_leave_the_mean_as_it_is(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    given = case(loss, shape)

    def twice(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor])

    doubled = Case(
        mapped(given.student, twice),
        mapped(given.teacher, twice),
        moved_aligned(given.aligned, twice),
    )
    value, gradients = value_and_gradients(loss, given)
    again, others = value_and_gradients(loss, doubled)
    torch.testing.assert_close(again, value, rtol=0, atol=1e-12)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(sum(other.chunk(2)), gradient, rtol=0, atol=1e-12)


@shapes
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
def test_a_student_like_its_teacher_is_at_the_minimum(name: str, shape: tuple[int, ...], temperature: float) -> None:
    loss = build(name)
    given = case(loss, shape)
    value, gradients = value_and_gradients(loss, given._replace(student=given.teacher), temperature)
    assert abs(value.item()) < 1e-9
    assert all(gradient.abs().max() < 1e-9 for gradient in gradients)


@shapes
def test_one_step_down_the_gradient_lowers_the_value(name: str, shape: tuple[int, ...]) -> None:
    loss = build(name)
    given = case(loss, shape)
    value, gradients = value_and_gradients(loss, given)
    logits, *features = (t - 1e-3 * g for t, g in zip(tensors(given.student), gradients, strict=True))
    nearer = Outputs(logits, dict(zip(given.student.features, features, strict=True)))
    assert value_and_gradients(loss, given._replace(student=nearer))[0] < value


class Line(nn.Module):
    """A network of one layer, tapped by every loss that taps at all.

    Args:
        shape: Of the feature of one row.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.tapped = nn.Sequential(nn.Linear(4, math.prod(shape)), nn.Unflatten(1, shape)).double()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), DATA["num_classes"])).double()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.tapped(inputs))


def on_attention(loss: Loss) -> bool:
    """It taps parts of attention layers."""
    return any(":" in path and not path.endswith((":input", ":output")) for path, _ in loss.taps.values())


def test_the_teacher_gets_no_gradient(name: str) -> None:
    loss = build(name)
    if on_attention(loss):
        pytest.skip("the next test's")
    network = Line(feature_shape(loss, "", (2, DATA["num_classes"]))[1:])
    task = PositionTask(DATA["num_classes"], {"loss": CrossEntropy()}, "loss", ArrayExample([4]))
    teacher = LiveTeacher(network, task)
    teacher.connect(dict.fromkeys(loss.taps, "tapped"))
    rows = torch.arange(6)
    inputs = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    batch = {"inputs": inputs, "targets": torch.zeros_like(rows), "index": rows}
    said = teacher(batch)
    assert not any(tensor.requires_grad for tensor in tensors(said))
    # Neither equal to the teacher's nor all alike: relations of equal samples have no gradient.
    student = mapped(said, lambda tensor: (tensor.cos() - tensor.roll(1, dims=-1) / 2).requires_grad_())
    build_projections(loss, student, said)
    loss(student, said, task.align(batch, said.logits), TEMPERATURE).backward()
    assert any(tensor.grad is not None and tensor.grad.any() for tensor in tensors(student))
    assert all(parameter.grad is None for parameter in network.parameters())


ATTENTIVE = [name for name in NAMES if on_attention(build(name))]


@pytest.mark.parametrize("name", ATTENTIVE)
@pytest.mark.parametrize("live", [True, False])
def test_the_teacher_of_attention_gets_no_gradient(name: str, live: bool) -> None:
    """A transformer's; one that is not under ``LiveTeacher`` does get one, which is the control."""
    loss = attached(build(name, **({"relation_heads": 2} if "relation_heads" in raw(name) else {})))
    student, network = (networks(role).double() for role in ("student", "teacher"))
    batch = {"inputs": INPUTS, "targets": torch.zeros_like(INPUTS), "index": torch.arange(3), "mask": MASK}
    own, its = ({tap: paths[side] for tap, paths in loss.taps.items()} for side in (0, 1))
    teacher = LiveTeacher(network, TASK)
    teacher.connect(its)
    found = teacher(batch) if live else tapped_outputs(network.requires_grad_(True), its)
    assert any(tensor.requires_grad for tensor in tensors(found)) != live
    loss(tapped_outputs(student, own), found, TASK.align(batch, found.logits), TEMPERATURE).backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in network.parameters()) == live


def tapped_outputs(network: nn.Module, taps: dict[str, str]) -> Outputs:
    with tap_network(network, taps) as features:
        logits = network(INPUTS)
    return Outputs(logits, features)


@shapes
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_are_finite_in_value_and_gradient(
    name: str, shape: tuple[int, ...], temperature: float, dtype: torch.dtype
) -> None:
    loss = build(name).to(torch.float64 if dtype == torch.float64 else torch.float32)
    given = case(loss, shape)

    def extreme(outputs: Outputs) -> Outputs:
        return Outputs(
            (outputs.logits.sign() * 1e4).to(dtype), {key: value.to(dtype) for key, value in outputs.features.items()}
        )

    given = given._replace(student=extreme(given.student), teacher=extreme(given.teacher))
    with torch.autocast("cpu", dtype=dtype, enabled=dtype in (torch.float16, torch.bfloat16)):
        value, gradients = value_and_gradients(loss, given, temperature)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


@shapes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_stays_near_the_float64_value(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    given = case(build(name), shape)
    given = given._replace(
        student=mapped(given.student, lambda tensor: tensor.to(dtype)),
        teacher=mapped(given.teacher, lambda tensor: tensor.to(dtype)),
    )
    exact = given._replace(
        student=mapped(given.student, lambda tensor: tensor.double()),
        teacher=mapped(given.teacher, lambda tensor: tensor.double()),
    )
    expected, gradients = value_and_gradients(build(name), exact)
    with torch.autocast("cpu", dtype=dtype):
        found, others = value_and_gradients(build(name).float(), given)
    near = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=near, atol=near)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other.double(), gradient, rtol=near, atol=near)
