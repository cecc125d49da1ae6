"""A sweep: one failed job does not lose the others, the teacher is trained once, the table holds every job."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.cli.main import main
from kd_lightning.results.sweep_folder import Job, read_sweep
from kd_lightning.sweeps.hydra_callback import SweepWatch
from kd_lightning.sweeps.summary import describe_lost_jobs, list_sweep_rows
from tests.support.cli import DIGITS, Answer, kd

SMALL = (*DIGITS, "teacher=mlp", "student=mlp_tiny")
INLINE = "hydra/launcher=inline"  # the jobs in this process; the other launchers: tests/sweeps
SWEEP = ("run", "-m", INLINE, *SMALL, "temperature=1,2,-1,4", "+vars.api_key=hunter2")


def sweep_folders(outputs: Path) -> set[Path]:
    return set((outputs / "sweeps").iterdir())


def jobs_of(folder: Path) -> list[Job]:
    return read_sweep(folder).jobs


def results(folder: Path, number: int) -> dict[str, Any]:
    return json.loads((folder / str(number) / "results.json").read_text())


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def freeze(patch: pytest.MonkeyPatch) -> None:
    """Let every start fall into one second."""

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Frozen:
            return cls(2026, 1, 1)

    patch.setattr("hydra.core.utils.datetime", Frozen)


@pytest.fixture(scope="module")
def first(outputs: Path) -> tuple[Path, Answer]:
    """The sweep, run once for all tests: its folder, and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        freeze(patch)
        code = main([*SWEEP, f"outputs={outputs}"])
    (folder,) = sweep_folders(outputs)
    return folder, Answer(code, out.getvalue(), err.getvalue())


def test_one_failed_job_fails_alone(first: tuple[Path, Answer]) -> None:
    folder, answer = first
    assert answer.code == 1
    said = "failed: ConfigError: temperature=-1: a number > 0 is expected\n"
    assert answer.err == f"job 2 {said}job 2 temperature=-1 {said}"
    jobs = jobs_of(folder)
    assert [(job.number, job.state) for job in jobs] == [(0, "done"), (1, "done"), (2, "failed"), (3, "done")]
    assert "ConfigError" in jobs[2].record["traceback"]
    assert jobs[2].results is None
    assert [results(folder, number)["temperature"] for number in (0, 1, 3)] == [1, 2, 4]
    (sentence,) = describe_lost_jobs(jobs)
    assert sentence.startswith("job 2 temperature=-1 failed: ")
    assert sentence in answer.err


def test_the_table_holds_every_job_the_failed_ones_last(first: tuple[Path, Answer]) -> None:
    folder, answer = first
    header, rows = list_sweep_rows(jobs_of(folder))
    assert header[:4] == ["job", "overrides", "val accuracy", "test accuracy"]
    assert {row[0] for row in rows} == {"0", "1", "2", "3"}
    assert rows[-1][0] == "2"
    assert "failed" in rows[-1]
    values = [float(row[2].rstrip("%")) for row in rows[:-1]]
    assert values == sorted(values, reverse=True)
    assert "4 jobs, best validation first" in answer.out
    assert str(folder) in answer.out.splitlines()[-1]


def test_the_teacher_and_the_student_alone_are_trained_once(first: tuple[Path, Answer], outputs: Path) -> None:
    folder, _ = first
    entries = {
        stage: len(list((outputs / "store" / stage).glob("*/status.json")))
        for stage in ("teacher", "baseline", "distill")
    }
    assert entries == {"teacher": 1, "baseline": 1, "distill": 3}
    reused = [results(folder, number)["models"]["teacher"]["reused"] for number in (0, 1, 3)]
    assert reused == [False, True, True]
    assert len({results(folder, number)["teacher_hash"] for number in (0, 1, 3)}) == 1


def test_secrets_of_a_sweep_are_written_nowhere(first: tuple[Path, Answer]) -> None:
    folder, answer = first
    assert "hunter2" not in answer.out
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "job.json" for path in files)
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


def test_the_same_sweep_again_in_the_same_second_has_its_own_folder_and_runs_nothing_again(
    first: tuple[Path, Answer],
    outputs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, before = first
    freeze(monkeypatch)
    answer = kd(capsys, *SWEEP, f"outputs={outputs}")
    (again,) = sweep_folders(outputs) - {folder}
    assert {path.name[:19] for path in (folder, again)} == {"2026-01-01_00-00-00"}
    assert (answer.code, answer.err) == (before.code, before.err)  # the failed one is tried again, and fails again
    for number in (0, 1, 3):
        models = results(again, number)["models"]
        assert all(model["reused"] for model in models.values())
        assert models["distilled"]["val"] == results(folder, number)["models"]["distilled"]["val"]


def test_a_single_run_after_a_sweep_is_a_single_run(
    first: tuple[Path, Answer], outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = kd(capsys, "run", *SMALL, f"outputs={outputs}")
    assert answer.code == 0
    assert "jobs, best validation first" not in answer.out
    assert SweepWatch.folder is None


def test_a_sweep_without_failure_is_exit_code_0(
    first: tuple[Path, Answer], outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = kd(capsys, "run", "-m", INLINE, *SMALL, "temperature=1,2", f"outputs={outputs}")
    assert (answer.code, answer.err) == (0, "")
    assert "2 jobs, best validation first" in answer.out


def test_a_job_that_leaves_by_sys_exit_drops_no_later_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def leaves(**_: Any) -> None:
        raise SystemExit(0)

    monkeypatch.setattr("kd_lightning.experiment.run.execute", leaves)
    answer = kd(capsys, "run", "-m", INLINE, *SMALL, "seed=0,1", f"outputs={tmp_path}")
    assert answer.code == 1
    (folder,) = sweep_folders(tmp_path)
    assert [job.state for job in jobs_of(folder)] == ["failed", "failed"]


@pytest.mark.parametrize("word", ["temprature=1,2", "student=mlp_tiny,mlp_tyni", "seed=1,[2"])
def test_a_sweep_that_cannot_be_composed_runs_no_job(
    word: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", "-m", INLINE, *SMALL, word, f"outputs={tmp_path}")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert "job 0" not in answer.out
    assert not (tmp_path / "store").exists()
