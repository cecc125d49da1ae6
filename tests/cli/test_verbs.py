"""One handler around every verb: no traceback, one line that says what and where, and the exit code that says whose it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.cli import main as cli
from kd_lightning.cli import run as launch
from kd_lightning.cli.completion import COMPLETED_VERBS
from kd_lightning.errors import CheckpointWriteError, ConfigError, KDError
from kd_lightning.experiment.console import make_console
from kd_lightning.process.stopping import Terminated
from kd_lightning.results.sweep_records import begin_sweep
from tests.support.cli import kd


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KDError("no group 'x'"), 2, "kd env: no group 'x'"),
        (ConfigError("a\nb"), 2, "kd: ConfigError: a; b"),
        (OSError(28, "No space left on device", "/out/a"), 2, "kd env: /out/a: No space left on device"),
        (PermissionError(13, "Permission denied"), 2, "kd env: Permission denied"),
        (OSError("no such host"), 2, "kd env: no such host"),
        (KeyError("x"), 1, "kd: KeyError: 'x' (HYDRA_FULL_ERROR=1 before the command shows where)"),
        (RecursionError("deep"), 1, "kd: RecursionError: deep (HYDRA_FULL_ERROR=1 before the command shows where)"),
        (
            ValueError("\x1b[2Jpwned"),
            1,
            "kd: ValueError: \\x1b[2Jpwned (HYDRA_FULL_ERROR=1 before the command shows where)",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
        (SystemExit(2), 2, ""),
    ],
)
def test_whatever_is_raised_is_a_line_and_a_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "dispatch_verb", answer)
    said = kd(capsys, "env")
    assert (said.code, said.out, said.err) == (code, "", f"{line}\n" if line else "")


def test_the_traceback_of_a_defect_is_there_for_the_asking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(words: list[str]) -> int:
        raise KeyError("x")

    monkeypatch.setattr(cli, "dispatch_verb", answer)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    said = kd(capsys, "env")
    assert said.code == 1
    assert said.err.startswith("Traceback (most recent call last):\n")
    assert "in answer" in said.err


@pytest.mark.parametrize("verb", COMPLETED_VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--help", "-h") if verb != "run" else ("--help",):
        said = kd(capsys, verb, word)
        assert (said.code, said.err) == (0, "")
        assert f"kd {verb}" in said.out


def test_a_reader_that_goes_away_while_a_job_prints_is_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    def answer(words: list[str]) -> int:
        make_console().print("a line")
        return 0

    with open(writer, "w", encoding="utf-8") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(cli, "dispatch_verb", answer)
        assert cli.main(["run"]) == 1
    assert capsys.readouterr().err == ""
    with pytest.raises(BrokenPipeError):  # not the SystemExit of rich, which would be taken for the job's own
        make_console().on_broken_pipe()


def in_a_shell(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = line.replace("KD", f"{sys.executable} -m kd_lightning.cli.main")
    return subprocess.run(
        ["bash", "-c", command], env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("KD env > /dev/full", 2, "kd env: No space left on device\n"),
        ("KD env >&-", 0, ""),
        ("KD ls nothing 2>&-", 2, ""),
        (
            "mkdir gone; cd gone; rmdir ../gone; KD ls",
            2,
            "kd ls: the working folder has been deleted: cd to one that exists\n",
        ),
        ("PYTHONIOENCODING=ascii KD ls loss", 0, ""),
    ],
)
def test_outputs_and_folders_that_fail(line: str, code: int, error: str) -> None:
    done = in_a_shell(line)
    assert (done.returncode, done.stderr) == (code, error)


def test_a_strangers_conf_neither_hangs_nor_writes_to_the_terminal(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = elsewhere / "conf" / "model"
    model.mkdir(parents=True)
    os.mkfifo(model / "pipe.yaml")
    (model / "bytes.yaml").write_bytes(b"# \xff\xfe\x1b]0;title\x07\n_target_: x\n")
    (model / "new\x1b[2Jline\n.yaml").write_text("# Fine \u202egpj.\n_target_: x\n", encoding="utf-8")
    said = kd(capsys, "ls", "model")
    assert said.code == 0
    assert "pipe" in said.out
    assert "no regular file, so it is not read" in said.out
    assert "lstm_lm_small" in said.out  # what is well is there all the same
    assert "new\\x1b[2Jline\\n" in said.out
    assert "Fine \\u202egpj." in said.out
    helped = kd(capsys, "run", "--help")
    assert "new\\x1b[2Jline" in helped.out
    for text in (said.out, helped.out):
        assert all(each == "\n" or each.isprintable() for each in text.replace("\ufffd", ""))


def test_cp_writes_through_no_link(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = elsewhere / "outside"
    outside.mkdir()
    here = elsewhere / "here"
    (here / "conf").mkdir(parents=True)
    os.chdir(here)
    (here / "conf" / "config.yaml").symlink_to(outside / "made.yaml")
    (here / "conf" / "model").symlink_to(outside)
    for name, why in ("config", "is there already"), ("model/lstm_lm", "outside of this folder"):
        said = kd(capsys, "cp", name)
        assert said.code == 2
        assert why in said.err
    assert list(outside.iterdir()) == []
    assert kd(capsys, "cp", "optimizer/sgd").code == 0
    (here / "conf" / "data").write_text("", encoding="utf-8")
    assert kd(capsys, "cp", "data/digits").code == 2


@pytest.mark.parametrize(("raised", "code"), [(None, 2), (KeyboardInterrupt(), 130)])
def test_the_end_of_a_sweep_on_a_full_disk(
    raised: BaseException | None,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin_sweep(tmp_path, "kd run -m", ["-m"], "worker", "basic")
    (tmp_path / "0").mkdir()

    def swept(arguments: list[str]) -> int:
        monkeypatch.setattr(launch.SweepWatch, "folder", tmp_path)
        if raised:
            raise raised
        return 0

    def full(*_: object) -> None:
        raise CheckpointWriteError("cannot write sweep.json: no space left")

    monkeypatch.setattr(launch, "compose_and_run_job", swept)
    monkeypatch.setattr(launch, "end_sweep", full)
    said = kd(capsys, "run", "-m")
    assert said.code == code
    lines = [line for line in said.err.splitlines() if not line.startswith("job 0 ")]
    assert lines[0] == "kd: CheckpointWriteError: cannot write sweep.json: no space left"
    assert lines[1:] == (["interrupted; the same command goes on from the last resume point"] if raised else [])
