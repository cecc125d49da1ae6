"""``kd.run`` is ``kd run``, and leaves the caller's program as it was."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import kd_lightning as kd
from kd_lightning.cli.main import main
from kd_lightning.errors import ConfigError, MissingExtraError, UntrustedTargetError
from kd_lightning.process.stopping import Terminated
from kd_lightning.training.callbacks.checkpoints import Checkpoints
from tests.python.program import watch_own_state
from tests.support.cli import DIGITS
from tests.support.cli import kd as command
from tests.support.commands import warm

MODELS = ("teacher", "baseline", "pretrained", "distilled")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored_weights(outputs: Path) -> dict[str, bytes]:
    """``STAGE/KEY`` -> weights, of all that is in the store."""
    found = sorted((outputs / "store").glob("*/*/weights.safetensors"))
    return {path.parent.relative_to(outputs).as_posix(): path.read_bytes() for path in found}


def test_it_does_what_the_command_does(place: Path) -> None:
    """In another process, into another store: the same keys and the same bits."""
    result = kd.run(list(DIGITS), "temperature=2")
    done = warm(main, ["run", *DIGITS, "temperature=2", "outputs=others"], output=[place / "out", place / "err"])
    assert done.wait(120) == 0, (place / "err").read_text()
    weights = stored_weights(place / "outputs")
    assert len(weights) == len(MODELS)
    assert weights == stored_weights(place / "others")
    (theirs,) = (place / "others" / "runs").iterdir()
    assert result.folder.parent == place / "outputs" / "runs"
    assert {path.name for path in theirs.iterdir()} == {path.name for path in result.folder.iterdir()}
    assert (result.folder / "overrides.txt").read_text() == "".join(f"{word}\n" for word in (*DIGITS, "temperature=2"))
    assert result.results["command"] == f"kd run {' '.join(DIGITS)} temperature=2"


def test_a_second_call_reuses_the_stages_of_the_first(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = kd.run(DIGITS), kd.run(*DIGITS)
    assert first.folder != second.folder
    assert all(model["reused"] for model in second.results["models"].values())
    assert first.metrics == second.metrics
    answer = command(capsys, "run", *DIGITS)
    assert answer.out.count("(reused") == 1 + len(MODELS)


def test_what_it_found(place: Path) -> None:
    result = kd.run(*DIGITS)
    assert list(result.metrics) == list(MODELS)
    assert result.metrics["teacher"]["accuracy"] == result.results["models"]["teacher"]["test"]
    assert result.verdict in (result.folder / "report.md").read_text()
    assert repr(result) == f"Result: {result.verdict}"
    batch = torch.zeros(2, 1, 8, 8)
    expected = kd.load(result.folder).model.network(batch)
    assert not result.student.training
    assert torch.equal(result.student(batch), expected)


def test_the_frame_holds_models_and_metrics(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    result = kd.run(*DIGITS)
    frame = result.frame()
    assert list(frame.index) == list(MODELS)
    assert frame.loc["distilled", "accuracy"] == result.metrics["distilled"]["accuracy"]
    assert frame.loc["distilled", "gain_low"] == result.results["interval"]["low"]
    assert frame.loc["teacher", "gain_high"] == result.results["gap_interval"]["high"]
    assert frame.loc["baseline", ["gain_low", "gain_high"]].isna().all()
    assert frame.loc["baseline", "validation"] == result.results["models"]["baseline"]["val"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"^pandas is not installed: pip install pandas$"):
        result.frame()


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "words",
    [
        ("temprature=2",),
        ("alpha=7",),
        ("loss=[kdd]",),
        ("temperature=1,2",),
        ("=2",),
        ("loss.kd._target_=os.getcwd",),
        ("experiment=nowhere",),
        ("hydra.launcher._target_=os.getcwd",),
    ],
    ids=" ".join,
)
def test_it_raises_what_the_command_prints(
    words: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kd.KDError) as caught:
        kd.run(*DIGITS, *words)
    kind, message = type(caught.value).__name__, " ".join(str(caught.value).split())
    answer = command(capsys, "run", *DIGITS, *words)
    assert answer.code == 2
    assert f"kd: {kind}: {message}" in " ".join(answer.err.split())
    runs = place / "outputs" / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("-m", "kd.run does one run, and -m asks for several: its jobs have processes of their own: use the command"),
        ("--multirun", "asks for several"),
        ("hydra.mode=MULTIRUN", "asks for a sweep: its jobs have processes of their own: use the command, kd run -m"),
        ("--cfg", "'--cfg' is a flag of the command: leave it out"),
    ],
)
def test_sweeps_and_flags_are_the_commands(word: str, said: str, place: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        kd.run(*DIGITS, word)
    assert said in str(caught.value)
    assert not (place / "outputs").exists()


# -- the caller's program ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["done", "refused", "interrupted"])
def test_the_program_is_left_as_it_was(end: str, place: Path) -> None:
    done = warm(watch_own_state, [end], output=[place / "out", place / "err"])
    assert done.wait(120) == 0, (place / "out").read_text() + (place / "err").read_text()
    assert (place / "own.log").read_text().split() == ["before", "after"], "its log file has not been closed"


def test_an_interrupted_run_goes_on_next_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kd.run(*DIGITS, "outputs=whole", "teacher.steps=4", "checkpoint_every=1")
    save = Checkpoints.save
    words = (*DIGITS, "teacher.steps=4", "checkpoint_every=1")

    def save_and_interrupt(self: Checkpoints, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        save(self, trainer, module)
        if trainer.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            kd.run(*words)
    result = kd.run(*words)
    assert "teacher: goes on from resume-000000002.ckpt" in (result.folder / "run.log").read_text()
    assert result.metrics == whole.metrics


def test_sigterm_saves_and_is_the_callers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(Checkpoints, "on_train_start", told_to_end(Checkpoints.on_train_start))
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with pytest.raises(Terminated):
            kd.run(*DIGITS)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert list((place / "outputs" / "store").glob("teacher/*/resume-000000001.ckpt"))


def told_to_end(begin: Callable[..., None]) -> Callable[..., None]:
    """SIGTERM comes when the training has begun."""

    def on_train_start(self: Checkpoints, *given: Any) -> None:
        begin(self, *given)
        os.kill(os.getpid(), signal.SIGTERM)

    return on_train_start


def test_neither_a_terminal_nor_the_main_thread_is_needed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook's kernel, whose output is no file."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stdin", None)
    found: list[Any] = []
    words = [word for word in DIGITS if word != "progress=false"]
    worker = threading.Thread(target=lambda: found.append(kd.run(words)))
    worker.start()
    worker.join()
    assert found[0].verdict in shown.getvalue()
    assert kd.run(words).metrics == found[0].metrics


def test_trust_is_asked_for_as_ever(place: Path) -> None:
    with pytest.raises(UntrustedTargetError, match="not on the allowlist"):
        kd.run(*DIGITS, "student.model._target_=tests.support.parts.TinyNet")
