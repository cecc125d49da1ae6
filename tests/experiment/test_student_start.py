"""A student that begins with somebody's weights: whose, which layers, what its key depends on, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kd_lightning.config.instantiate import build_node
from kd_lightning.config.settings_checks import check_settings
from kd_lightning.errors import CheckpointCorruptError, ClassMismatchError, ConfigError, VocabMismatchError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.models.narrowing import narrow_state
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.models.weights import load_brought_weights, select_layers
from kd_lightning.training.fit import WEIGHTS
from tests.support.cli import settings_of
from tests.support.hub import make_hub_folder, write_reviews
from tests.support.tiny import SilentBoard, entries, experiment

SAME = {"student__model__width": 9}
"""The student has the teacher's shape."""
KEYED = ("baseline", "pretrain", "distill")


def begun(one: Experiment, name: str) -> dict[str, torch.Tensor]:
    """The student's weights before the first step of a stage."""
    stage = one.stage(name)
    assert isinstance(stage, TrainedStage)
    return stage.module().network.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def keys(outputs: Path, **changes: Any) -> list[str]:
    one = experiment(outputs, **changes)
    return [one.stage(name).key for name in KEYED]


def test_student_alone_and_distilled_begin_as_the_trained_teacher(tmp_path: Path) -> None:
    one = experiment(tmp_path, student__init="teacher", **SAME)
    one.run()
    teacher = load_file(entries(one)["teacher"].path(WEIGHTS))
    assert equal(begun(one, "baseline"), teacher)
    assert equal(begun(one, "pretrain"), teacher)
    assert equal(begun(one, "distill"), load_file(entries(one)["pretrain"].path(WEIGHTS)))
    assert not equal(begun(experiment(tmp_path, **SAME), "baseline"), teacher)


def test_without_pre_training_distillation_begins_there(tmp_path: Path) -> None:
    one = experiment(tmp_path, student__init="teacher", student__pretrain_steps=0, **SAME)
    one.run()
    assert equal(begun(one, "distill"), load_file(entries(one)["teacher"].path(WEIGHTS)))


def test_a_run_folder_is_its_distilled_student_and_a_file_is_itself(tmp_path: Path) -> None:
    first = experiment(tmp_path / "first")
    first.run()
    weights = tmp_path / "run" / "weights" / "distilled.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(entries(first)["distill"].path(WEIGHTS).read_bytes())
    for init in (tmp_path / "run", weights):
        assert equal(begun(experiment(tmp_path / "next", student__init=str(init)), "baseline"), load_file(weights))


def test_keys_hold_whose_weights_they_are_and_not_where_they_lie(tmp_path: Path) -> None:
    torch.manual_seed(0)
    states = [{"first.weight": torch.randn(3)} for _ in range(2)]
    for name, state in (("a", states[0]), ("copy", states[0]), ("b", states[1])):
        save_file(state, tmp_path / f"{name}.safetensors")
    a, copy, b = (keys(tmp_path, student__init=str(tmp_path / f"{name}.safetensors")) for name in ("a", "copy", "b"))
    plain, teacher = keys(tmp_path, **SAME), keys(tmp_path, student__init="teacher", **SAME)
    assert a == copy
    assert not set(a) & set(b)
    assert not set(plain) & set(teacher)
    other = {"teacher__seed": 5, **SAME}
    assert keys(tmp_path, **other)[0] == plain[0], "at random, the student alone needs no teacher"
    assert keys(tmp_path, student__init="teacher", **other)[0] != teacher[0]


@pytest.mark.parametrize("layers", [[0, 2], [3, 1], [1]])
def test_layers_that_are_left_out_are_as_if_they_had_been_taken_away(tmp_path: Path, layers: list[int]) -> None:
    sizes: dict[str, Any] = {"vocab_size": 20, "width": 8, "heads": 2, "max_length": 6, "tie_weights": False}
    torch.manual_seed(1)
    whole = TransformerLM(**sizes, layers=4).eval()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    torch.manual_seed(2)
    small = TransformerLM(**sizes, layers=len(layers)).eval()
    load_brought_weights(small, tmp_path / "whole.safetensors", "", "student.init", layers)
    (stack,) = [name for name, each in whole.named_children() if isinstance(each, nn.ModuleList)]
    setattr(whole, stack, nn.ModuleList(getattr(whole, stack)[layer] for layer in layers))
    tokens = torch.arange(12).reshape(2, 6)
    assert torch.equal(small(tokens), whole(tokens))


@pytest.mark.parametrize(
    ("state", "error", "why"),
    [
        (
            {"first.weight": torch.zeros(5, 4)},
            ConfigError,
            "student.init=.* tensors are missing.*choose the student=NAME",
        ),
        (None, CheckpointCorruptError, "student.init=.* is not there"),
    ],
)
def test_weights_of_another_network_are_refused_before_anything_is_trained(
    tmp_path: Path, state: dict[str, torch.Tensor] | None, error: type[Exception], why: str
) -> None:
    if state:
        save_file(state, tmp_path / "mine.safetensors")
    with pytest.raises(error, match=why):
        experiment(tmp_path, student__init=str(tmp_path / "mine.safetensors")).run()
    assert not list(tmp_path.glob("store/teacher/*/result.json"))


def test_a_teacher_of_another_width_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(
        ClassMismatchError, match=r"student.init=teacher: .* is \[9, .* and \[5, .* in the configured student"
    ):
        experiment(tmp_path, student__init="teacher").run()
    assert not list(tmp_path.glob("store/teacher/*/result.json"))


@pytest.mark.parametrize(
    ("student", "why"),
    [
        ({"init": 3}, "student.init=3: teacher, a weights file or a run folder"),
        ({"init": " "}, "student.init is empty"),
        ({"init_layers": [0]}, r"student.init_layers=\[0\] without student.init"),
        ({"init": "teacher", "init_layers": 2}, "student.init_layers=2: numbers of layers"),
        ({"init": "teacher", "init_layers": [-1]}, r"student.init_layers=\[-1\]: numbers of layers"),
        ({"init": "teacher", "init_layers": []}, r"student.init_layers=\[\]: numbers of layers"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, student: dict[str, Any], why: str) -> None:
    one = settings_of("experiment=digits")
    one["student"] |= student
    with pytest.raises(ConfigError, match=why):
        check_settings(one)


@pytest.mark.parametrize(
    ("layers", "why"), [([0, 7], r"init_layers=\[0, 7\]: numbers of layers, 0 to 1,"), ([0], "tensors are missing")]
)
def test_layers_that_are_not_there_are_named(tmp_path: Path, layers: list[int], why: str) -> None:
    network = TransformerLM(vocab_size=20, width=8, heads=2, max_length=6, layers=2, tie_weights=False)
    save_file(network.state_dict(), tmp_path / "whole.safetensors")
    with pytest.raises(ConfigError, match=why):
        load_brought_weights(network, tmp_path / "whole.safetensors", "", "student.init", layers)


def test_a_network_without_layers_is_told_so(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match="no numbered layers"):
        load_brought_weights(nn.Linear(2, 2), tmp_path / "mine.safetensors", "", "student.init", [0])


def test_a_student_of_a_fine_tuned_teachers_own_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "reviews.csv", 60)
    make_hub_folder(tmp_path / "model", layers=3)
    words = [
        "experiment=texts",
        "data.path=reviews.csv",
        "teacher=hf",
        "student=hf",
        "teacher.steps=2",
        "student.steps=4",
    ]
    words += [f"{role}.model.path=model" for role in ("teacher", "student")]
    words += [
        "student.pretrain_steps=0",
        "student.model.layers=[0,1]",
        "student.init=teacher",
        "student.init_layers=[0,2]",
    ]
    one = Experiment(settings_of(*words, f"outputs={tmp_path}", "folder=x"), build_node, [], SilentBoard())
    one.run()
    teacher, start = load_file(entries(one)["teacher"].path(WEIGHTS)), begun(one, "distill")
    for name, tensor in start.items():
        assert torch.equal(tensor, teacher[name.replace("layer.1.", "layer.2.")])


def test_a_student_of_other_tokens_cannot_begin_as_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "reviews.csv", 60)
    words = ["experiment=texts", "data.path=reviews.csv", "student=text_transformer", "student.init=teacher"]
    words += ["student.model.tokenizer.max_length=16", "student.model.vocab_size=260", "teacher.model.vocab_size=300"]
    one = Experiment(settings_of(*words, f"outputs={tmp_path}", "folder=x"), build_node, [], SilentBoard())
    with pytest.raises(VocabMismatchError, match="teacher and student read other tokens"):
        one.run()


def test_a_narrower_student_of_the_same_kind_begins_with_what_fits_of_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_reviews(tmp_path / "reviews.csv", 60)
    words = ["experiment=texts", "data.path=reviews.csv", "teacher=text_transformer", "student=text_transformer"]
    words += ["teacher.steps=2", "student.steps=2", "student.pretrain_steps=0", "student.init=teacher"]
    shared = {"vocab_size": 260, "tokenizer.max_length": 16, "max_length": 16, "heads": 2}
    words += [f"{role}.model.{name}={value}" for role in ("teacher", "student") for name, value in shared.items()]
    words += [
        "teacher.model.width=16",
        "student.model.width=8",
        "teacher.model.mlp_width=20",
        "student.model.mlp_width=10",
    ]
    words += ["student.model.layers=1", "student.init_layers=[1]", f"outputs={tmp_path}", "folder=x"]
    one = Experiment(settings_of(*words), build_node, [], SilentBoard())
    one.run()
    wide, narrow = one.builder.network("teacher"), one.builder.network("student")
    state = select_layers(load_file(entries(one)["teacher"].path(WEIGHTS)), [1])
    expected = narrow_state(state, narrow, wide)
    assert equal(begun(one, "baseline"), expected)
    assert equal(begun(one, "distill"), expected)
    assert expected["embedding.weight"].shape == (260, 8)
