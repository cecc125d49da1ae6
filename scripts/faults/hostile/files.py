"""Ways in through a stranger's modules, repositories, links, weights and studies."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import optuna
import torch
from optuna.samplers import CmaEsSampler, _cmaes
from optuna.storages.journal import JournalFileBackend, JournalStorage

from scripts.faults.hostile.attempt import Allow, Root

DIGITS = (
    *("run", "experiment=digits", "debug=fast_dev_run", "progress=false", "student.pretrain_steps=0"),
    *("teacher=mlp", "student=mlp_tiny", "data.limit=32"),
)
STUDY = "planted"
SEARCH = (
    *("run", "-m", *DIGITS[1:], "hydra/launcher=inline", "hydra/sweeper=optuna", "hydra/sweeper/sampler=cmaes"),
    *("hydra.sweeper.n_trials=2", f"hydra.sweeper.study_name={STUDY}", "temperature=interval(1,4)"),
)
MAKES_MARKER = "import os; os.mkdir({marker!r})\n"


def linked(*names: str) -> Callable[[Path, Path], None]:
    """Plants links with these names to the marker, which is not there: who writes through one makes it."""

    def plant(folder: Path, marker: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(marker)

    return plant


def write_through(*names: str) -> Callable[[Path, Path], None]:
    """The control: appends to the planted links as plain code does."""

    def write(folder: Path, marker: Path) -> None:
        for name in names:
            (folder / name).open("a").close()

    return write


def git(folder: Path, *words: str) -> None:
    """Plain git."""
    identity = ("-c", "user.name=n", "-c", "user.email=e@x")
    subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, check=True)


def plant_repository(folder: Path, marker: Path) -> None:
    """A repository whose own configuration names programs, and a changed file that it would filter."""
    program = folder / "program.sh"
    program.write_text(f"#!/bin/sh\nmkdir {marker}\ncat\n")
    program.chmod(0o755)
    git(folder, "init", "-q")
    (folder / "file.txt").write_text("one\n")
    git(folder, "add", "file.txt")
    git(folder, "commit", "-q", "-m", "first")
    (folder / ".gitattributes").write_text("*.txt filter=mine\n")
    (folder / "file.txt").write_text("two\n")
    git(folder, "config", "filter.mine.clean", str(program))
    git(folder, "config", "core.fsmonitor", str(program))


def plant_bare_repository(folder: Path, marker: Path) -> None:
    """The folder itself is a bare repository, which git finds without any ``.git``."""
    plant_repository(folder, marker)
    for path in (folder / ".git").iterdir():
        path.rename(folder / path.name)
    (folder / ".git").rmdir()
    git(folder, "config", "core.worktree", str(folder))


def plain_git_status(folder: Path, marker: Path) -> None:
    subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=False)


def plant_module_beside(folder: Path, marker: Path) -> None:
    """A trusted package of the user's that asks for a module which the stranger has put beside it."""
    (folder / "conf" / "loss").mkdir(parents=True)
    (folder / "conf" / "loss" / "mine.yaml").write_text("# @package loss.mine\n_target_: my_pkg.Loss\n")
    (folder / "my_pkg.py").write_text("import beside\nclass Loss: ...\n")
    (folder / "beside.py").write_text(MAKES_MARKER.format(marker=str(marker)))


class MakesFolder:
    """Pickles as a call of ``os.mkdir``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def plant_weights(folder: Path, marker: Path) -> None:
    torch.save({"state_dict": {}, "extra": MakesFolder(marker)}, folder / "teacher.pt")


def load_plainly(folder: Path, marker: Path) -> None:
    torch.load(folder / "teacher.pt", weights_only=False)


def plant_study(folder: Path, marker: Path) -> None:
    """A study with one trial, in which a payload stands for the state of CMA-ES."""
    (folder / "outputs" / "studies").mkdir(parents=True)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study(storage=journal(folder), study_name=STUDY, direction="maximize")
    distributions = {"temperature": optuna.distributions.FloatDistribution(1, 4)}
    state = pickle.dumps(MakesFolder(marker)).hex()
    trial = optuna.trial.create_trial(
        params={"temperature": 2.0}, distributions=distributions, value=0.5, system_attrs={"cma:optimizer:0": state}
    )
    study.add_trial(trial)


def journal(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / "outputs" / "studies" / f"{STUDY}.journal")))


def ask_plainly(folder: Path, marker: Path) -> None:
    sampler = CmaEsSampler(seed=0, n_startup_trials=1)
    study = optuna.load_study(storage=journal(folder), study_name=STUDY, sampler=sampler)
    # As Optuna has it, whatever ran in this process before.
    with mock.patch.object(_cmaes, "pickle", pickle):
        study.ask({"temperature": optuna.distributions.FloatDistribution(1, 4)})


def plant_logger(folder: Path, marker: Path) -> None:
    (folder / "conf" / "logger").mkdir(parents=True)
    text = "# @package logger.csv\n_target_: pytorch_lightning.loggers.CSVLogger\nversion: ''\nname: ''\nsave_dir: "
    (folder / "conf" / "logger" / "csv.yaml").write_text(f"{text}{marker}\n")


OWN_RUN = "hydra.run.dir=outputs/mine"
LOG, JOURNAL = "outputs/mine/run.log", f"outputs/studies/{STUDY}.journal"
ROOTS = [
    Root("git_programs", plant_repository, DIGITS, plain_git_status),
    Root("git_bare", plant_bare_repository, DIGITS, plain_git_status),
    Root(
        "module_beside",
        plant_module_beside,
        ("run", "loss=[mine]", "progress=false"),
        Allow(environ={"KD_LIGHTNING_TRUST": "my_pkg,beside"}),
        says="KD_LIGHTNING_TRUST=my_pkg,beside",
        environ={"KD_LIGHTNING_TRUST": "my_pkg"},
    ),
    Root(
        "weights",
        plant_weights,
        (*DIGITS, "teacher.checkpoint=teacher.pt"),
        load_plainly,
        says="holds more than tensors",
    ),
    Root("cma_state", plant_study, SEARCH, ask_plainly, says="was not written by you"),
    Root(
        "logger_elsewhere",
        plant_logger,
        (*DIGITS, "logger=[csv]"),
        Allow(("logger.csv.save_dir={marker}",)),
        says="say it on the command line: logger.csv.save_dir=",
    ),
    Root("linked_log", linked(LOG), (*DIGITS, OWN_RUN), write_through(LOG), says="is a link to"),
    Root("linked_journal", linked(JOURNAL), SEARCH, write_through(JOURNAL), says="is a link to"),
]
