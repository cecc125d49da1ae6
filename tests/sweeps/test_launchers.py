"""What jobs get from each launcher, and what two of them share."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra

from kd_lightning.results.sweep_folder import read_sweep
from kd_lightning.sweeps.launch import compose_and_run_job, make_single_run
from tests.support.cli import DIGITS, kd
from tests.sweeps.test_faults import last_sweep

TINY = (*DIGITS, "teacher=mlp", "student=mlp_tiny")
PROBE = '''
import gc
import json
import stat
import os

import pytorch_lightning as pl
import torch


class Probe(pl.Callback):
    """Writes down what the job sees."""

    def __init__(self, path):
        self.path = path

    def on_train_start(self, trainer, module):
        seen = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": torch.get_num_threads(), "cwd": os.getcwd()}
        seen |= {"collects": gc.isenabled(), "set aside": gc.get_freeze_count() > 100_000}
        with open(f"{self.path}/{os.getpid()}", "w") as file:
            json.dump(seen, file)
'''


@pytest.mark.full
def test_eight_jobs_two_at_once_train_one_teacher(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grid = ("temperature=1,2", "alpha=0.5,0.9", "seed=0,1", "teacher.steps=600")
    answer = kd(capsys, "run", "-m", "hydra/launcher=process", *TINY, *grid, f"outputs={tmp_path}")
    assert answer.code == 0
    sweep = last_sweep(tmp_path)
    assert [job.state for job in sweep.jobs] == ["done"] * 8
    for stage, trainings in (("teacher", 1), ("baseline", 2), ("distill", 8)):
        assert sum(stage not in job.reused for job in sweep.jobs) == trainings
        assert len(list((tmp_path / "store" / stage).glob("*/status.json"))) == trainings
    assert sum("reused teacher" in line for line in answer.out.splitlines()) == 7
    assert "8 jobs, best validation first" in answer.out
    assert (sweep.folder / "report.html").is_file()
    assert len((sweep.folder / "results.csv").read_text().splitlines()) == 9


@pytest.mark.slow
def test_submitit_does_the_jobs_and_tells_of_the_one_that_failed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("run", "-m", "hydra/launcher=submitit_local", *TINY, "temperature=-1,2", f"outputs={tmp_path}")
    answer = kd(capsys, *words)
    assert answer.code == 1
    sweep = last_sweep(tmp_path)
    assert [job.state for job in sweep.jobs] == ["failed", "done"]
    assert "ConfigError" in sweep.jobs[0].error
    assert sweep.info["launcher"] == "submitit_local"
    (files,) = (sweep.folder / ".submitit").iterdir()
    assert stat.S_IMODE(files.stat().st_mode) == 0o700
    assert list(files.glob("*.out"))
    assert not list(files.glob("*.pkl")), "they hold the command's words"


@pytest.mark.full
@pytest.mark.slow
def test_jobs_see_their_gpu_their_threads_and_the_command_s_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    seen = tmp_path / "se'en x"
    seen.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "probe")
    probe = ("+callbacks.probe._target_=probe.Probe", f'+callbacks.probe.path="{seen}"')
    process = ("hydra/launcher=process", "hydra.launcher.threads_each=1", "hydra.launcher.gpus=[5,7]")
    outputs = 'outputs="out, put"'
    answer = kd(capsys, "run", "-m", *process, *TINY, *probe, "seed=0,1,2,3", outputs)
    assert answer.code == 0, answer.err
    found = [json.loads(path.read_text()) for path in seen.iterdir()]
    assert len(found) == 4, "a fresh process for each job"
    assert {each["gpu"] for each in found} == {"5", "7"}
    assert {each["threads"] for each in found} == {1}
    assert {each["cwd"] for each in found} == {str(tmp_path)}
    assert all(each["collects"] and each["set aside"] for each in found)
    assert len(read_sweep(max((tmp_path / "out, put" / "sweeps").iterdir())).jobs) == 4


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ("hydra/launcher=process", "hydra.launcher.n_jobs=0"),
            "hydra.launcher.n_jobs=0: a whole number of at least 1",
        ),
        (("hydra/launcher=process", "hydra.launcher.n_jobs=two"), "hydra.launcher.n_jobs='two': a whole number"),
        (
            ("hydra/launcher=process", "hydra.launcher.threads_each=-1"),
            "hydra.launcher.threads_each=-1: a whole number",
        ),
        (
            ("hydra/launcher=cohort", "hydra.launcher.stack=maybe"),
            "hydra.launcher.stack='maybe': true or false is expected",
        ),
        (("hydra/launcher=proces",), "hydra/launcher=proces: there is no such choice; did you mean 'process'?"),
        (
            ("hydra/launcher=joblib",),
            "hydra/launcher=joblib: there is no such choice; there are basic, cohort, inline, process, submitit_local, "
            "submitit_slurm, worker; kd ls hydra/launcher lists them",
        ),
        (("hydra/launcher=submitit_slurm", "hydra.launcher.submitit_folder=logs"), "submitit on slurm: "),
    ],
)
def test_a_launcher_that_cannot_work_is_said_before_any_job(
    words: tuple[str, ...],
    wanted: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = kd(capsys, "run", "-m", *words, *TINY, "seed=0,1", f"outputs={tmp_path}")
    assert answer.code == 2
    assert wanted in answer.err
    assert len(answer.err.splitlines()) == 1
    assert [line for line in answer.out.splitlines() if "is model@" not in line] == []
    assert not (tmp_path / "store").exists()


def test_a_job_is_composed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    composed: list[object] = []
    compose = Hydra.compose_config

    def counted(*args: Any, **kwargs: Any) -> Any:
        composed.append(kwargs.get("run_mode"))
        return compose(*args, **kwargs)

    monkeypatch.setattr(Hydra, "compose_config", counted)
    words = [*DIGITS, f"hydra.run.dir={tmp_path}", "hydra.mode=RUN"]
    asked = Hydra.get_mode
    with make_single_run():
        assert compose_and_run_job(words, lambda config: None) == 0
    assert len(composed) == 1
    assert Hydra.get_mode is asked
    assert compose_and_run_job(words, lambda config: None) == 0
    assert len(composed) == 3, "the control: by itself Hydra composes once more, to find out its mode"
