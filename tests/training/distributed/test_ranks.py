"""What becomes of a training in two processes when one of them fails, is killed, or is asked to end."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from kd_lightning.cli.main import main
from kd_lightning.errors import ConfigError, NonFiniteLossError
from kd_lightning.process import stopping
from kd_lightning.training.callbacks.checkpoints import resume_files, step_of
from kd_lightning.training.distributed.launcher import DeadProcessError
from tests.support.cli import DIGITS
from tests.support.commands import Begin, fresh, warm
from tests.support.processes import DDP, FSDP, At, Presence, children, in_two, is_there, kill_me, numbers, wait_until
from tests.training.test_resume import run, stored

FORK = multiprocessing.get_context("fork")


class Odd(Exception):
    """Cannot be copied: its constructor takes more than it hands on."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.fixture(
    scope="module", params=[pytest.param(DDP, id="ddp"), pytest.param(FSDP, id="fsdp", marks=pytest.mark.full)]
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any]:
    """The settings of a strategy, and what an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, **in_two(request.param))
    return in_two(request.param), stored(folder)


def raise_(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.full), 1])
def test_a_killed_rank_ends_the_training_and_the_same_command_goes_on(
    rank: int, whole: tuple[dict[str, Any], Any], tmp_path: Path
) -> None:
    changes, bits = whole
    faults = [Presence(tmp_path), At(rank, 7, kill_me, tmp_path / "killed")]
    with pytest.raises(DeadProcessError) as caught:
        run(tmp_path, faults, **changes)
    assert "\n" not in str(caught.value)
    assert f"process {rank + 1} of 2 of the training was killed by SIGKILL" in str(caught.value)
    assert (tmp_path / "killed").exists()
    assert len(numbers(tmp_path)) == 2
    assert not any(map(is_there, numbers(tmp_path)))
    run(tmp_path, faults, **changes)
    assert stored(tmp_path) == bits


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.full), 1])
def test_sigterm_to_one_rank_stops_all_at_the_same_step(
    rank: int, whole: tuple[dict[str, Any], Any], tmp_path: Path
) -> None:
    changes, bits = whole
    ask = At(rank, 5, lambda: os.kill(os.getpid(), signal.SIGTERM), tmp_path / "asked")
    with pytest.raises(stopping.Terminated):
        run(tmp_path, [ask], checkpoint_every=1000, validate_every=1000, **changes)
    (folder,) = (tmp_path / "store" / "teacher").glob("*/")
    assert [path.name for path in resume_files(folder)] == ["resume-000000006.ckpt"]
    with pytest.raises(stopping.Terminated):  # again, with the usual settings: another key
        run(tmp_path / "usual", [At(rank, 5, lambda: os.kill(os.getpid(), signal.SIGTERM), tmp_path / "2")], **changes)
    run(tmp_path / "usual", **changes)
    assert stored(tmp_path / "usual") == bits


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (NonFiniteLossError("term 'hard' is nan"), NonFiniteLossError, "term 'hard' is nan"),
        (KeyError("label"), KeyError, "'label'"),
        (Odd(1, 2), RuntimeError, "Odd: 1 and 2"),
        (SystemExit(3), SystemExit, "3"),
    ],
)
def test_what_a_rank_raises_is_raised_here(
    error: BaseException, kind: type[BaseException], text: str, rank: int, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        run(tmp_path, [At(rank, 3, raise_(error), tmp_path / "raised")], **in_two())
    assert type(caught.value) is kind
    assert str(caught.value) == text
    assert f"In rank {rank}" in caught.value.__notes__[0]
    assert multiprocessing.active_children() == []


def test_a_rank_that_leaves_quietly_has_not_done_its_work(tmp_path: Path) -> None:
    with pytest.raises(DeadProcessError, match="process 2 of 2 of the training ended with code 0 before"):
        run(tmp_path, [At(1, 3, lambda: os._exit(0), tmp_path / "left")], **in_two())


class Spoil(pl.Callback):
    """A weight of rank 1 becomes NaN."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 3:
            with torch.no_grad():
                next(module.parameters()).view(-1)[0] = math.nan


def test_a_loss_that_is_not_finite_in_one_rank_stops_all(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"(after|at) step 3"):
        run(tmp_path, [Spoil()], **in_two())


class Unsendable(pl.Callback):
    """Holds what no other process can have."""

    def __init__(self) -> None:
        self.function = lambda: None


def test_what_cannot_be_sent_to_another_process_is_said(tmp_path: Path) -> None:
    sent = {**DDP, "start_method": "forkserver"}
    with pytest.raises(ConfigError, match=r"trainer.devices: the training cannot be sent.*lambda.*picklable"):
        run(tmp_path, [Unsendable()], **in_two(sent))
    assert not list(tmp_path.glob("store/*/*/.tmp-*"))


# -- the command ------------------------------------------------------------------------------------------------------


def command(outputs: Path, *words: str) -> None:
    """``kd run``, in two processes, with its errors in a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a script's background, and that is inherited
    log = os.open(outputs / "stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 2)
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # pytest has put something else there
    words = (*DIGITS, "trainer=ddp", f"outputs={outputs}", *words)
    code = main(["run", "+trainer.strategy.start_method=fork", *words])
    sys.stderr.flush()
    os._exit(code)


class Command:
    """The command at work on a teacher without end."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.process = FORK.Process(target=command, args=(outputs, "teacher.steps=1000000", "checkpoint_every=1"))
        self.process.start()
        self.pid = self.process.pid or 0
        wait_until(lambda: list(outputs.glob("store/teacher/*/resume-*.ckpt")), self.process.is_alive)
        self.ranks = children(self.pid)

    def end(self) -> tuple[int | None, str]:
        """Its exit code and errors, when it is over."""
        self.process.join(timeout=60)
        return self.process.exitcode, (self.outputs / "stderr").read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_command_says_in_one_line_that_a_process_was_killed(rank: int, tmp_path: Path) -> None:
    kd = Command(tmp_path)
    os.kill(kd.ranks[rank], signal.SIGKILL)
    code, errors = kd.end()
    assert code == 1
    assert len(kd.ranks) == 2
    assert not any(map(is_there, kd.ranks))
    lines = [line for line in errors.splitlines() if not line.startswith("[")]  # gloo has its own way to say it
    assert lines == [
        f"kd: DeadProcessError: process {rank + 1} of 2 of the training was killed by SIGKILL (the system does so when "
        "memory runs out): the same command goes on from the last resume point"
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_command_ends_its_ranks(number: int, code: int, tmp_path: Path) -> None:
    kd = Command(tmp_path)
    before = len(list(tmp_path.glob("store/teacher/*/resume-*.ckpt")))
    os.kill(kd.pid, number)
    found, errors = kd.end()
    assert found == code, errors
    assert "Traceback" not in errors
    assert before >= 1
    assert not any(map(is_there, kd.ranks))


def test_ranks_end_when_the_command_is_killed(tmp_path: Path) -> None:
    kd = Command(tmp_path)
    os.kill(kd.pid, signal.SIGKILL)
    assert kd.end()[0] == -signal.SIGKILL
    wait_until(lambda: not any(map(is_there, kd.ranks)))


# -- as users run it --------------------------------------------------------------------------------------------------


class Real:
    """The command in a process group of its own, its ranks forked from its own server, at work on a teacher."""

    def __init__(self, outputs: Path, begin: Begin, checkpoint_every: int) -> None:
        self.outputs = outputs
        self.output = [outputs / "out", outputs / "errors"]
        steps = ("teacher.steps=1000000", "validate_every=1000000", f"checkpoint_every={checkpoint_every}")
        job = ("experiment=digits", "debug=fast_dev_run", "max_steps=null", "trainer=ddp", *steps)
        words = ["run", *job, f"outputs={outputs}", "progress=false"]
        self.process = begin(main, words, output=self.output, session=True)

    def __enter__(self) -> Real:
        before = self.points()
        wait_until(lambda: self.points() != before, lambda: self.process.poll() is None)
        servers = {pid: children(pid) for pid in children(self.process.pid)}
        ((self.server, self.ranks),) = ((pid, ranks) for pid, ranks in servers.items() if ranks)
        self.group = [self.process.pid, self.server, *self.ranks]
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def points(self) -> list[int]:
        """Steps of the resume points."""
        return [step_of(path) for folder in self.outputs.glob("store/teacher/*/") for path in resume_files(folder)]

    def end(self) -> tuple[int, str, str]:
        """Its exit code and words, when nothing of it is left."""
        code = self.process.wait(timeout=120)
        wait_until(lambda: not any(map(is_there, self.group)))
        out, errors = (path.read_text() for path in self.output)
        return code, out, errors


def ignores(pid: int, number: int) -> bool:
    """The process ignores the signal."""
    (mask,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(mask.split()[1], 16) & (1 << (number - 1)))


@pytest.mark.full
def test_the_real_command_survives_a_kill_and_a_scheduler(tmp_path: Path) -> None:
    """A rank is killed; the scheduler sends SIGTERM to every process of the job, the fork server's included."""
    with Real(tmp_path, warm, checkpoint_every=20) as kd:
        os.kill(kd.ranks[1], signal.SIGKILL)
        code, _, errors = kd.end()
        assert code == 1
        assert errors.splitlines() == [
            "kd: DeadProcessError: process 2 of 2 of the training was killed by SIGKILL (the system does so when memory "
            "runs out): the same command goes on from the last resume point"
        ]
    with Real(tmp_path, fresh, checkpoint_every=400) as kd:
        assert ignores(kd.server, signal.SIGTERM), "else the ranks, at their last save, would be taken for dead"
        os.killpg(kd.process.pid, signal.SIGTERM)
        code, out, errors = kd.end()
        assert code == 143
        assert "goes on from resume-" in out
        assert "Traceback" not in errors
        newest = kd.points()[-1]
        assert newest % 400, f"saved where it stood, at step {newest}, not at the last of the usual points"
