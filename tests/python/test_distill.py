"""``kd.distill``: the numbers of a run and of a naive loop, and networks that stay as they were."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import kd_lightning as kd
from kd_lightning.data.samplers import TrainingBatches
from kd_lightning.errors import NonFiniteLossError
from kd_lightning.experiment.collect_results import results_of
from kd_lightning.experiment.settings import STUDENT
from kd_lightning.losses.features.hint import Hint
from kd_lightning.losses.logits.kd import KD
from kd_lightning.python.caller_state import keep_caller_state
from kd_lightning.python.distilled import ON_VAL, OTHER_ROWS, Distilled
from kd_lightning.teachers.live import hash_state
from kd_lightning.training.schedules import Constant, Linear
from tests.support.parts import CLASSES, FEATURES, TinyNet
from tests.support.tiny import entries, experiment

Pairs = list[tuple[Tensor, Tensor]]
QUIET = {"progress": False, "accelerator": "cpu"}


def make_rows(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % CLASSES
    return torch.randn(count, FEATURES, generator=generator) + torch.eye(CLASSES, FEATURES)[targets], targets


def cut(inputs: Tensor, targets: Tensor, size: int = 8) -> Pairs:
    """Batches, each in memory of its own: where a matrix begins there changes the last digits of its products."""
    return [(a.clone(), b.clone()) for a, b in zip(inputs.split(size), targets.split(size), strict=True)]


TRAIN, VAL = cut(*make_rows(40)), cut(*make_rows(21, seed=1))


def build(seed: int, width: int = 5, **more: Any) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNet(width, **more)


def distill(teacher: nn.Module | None = None, student: nn.Module | None = None, **given: Any) -> Distilled:
    """A distillation of two steps, but for what is given."""
    networks = (teacher or build(1, width=9), student or build(2))
    return kd.distill(*networks, **{"train": TRAIN, "val": VAL, "steps": 2, **QUIET, **given})


# -- the numbers ------------------------------------------------------------------------------------------------------


def test_it_finds_what_a_run_finds(tmp_path: Path) -> None:
    """The same networks, rows in the same order, losses, seeds: the same bits."""
    run = experiment(tmp_path, student__pretrain_steps=0)
    found = run.run()
    expected = results_of(run, found, "")
    prepared, settings = run.builder.dataset.prepared, run.context.settings
    order = TrainingBatches(torch.arange(40), batch_size=8, steps=10, seed=0)
    table = prepared.splits["train"]
    splits = {split: prepared.splits[split] for split in ("val", "test")}
    evaluated = {split: cut(rows["inputs"], rows["targets"]) for split, rows in splits.items()}
    result = kd.distill(
        run.parts.trained(run.stage("teacher")),
        run.builder.network(STUDENT),
        [(table["inputs"][rows], table["targets"][rows]) for rows in order],
        evaluated["val"],
        test=evaluated["test"],
        steps=10,
        temperature=settings["temperature"],
        alpha=settings["alpha"],
        lr=0.01,
        optimizer=partial(torch.optim.AdamW, fused=True),
        monitor="cross_entropy",
        validate_every=4,
        gradient_clip=None,
        **QUIET,
    )
    for name in ("teacher", "baseline", "distilled"):
        model = result.results["models"][name]
        assert result.metrics[name] == expected["models"][name]["metrics"]
        for key in ("predictions", "parameters", *(() if name == "teacher" else ("val", "best_step", "steps"))):
            assert model[key] == expected["models"][name][key], (name, key)
    for key in ("interval", "gap_interval", "gain_over_baseline", "gap_closed", "metric", "mode"):
        assert result.results[key] == expected[key]
    logged = (entries(run)["distill"].path("metrics.csv")).read_text().splitlines()[1:]
    soft = {int(step): float(value) for step, split, name, value in (x.split(",") for x in logged) if name == "kd"}
    assert {int(row["step"]): row["kd"] for row in result.history["distilled"] if "kd" in row} == soft
    start = result.verdict.partition(" This is one seed")[0]
    assert start == expected["verdict"].partition(" This is one seed")[0].replace(
        "give the teacher more steps (teacher.steps) or a larger network (teacher=NAME)",
        "train it longer, or take a larger one",
    )
    assert "-m" not in result.verdict


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_it_trains_as_a_naive_loop_does(alpha: float) -> None:
    teacher, student = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)
    result = distill(
        teacher,
        student,
        steps=7,  # more than there are batches: the loader is read again
        temperature=3.0,
        alpha=alpha,
        lr=0.2,
        optimizer=torch.optim.SGD,
        scheduler=Constant(),
        gradient_clip=None,
        validate_every=7,
    )
    for network, share in ((result.student, alpha), (result.baseline, 0.0)):
        assert network is not None
        naive = copy.deepcopy(student)
        for inputs, targets in (TRAIN + TRAIN)[:7]:
            logits, soft = naive(inputs) / 3.0, (teacher(inputs).detach() / 3.0).softmax(dim=1)
            divergence = (soft * (soft.log() - logits.log_softmax(dim=1))).sum(dim=1).mean()
            loss = (1 - share) * F.cross_entropy(logits * 3.0, targets) + share * 9.0 * divergence
            gradients = torch.autograd.grad(loss, list(naive.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(naive.parameters(), gradients, strict=True):
                    parameter -= 0.2 * gradient
        for name, parameter in network.named_parameters():
            assert torch.allclose(parameter, dict(naive.named_parameters())[name], atol=1e-6), name
        accuracy = torch.cat([network(inputs).argmax(dim=1) == targets for inputs, targets in VAL]).float().mean()
        model = "distilled" if network is result.student else "baseline"
        assert result.metrics[model]["accuracy"] == pytest.approx(float(accuracy))


def test_the_weights_are_those_that_were_best_on_val() -> None:
    result = distill(steps=12, validate_every=1, lr=0.3, monitor="cross_entropy")
    curve = {int(row["step"]): row["val_cross_entropy"] for row in result.history["distilled"]}
    best = result.results["models"]["distilled"]
    assert curve[best["best_step"]] == min(curve.values()) == best["val"]
    assert best["best_step"] < 12  # the control: the last weights would not do
    with torch.no_grad():
        losses = [float(F.cross_entropy(result.student(inputs), targets, reduction="sum")) for inputs, targets in VAL]
    assert sum(losses) / 21 == pytest.approx(best["val"], rel=1e-5)


def test_positions_with_targets_below_zero_do_not_count() -> None:
    """Tokens: targets [B, T], of which some are padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(11, (16, 4), generator=generator)
    targets = torch.where(torch.rand(16, 4, generator=generator) < 0.4, -100, ids % CLASSES)
    teacher, student = (nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, CLASSES)) for _ in range(2))
    result = distill(teacher, student, train=cut(ids, targets), val=cut(ids, targets), alpha=0.0)
    counted = targets != -100
    expected = F.cross_entropy(result.student(ids)[counted], targets[counted]).detach()
    assert result.metrics["distilled"]["cross_entropy"] == pytest.approx(float(expected), rel=1e-5)
    assert result.results["models"]["distilled"]["predictions"]["positions"] == int(counted.sum())


# -- what stays as it was ---------------------------------------------------------------------------------------------


def look_at(network: nn.Module) -> list[Any]:
    modes = [module.training for module in network.modules()]
    return [hash_state(network), modes, [each.requires_grad for each in network.parameters()]]


@pytest.mark.parametrize("lr", [0.01, 1e30], ids=["done", "diverged"])
def test_networks_and_seeds_stay_as_they_were(lr: float) -> None:
    teacher, student = build(1, width=9), build(2).eval()
    teacher.norm.eval()
    teacher.last.bias.requires_grad_(False)
    student.first.weight.requires_grad_(False)
    before = look_at(teacher), look_at(student), torch.get_rng_state().tolist(), random.getstate()
    if lr < 1:
        result = distill(teacher, student, lr=lr)
        assert result.teacher_unchanged
        assert not any(module.training for module in result.student.modules())
        assert torch.equal(result.student.get_parameter("first.weight"), student.first.weight)
        assert not torch.equal(result.student.get_parameter("last.weight"), student.last.weight)
        assert not torch.equal(result.student.get_buffer("norm.running_mean"), student.norm.running_mean)
    else:
        with pytest.raises(NonFiniteLossError, match=r"lower lr, or set gradient_clip=1$"):
            distill(teacher, student, lr=lr, steps=4, gradient_clip=None, optimizer=torch.optim.SGD)
    assert (look_at(teacher), look_at(student), torch.get_rng_state().tolist(), random.getstate()) == before


def test_a_student_may_share_parameters_with_its_teacher() -> None:
    teacher = build(1)
    student = nn.Sequential(teacher.first, nn.ReLU(), nn.Linear(5, CLASSES))
    before = hash_state(teacher)
    result = distill(teacher, student)
    assert hash_state(teacher) == before
    assert not torch.equal(result.student.get_parameter("0.weight"), teacher.first.weight)


def test_a_call_gives_the_same_whenever_it_is_made() -> None:
    first, _ = distill(steps=4), torch.rand(3)
    second, other = distill(steps=4), distill(steps=4, seed=1)
    assert first.results["models"]["distilled"]["metrics"] == second.results["models"]["distilled"]["metrics"]
    assert hash_state(first.student) == hash_state(second.student) != hash_state(other.student)


def test_mixed_precision_of_the_callers_does_not_count() -> None:
    with torch.autocast("cpu"):
        inside = distill()
        assert torch.is_autocast_enabled("cpu")
    assert hash_state(inside.student) == hash_state(distill().student)


def test_seeds_of_gpus_that_are_not_in_use_yet_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    begun: list[bool] = []
    fake = {"is_available": lambda: True, "is_initialized": lambda: bool(begun), "device_count": lambda: 2}
    for name, answer in {**fake, "init": lambda: begun.append(True)}.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: kept.append(list(devices)) or nullcontext())
    with keep_caller_state():
        assert kept == [[0, 1]]


# -- the rows ---------------------------------------------------------------------------------------------------------


class Augmented(TensorDataset):
    """Rows to which noise of all kinds is added."""

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        inputs, target = super().__getitem__(row)
        noise = torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002
        return inputs + noise.float(), target


class Watching(nn.Linear):
    """Keeps what it is trained on."""

    seen: list[Tensor]

    def __init__(self) -> None:
        super().__init__(FEATURES, CLASSES)
        Watching.seen = []

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            Watching.seen.append(inputs.detach().clone())
            F.dropout(inputs)  # the two trainings draw different numbers
        return super().forward(inputs)


@pytest.mark.parametrize("own_generator", [False, True])
def test_both_students_see_the_same_batches(own_generator: bool) -> None:
    generator = torch.Generator().manual_seed(7) if own_generator else None
    loader = DataLoader(Augmented(*make_rows(40)), batch_size=16, shuffle=True, generator=generator)
    result = distill(None, Watching(), train=loader, steps=7)
    alone, taught = Watching.seen[:7], Watching.seen[7:]
    assert len(taught) == 7
    assert all(map(torch.equal, alone, taught))
    assert not torch.equal(alone[0], alone[3]), "another order each time the loader is read"
    assert OTHER_ROWS not in result.verdict


def test_a_generator_of_two_loaders_goes_on_and_is_left_as_it_was() -> None:
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    train = DataLoader(TensorDataset(*make_rows(40)), batch_size=16, shuffle=True, generator=generator)
    val = DataLoader(TensorDataset(*make_rows(21, seed=1)), batch_size=8, generator=generator)
    result = distill(None, Watching(), train=train, val=val, steps=9, validate_every=1)
    assert all(map(torch.equal, Watching.seen[:9], Watching.seen[9:]))
    first = [Watching.seen[step] for step in (0, 3, 6)]
    assert not any(torch.equal(first[a], first[b]) for a, b in ((0, 1), (1, 2), (0, 2)))
    assert torch.equal(generator.get_state(), before)
    assert OTHER_ROWS not in result.verdict


def test_workers_that_stay_give_the_same_batches() -> None:
    rows = TensorDataset(*make_rows(40))
    loader = DataLoader(rows, batch_size=16, shuffle=True, num_workers=1, persistent_workers=True)
    result = distill(None, Watching(), train=loader, steps=4)
    assert all(map(torch.equal, Watching.seen[:4], Watching.seen[4:]))
    assert OTHER_ROWS not in result.verdict


class OwnDraws:
    """Batches in an order that nobody can repeat."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.draw = np.random.default_rng(0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([self.pairs[number] for number in self.draw.permutation(len(self.pairs))])


def test_batches_that_cannot_be_repeated_are_told() -> None:
    assert OTHER_ROWS in distill(train=OwnDraws(TRAIN), steps=5).verdict
    with pytest.raises(kd.KDError, match="val gives other rows, or in another order, than before"):
        distill(val=OwnDraws(VAL), steps=5)


def test_without_test_the_verdict_says_where_it_was_measured() -> None:
    assert distill().verdict.startswith(ON_VAL)
    result = distill(test=TRAIN)
    assert ON_VAL not in result.verdict
    assert result.results["models"]["distilled"]["predictions"]["positions"] == 40


def test_without_a_baseline_nothing_is_said_of_the_teacher() -> None:
    result = distill(baseline=False)
    assert result.baseline is None
    assert list(result.metrics) == ["teacher", "distilled"]
    assert "what the teacher is worth, only baseline=True shows" in result.verdict
    pytest.importorskip("pandas")
    assert list(result.frame().index) == ["teacher", "distilled"]


# -- losses -----------------------------------------------------------------------------------------------------------


def test_losses_by_name_and_of_ones_own() -> None:
    hint = Hint(match=[{"student": "first", "teacher": "first"}])
    result = distill(loss=["kd", "dkd", "balanced_kd", hint], temperature=Linear(4.0, 1.0))
    assert {"kd", "dkd", "balanced_kd", "hint", "hard", "temperature"} <= set(result.history["distilled"][0])
    assert list(hint.parameters()) == []  # projections belong to a copy
    assert hash_state(distill(loss=KD()).student) == hash_state(distill(loss="kd").student)


def test_a_wider_teacher_where_the_loss_does_not_mind() -> None:
    assert distill(build(1, classes=4), loss="universal_logit").teacher_unchanged


# -- bad input --------------------------------------------------------------------------------------------------------

SAME = build(1)
ONCE = iter(TRAIN)
BAD = {
    "widths": (
        {"teacher": build(1, classes=4)},
        "the teacher's logits have 4 classes, the student's 3: loss kd compares",
    ),
    "narrow teacher": ({"teacher": build(1, classes=2)}, "the teacher's logits have 2 classes, the student's 3"),
    "same": ({"teacher": SAME, "student": SAME}, "student and teacher are the same network"),
    "lazy": ({"student": nn.LazyLinear(3)}, "the student's weight has no size yet: run the student once on a batch"),
    "frozen": ({"student": build(1).requires_grad_(False)}, "no parameter that asks for a gradient"),
    "no module": (
        {"student": torch.relu},
        "student is of type builtin_function_or_method: a torch.nn.Module is expected",
    ),
    "shape": ({"student": nn.Linear(5, 3)}, r"the student \(Linear\) cannot read inputs \(2, 6\)"),
    "a tuple": ({"teacher": nn.LSTM(6, 3)}, r"the teacher \(LSTM\) returns tuple: a tensor of logits is expected"),
    "positions": (
        {"train": [(torch.rand(4, 6), torch.zeros(4, 2).long())]},
        r"makes logits \(2, 3\) for targets \(2, 2\)",
    ),
    "dict": ({"train": [{"x": 1}]}, r"train, batch 0: a dict: two tensors, \(inputs, targets\), are expected"),
    "three": ({"train": [(torch.rand(4, 6),) * 3]}, "train, batch 0: a tuple of Tensor, Tensor, Tensor: two tensors"),
    "numbers": ({"val": [(torch.rand(4, 6), 3)]}, "val, batch 0: a tuple of Tensor, int: two tensors"),
    "lengths": ({"train": [(torch.rand(4, 6), torch.zeros(3).long())]}, "a target for each row is expected"),
    "soft": ({"train": [(torch.rand(4, 6), torch.rand(4))]}, "targets are torch.float32: class numbers are integers"),
    "class": (
        {"val": [(torch.rand(4, 6), torch.full((4,), 3))]},
        "val, batch 0: target 3, and the student has 3 classes",
    ),
    "below 0": (
        {"train": [(torch.rand(4, 6), torch.full((4,), -1))]},
        "train, batch 0: target -1, class numbers are from 0 up",
    ),
    "class of a loss that counts": (
        {"train": [*TRAIN, (torch.rand(4, 6), torch.full((4,), 3))], "loss": "balanced_kd"},
        "train, batch 5: target 3, and the student has 3 classes",
    ),
    "no target": (
        {"val": [(torch.rand(4, 6), torch.full((4,), -100))]},
        "val: all targets are -100: one at least has to count",
    ),
    "no test target": (
        {"test": [(torch.rand(4, 6), torch.full((4,), -100))]},
        "test: all targets are -100: one at least has to count",
    ),
    "empty": ({"train": []}, "train gives no batch: one at least is needed"),
    "empty val": ({"val": []}, "val gives no batch"),
    "once": ({"train": ONCE}, "train can be read only once: pass a DataLoader or a list, not an iterator"),
    "dataset": (
        {"test": TensorDataset(*make_rows(4))},
        "test is of type TensorDataset: a DataLoader or a list is expected",
    ),
    "loss": ({"loss": "kdd"}, "loss 'kdd': no such choice; did you mean 'kd'"),
    "no loss": ({"loss": []}, "loss is empty"),
    "a function": ({"loss": [F.mse_loss]}, "loss is of type function: a name"),
    "twice": ({"loss": ["kd", KD()]}, "loss kd is given twice"),
    "taps": ({"loss": "hint"}, "tap 'head:input': the student has no module 'head'; nearest:"),
    "memory": ({"loss": "crd"}, "loss crd remembers rows by their numbers, which loaders do not give: use kd.run"),
    "steps": ({"steps": 0}, "steps=0: a whole number, 1 or more, is expected"),
    "temperature": ({"temperature": 0}, "temperature=0: a number > 0 is expected"),
    "alpha": ({"alpha": 1.5}, r"alpha=1.5: a number in \[0, 1\] is expected"),
    "curve": ({"temperature": Linear(4.0, 0.0)}, "^temperature is 0 after 100% of the stage"),
    "lr": ({"lr": -1.0}, "lr=-1.0: a number > 0 is expected"),
    "lr in words": ({"lr": "0.1"}, "lr='0.1': a number > 0 is expected"),
    "no loss at all": ({"loss": None}, "loss is of type NoneType: a name"),
    "optimizer": ({"optimizer": "adam"}, "optimizer is 'adam': what is called with parameters and lr"),
    "built": ({"optimizer": torch.optim.SGD(SAME.parameters())}, "optimizer is of type SGD: what is called with"),
    "scheduler": ({"scheduler": "cosine"}, "scheduler is 'cosine': a function of the progress in"),
    "accelerator": ({"accelerator": "tpux"}, "accelerator='tpux': .*tpux"),
    "monitor": ({"monitor": "acuracy"}, "monitor='acuracy': one of accuracy, cross_entropy is expected; did you mean"),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_costs_a_line() -> None:
    with pytest.raises(kd.KDError, match=r"^accelerator='gpu': "):
        distill(accelerator="gpu")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_costs_a_line(case: str) -> None:
    given, said = BAD[case]
    with pytest.raises(kd.KDError, match=said) as caught:
        distill(**given)
    assert "\n" not in str(caught.value)


def test_an_unknown_argument_is_pythons_to_refuse() -> None:
    with pytest.raises(TypeError, match="temprature"):
        distill(temprature=2)


def test_a_loss_file_of_the_users_goes_through_the_allowlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "mine.yaml").write_text("_target_: os.getcwd\n")
    with pytest.raises(kd.KDError, match="not on the allowlist"):
        distill(loss="mine")
    (tmp_path / "conf" / "loss" / "mine.yaml").write_text("_target_: kd_lightning.losses.logits.kd.KD\nwieght: 2\n")
    with pytest.raises(kd.KDError, match=r"loss.mine.wieght: .* did you mean 'weight'"):
        distill(loss="mine")
