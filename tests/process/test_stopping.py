"""SIGTERM: the step is finished and saved, the exit code is 143, and the same command ends bit for bit the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from kd_lightning.cli import run as launch
from kd_lightning.cli.main import main
from kd_lightning.errors import ConfigError
from kd_lightning.process import stopping
from kd_lightning.process.stopping import Terminated, defer_sigterm, raise_on_sigterm
from kd_lightning.results.sweep_folder import read_sweep
from kd_lightning.results.sweep_records import begin_sweep
from kd_lightning.sweeps import summary
from kd_lightning.training.callbacks.checkpoints import step_of
from tests.training.test_kill import FORK, command
from tests.training.test_resume import TOTAL, run, stored


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_second_interrupt_does_not_disturb_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    concluded: list[str] = []

    def conclude(state: str) -> int:
        signal.raise_signal(signal.SIGINT)
        concluded.append(state)
        return 0

    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "conclude_sweep", conclude)
    monkeypatch.setattr(launch, "compose_and_run_job", interrupted)
    assert launch.run_run_verb([]) == 130
    assert concluded == ["interrupted"]
    assert capsys.readouterr().err == "interrupted; the same command goes on from the last resume point\n"
    with pytest.raises(KeyboardInterrupt):  # and afterwards it is as before
        signal.raise_signal(signal.SIGINT)


def test_a_first_interrupt_at_the_end_has_it_concluded_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_sweep(tmp_path, "kd run -m", ["-m"], "worker", "basic")

    def swept(arguments: list[str]) -> int:
        monkeypatch.setattr(launch.SweepWatch, "folder", tmp_path)
        (tmp_path / "0").mkdir()
        return 0

    summed: list[Path] = []

    def sum_up(folder: Path) -> int:
        summed.append(folder)
        if len(summed) == 1:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(launch, "compose_and_run_job", swept)
    monkeypatch.setattr(summary, "print_sweep_summary", sum_up)
    assert launch.run_run_verb([]) == 130
    assert summed == [tmp_path] * 2
    assert read_sweep(tmp_path).info["state"] == "interrupted"
    assert (tmp_path / "report.html").is_file()
    assert launch.SweepWatch.folder is None


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class TerminateAt(pl.Callback):
    """SIGTERM in the middle of one step of training, or of one batch of validation, counted over the whole run."""

    def __init__(self, step: int = -1, validation: int = -1) -> None:
        self.step = step
        self.validation = validation

    def on_train_batch_start(self, *_: Any) -> None:
        self.step -= 1
        if self.step == 0:
            terminate()

    def on_validation_batch_start(self, *_: Any) -> None:
        self.validation -= 1
        if self.validation == 0:
            terminate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted run with rare resume points leaves."""
    outputs = tmp_path_factory.mktemp("whole")
    run(outputs, checkpoint_every=100)
    return stored(outputs)


def terminated(outputs: Path, callback: pl.Callback) -> None:
    with pytest.raises(Terminated), raise_on_sigterm():
        run(outputs, [callback], checkpoint_every=100)


@pytest.mark.few(4)
@pytest.mark.parametrize("step", range(1, TOTAL + 1, 3))
def test_the_step_at_which_sigterm_comes_is_not_lost(step: int, whole: dict[str, bytes], tmp_path: Path) -> None:
    terminated(tmp_path, TerminateAt(step))
    ends, stage_steps, left = (12, 22, 26, 32), (12, 10, 4, 6), step
    number = next(i for i, end in enumerate(ends) if step <= end)
    left -= sum(stage_steps[:number])
    points = [step_of(path) for path in (tmp_path / "store").glob("*/*/resume-*.ckpt")]
    trained = list((tmp_path / "store").glob("*/*/trained.json"))
    assert (max(points) == left) if left < stage_steps[number] else trained
    run(tmp_path, checkpoint_every=100)
    assert stored(tmp_path) == whole


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_in_a_validation(batch: int, whole: dict[str, bytes], tmp_path: Path) -> None:
    terminated(tmp_path, TerminateAt(validation=batch))
    assert list((tmp_path / "store").glob("*/*/resume-*.ckpt"))
    run(tmp_path, checkpoint_every=100)
    assert stored(tmp_path) == whole


def test_outside_of_a_training_it_is_an_exception_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def prepare(*_: Any) -> None:
        terminate()
        pytest.fail("went on")

    monkeypatch.setattr("tests.support.parts.TinyRows.prepare", prepare)
    with pytest.raises(Terminated), raise_on_sigterm():
        run(tmp_path)


def test_the_first_signal_counts_and_a_second_leaves_the_cleaning_alone() -> None:
    cleaned = []

    def work() -> None:
        with raise_on_sigterm():
            try:
                terminate()
            finally:
                terminate()
                cleaned.append(True)

    with pytest.raises(Terminated):
        work()
    assert cleaned


def test_threads_that_defer_side_by_side_leave_the_main_thread_as_it_was() -> None:
    in_turn = [threading.Event() for _ in range(3)]

    def other() -> None:
        with defer_sigterm():
            in_turn[0].set()
            assert in_turn[1].wait(60)
        in_turn[2].set()

    thread = threading.Thread(target=other)
    with defer_sigterm():
        thread.start()
        assert in_turn[0].wait(60)
    in_turn[1].set()
    assert in_turn[2].wait(60)
    thread.join()
    with pytest.raises(Terminated), raise_on_sigterm():
        terminate()


def test_deferred_it_is_a_wish_until_the_end() -> None:
    asked = []

    def work() -> None:
        with raise_on_sigterm(), defer_sigterm():
            terminate()
            asked.append(stopping.is_stop_requested())

    with pytest.raises(Terminated):
        work()
    assert asked == [True]
    assert not stopping.is_stop_requested()


def test_without_a_signal_nothing_is_raised_and_the_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with raise_on_sigterm(), defer_sigterm():
        assert not stopping.is_stop_requested()
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_handlers_are_left_alone() -> None:
    failed: list[BaseException] = []

    def body() -> None:
        try:
            with raise_on_sigterm():
                stopping.note_sigterm()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert failed == []


def test_sigterm_ends_the_command_with_143(tmp_path: Path) -> None:
    child = FORK.Process(target=command, args=(tmp_path, 100_000), daemon=True)
    child.start()
    while child.is_alive() and not list(tmp_path.glob("store/teacher/*/resume-*.ckpt")):
        time.sleep(0.05)
    os.kill(child.pid or 0, signal.SIGTERM)
    child.join(timeout=60)
    assert child.exitcode == 143
    assert list(tmp_path.glob("store/teacher/*/resume-*.ckpt"))


def stubborn(second_ends: bool) -> None:
    """A command that is asked to end, at once again, and once more after a while; 7 = it came to its own end."""
    stopping.ECHO_SECONDS = 0.1
    with suppress(Terminated), raise_on_sigterm(second_ends), defer_sigterm():
        terminate()
        terminate()  # an echo of the first: nothing happens
        time.sleep(0.2)
        terminate()
    os._exit(7)


@pytest.mark.parametrize(("second_ends", "code"), [(True, 143), (False, 7)])
def test_a_second_sigterm_ends_the_users_own_process_at_once(second_ends: bool, code: int) -> None:
    """The control is a worker, whose leader repeats the signal: it is left to save."""
    child = FORK.Process(target=stubborn, args=(second_ends,), daemon=True)
    child.start()
    child.join(timeout=30)
    assert child.exitcode == code


@pytest.mark.parametrize(
    ("stop", "code", "word"), [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")]
)
def test_a_stop_over_which_a_library_stumbles_is_one(
    stop: type[BaseException], code: int, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where Ctrl-C comes between the two lines of a context manager of OmegaConf; an error of its own stays one."""

    def stumble(arguments: list[str]) -> int:
        try:
            try:
                raise stop
            finally:
                raise AttributeError("'NoneType' object has no attribute")
        except AttributeError as error:
            raise ConfigError("; what it says") from error

    def fail(arguments: list[str]) -> int:
        raise ConfigError("a setting")

    monkeypatch.setattr(launch, "compose_and_run_job", stumble)
    assert main(["run"]) == code
    assert capsys.readouterr().err == f"{word}; the same command goes on from the last resume point\n"
    monkeypatch.setattr(launch, "compose_and_run_job", fail)
    assert main(["run"]) == 2
    assert capsys.readouterr().err == "kd: ConfigError: a setting\n"
