"""A teacher brought by the user: which files serve, that they give the same teacher, and that none runs code."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kd_lightning.cli.main import main
from kd_lightning.errors import CheckpointCorruptError, KDError
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.models.weights import find_weights, load_brought_weights, load_weights
from kd_lightning.training.callbacks.checkpoints import save_weights
from tests.support.cli import DIGITS, kd, text_words, texts

CONVNET = (*DIGITS, "teacher.model.channels=[4,8]", "teacher.model.blocks=1", "student=mlp_tiny")
"""A small teacher with BatchNorm: its buffers must come along."""


def only_run(outputs: Path, after: set[Path]) -> tuple[Path, dict[str, Any]]:
    """The run folder that is new, and its results."""
    (run,) = set((outputs / "runs").iterdir()) - after
    return run, json.loads((run / "results.json").read_text())


def trained(outputs: Path, *words: str) -> tuple[Path, dict[str, Any]]:
    """Run the job; its folder and results."""
    before = set((outputs / "runs").iterdir()) if (outputs / "runs").is_dir() else set()
    assert main(["run", *words, f"outputs={outputs}"]) == 0
    return only_run(outputs, before)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def origin(outputs: Path) -> tuple[Path, dict[str, Any]]:
    """A finished run with a teacher of its own."""
    return trained(outputs, *CONVNET)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights" / "teacher.safetensors")


def as_safetensors(run: Path, folder: Path) -> Path:
    save_file(weights_of(run), folder / "mine.safetensors")
    return folder / "mine.safetensors"


def as_state_dict(run: Path, folder: Path) -> Path:
    torch.save(weights_of(run), folder / "mine.pt")
    return folder / "mine.pt"


def as_data_parallel(run: Path, folder: Path) -> Path:
    torch.save({f"module.{name}": tensor for name, tensor in weights_of(run).items()}, folder / "mine.pth")
    return folder / "mine.pth"


def as_lightning(run: Path, folder: Path) -> Path:
    state = {f"network.{name}": tensor for name, tensor in weights_of(run).items()}
    state |= {"soft_losses.hint.weight": torch.zeros(2, 2)}
    # Settings in a checkpoint are data: nothing is built from them.
    content = {"state_dict": state, "epoch": 3, "hyper_parameters": {"_target_": "os.system", "command": "touch ran"}}
    torch.save(content, folder / "mine.ckpt")
    return folder / "mine.ckpt"


@pytest.mark.parametrize(
    "form",
    [lambda run, _: run, as_safetensors, as_state_dict, as_data_parallel, as_lightning],
    ids=["run folder", "safetensors", "state dict", "data parallel", "lightning"],
)
def test_each_form_gives_the_same_teacher_without_training(
    form: Callable[[Path, Path], Path],
    origin: tuple[Path, dict[str, Any]],
    outputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, before = origin
    path = form(run, tmp_path)
    again, results = trained(outputs, *CONVNET, f"teacher.checkpoint={path}")
    teacher = results["models"]["teacher"]
    for key in ("val", "test", "metrics", "parameters"):
        assert teacher[key] == before["models"]["teacher"][key]
    assert teacher["steps"] == 0
    assert results["teacher_unchanged"]
    assert results["teacher_hash"] == before["teacher_hash"]
    assert "brought:" in capsys.readouterr().out
    for name, tensor in weights_of(again).items():
        assert torch.equal(tensor, weights_of(run)[name])
    assert not (Path.cwd() / "ran").exists()


def test_control_another_teacher_is_another(origin: tuple[Path, dict[str, Any]], outputs: Path, tmp_path: Path) -> None:
    run, before = origin
    other = {name: torch.zeros_like(tensor) for name, tensor in weights_of(run).items()}
    save_file(other, tmp_path / "other.safetensors")
    _, results = trained(outputs, *CONVNET, f"teacher.checkpoint={tmp_path / 'other.safetensors'}")
    assert results["teacher_hash"] != before["teacher_hash"]
    assert results["models"]["teacher"]["metrics"] != before["models"]["teacher"]["metrics"]


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("teacher.model.channels=[4,9]", ("ClassMismatchError", "is [", "in the file and [", "set teacher.*")),
        ("teacher=mlp", ("ConfigError", "is not a MLP as configured", "choose the teacher=NAME")),
        ("teacher.model.residual=false", ("ConfigError", "is not a ConvNet as configured", "unknown")),
    ],
)
def test_another_network_is_refused(
    word: str,
    parts: tuple[str, ...],
    origin: tuple[Path, dict[str, Any]],
    outputs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = CONVNET if not word.startswith("teacher=") else (*DIGITS, "student=mlp_tiny")
    answer = kd(capsys, "run", *words, word, f"teacher.checkpoint={origin[0]}", f"outputs={outputs}")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    for part in (*parts, f"teacher.checkpoint={origin[0]}"):
        assert part in line


def test_earlier_versions_did_not_say_the_tokenizer_of_texts(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    save_file(network.state_dict(), tmp_path / "teacher.safetensors")
    said = {"tokenizer_sha256": "", "tokenizer": {"max_length": 8, "type_ids": False}}
    for tokenizer, fits in ((said["tokenizer"], True), (None, False)):
        (tmp_path / "teacher.json").write_text(json.dumps({**said, "tokenizer": tokenizer}))
        if fits:
            load_brought_weights(network, tmp_path / "teacher.safetensors", "abc", "teacher.checkpoint")
        else:
            with pytest.raises(KDError, match=r"the tokenizer of these weights \(none\) is not this run's"):
                load_brought_weights(network, tmp_path / "teacher.safetensors", "abc", "teacher.checkpoint")


def test_another_tokenizer_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, before = trained(tmp_path, *text_words(texts(tmp_path / "first")))
    other = texts(tmp_path / "second")
    for path in other.iterdir():
        path.write_text(path.read_text()[::-1], encoding="utf-8")
    words = (*text_words(other), f"teacher.checkpoint={run}", f"outputs={tmp_path}")
    answer = kd(capsys, "run", *words)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    theirs = json.loads((run / "weights" / "teacher.json").read_text())["tokenizer_sha256"]
    for part in (
        "VocabMismatchError",
        f"the tokenizer of these weights ({theirs[:12]})",
        "the data and tokenizer settings",
    ):
        assert part in line
    # The control: the same texts have the same tokenizer.
    _, results = trained(tmp_path, *text_words(tmp_path / "first"), f"teacher.checkpoint={run}")
    # Lightning logs in float32, and that is what a trained teacher's record holds.
    assert results["models"]["teacher"]["val"] == pytest.approx(before["models"]["teacher"]["val"], rel=1e-6)
    assert results["models"]["teacher"]["test"] == before["models"]["teacher"]["test"]


# -- files that run code ----------------------------------------------------------------------------------------------


class Malicious:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def write_malicious(path: Path, mark: Path, state: dict[str, Any]) -> None:
    evil = Malicious(mark)
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({**state, "extra": evil}))
    elif path.stem == "beside":
        torch.save({"state_dict": state, "hyper_parameters": evil}, path)
    elif path.stem == "among":
        torch.save({**state, "extra": evil}, path)
    else:
        torch.save(evil, path)


@pytest.mark.parametrize("name", ["alone.pt", "among.pt", "beside.ckpt", "raw.pkl"])
def test_a_malicious_file_is_refused_and_runs_nothing(
    name: str,
    origin: tuple[Path, dict[str, Any]],
    outputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, mark = tmp_path / name, tmp_path / "ran"
    write_malicious(path, mark, weights_of(origin[0]))
    answer = kd(capsys, "run", *CONVNET, f"teacher.checkpoint={path}", f"outputs={outputs}")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "CheckpointCorruptError" in line
    assert str(path) in line
    assert not mark.exists()
    assert "weights_only" not in line, "nobody is told how to run it"
    assert "pickle" not in line.replace(str(path), "")
    # The control: read as plain torch or pickle would, it does run.
    if name.endswith(".pkl"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert mark.is_dir()


# -- the functions ----------------------------------------------------------------------------------------------------


def test_tied_weights_are_whole_again(tmp_path: Path) -> None:
    sizes = {"vocab_size": 11, "width": 8, "layers": 1, "heads": 2, "max_length": 5, "tie_weights": True}
    torch.manual_seed(0)
    network = TransformerLM(**sizes)
    save_weights(network, tmp_path / "tied.safetensors")
    torch.save(network.state_dict(), tmp_path / "tied.pt")
    assert len(load_file(tmp_path / "tied.safetensors")) == len(network.state_dict()) - 1
    for name in ("tied.safetensors", "tied.pt"):
        again = load_brought_weights(
            TransformerLM(**sizes), tmp_path / name, tokenizer="", setting="teacher.checkpoint"
        )
        inputs = torch.arange(5)[None]
        assert torch.equal(again(inputs), network(inputs))
        assert again.head.weight is again.embedding.weight


def test_weights_that_lie_side_by_side_in_one_memory_are_saved(tmp_path: Path) -> None:
    network = LSTMLM(vocab_size=7, embedding=3, hidden=4, layers=2)
    wanted = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    parameters = list(network.lstm.parameters())
    packed = torch.cat([parameter.detach().flatten() for parameter in parameters])  # as cuDNN packs them
    for parameter, part in zip(parameters, packed.split([p.numel() for p in parameters]), strict=True):
        parameter.data = part.view_as(parameter)
    save_weights(network, tmp_path / "packed.safetensors")
    found = load_weights(LSTMLM(vocab_size=7, embedding=3, hidden=4, layers=2), tmp_path / "packed.safetensors")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.state_dict().items())
    assert len(parameters) == 8


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    torch.save({"weight": torch.full((2, 2), torch.nan), "bias": torch.zeros(2)}, tmp_path / "nan.pt")
    with pytest.raises(CheckpointCorruptError, match="weight holds NaN"):
        load_brought_weights(network, tmp_path / "nan.pt", tokenizer="", setting="teacher.checkpoint")
    assert torch.isfinite(network.weight).all()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"weight": torch.ones(2, 2).to_sparse(), "bias": torch.zeros(2)}, "weight is sparse_coo float32 in the file"),
        ({"weight": torch.ones(2, 2).int(), "bias": torch.zeros(2)}, "weight is strided int32 in the file"),
        ({"weight": torch.ones(2, 2).bool(), "bias": torch.zeros(2)}, "weight is strided bool in the file"),
        ({"weight": torch.ones(2, 2, dtype=torch.complex64), "bias": torch.zeros(2)}, "complex64 in the file"),
        ({"weight": torch.ones(2, 2), "bias": torch.zeros(2), "a\x1b[2J": 3}, r"a\\x1b\[2J is no tensor"),
        ({"weight": torch.ones(2, 2), 7: torch.zeros(2)}, "no tensors by name"),
    ],
)
def test_numbers_of_another_kind_are_not_taken_unseen(state: dict[Any, Any], says: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(CheckpointCorruptError, match=says) as caught:
        load_brought_weights(torch.nn.Linear(2, 2), tmp_path / "odd.pt", tokenizer="", setting="teacher.checkpoint")
    assert "\x1b" not in str(caught.value)


def test_other_precisions_of_fractions_are_taken(tmp_path: Path) -> None:
    torch.save(
        {"weight": torch.full((2, 2), 0.5, dtype=torch.bfloat16), "bias": torch.zeros(2).double()}, tmp_path / "b.pt"
    )
    network = load_brought_weights(torch.nn.Linear(2, 2), tmp_path / "b.pt", tokenizer="", setting="teacher.checkpoint")
    assert network.weight.dtype == torch.float32
    assert torch.equal(network.weight.detach(), torch.full((2, 2), 0.5))


@pytest.mark.parametrize("content", ["[1]", '{"tokenizer_sha256": [1]}', "{", "[" * 100_000, "\udcff"])
def test_a_description_that_is_none_is_said(content: str, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "mine.pt")
    (tmp_path / "mine.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(KDError, match=r"mine\.json"):
        load_brought_weights(torch.nn.Linear(2, 2), tmp_path / "mine.pt", tokenizer="", setting="teacher.checkpoint")


def test_weights_too_large_to_compute_with_are_refused(
    origin: tuple[Path, dict[str, Any]], outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = weights_of(origin[0])
    huge = {name: tensor * 1e35 if name.endswith("weight") else tensor for name, tensor in weights.items()}
    save_file(huge, tmp_path / "huge.safetensors")
    words = (*CONVNET, f"teacher.checkpoint={tmp_path / 'huge.safetensors'}", f"outputs={outputs}")
    answer = kd(capsys, "run", *words)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "its logits of the first validation rows are not finite (its largest weight is " in line


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.pt").write_bytes(b"x")
    assert find_weights("~/mine.pt", "teacher.checkpoint", "teacher") == tmp_path / "mine.pt"
