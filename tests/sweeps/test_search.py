"""``kd run -m hydra/sweeper=optuna``: real jobs on digits, and every wrong setting said in one line before the first."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kd_lightning.config.conf_files import conf_dir
from kd_lightning.results.sweep_folder import read_sweep
from kd_lightning.sweeps.search.from_config import build_pruner, build_sampler, rehearse_trials
from kd_lightning.sweeps.search.objectives import FROM_TEST, read_objectives
from tests.support.cli import DIGITS, Answer, kd
from tests.sweeps.search_support import VAL, space_of

PARTS = {part: sorted((conf_dir() / "hydra/sweeper" / part).glob("*.yaml")) for part in ("sampler", "pruner")}
SMALL = ("-m", "hydra/sweeper=optuna", "hydra/launcher=inline", *DIGITS, "teacher=mlp", "student=mlp_tiny")
SPACE = ("temperature=interval(1,4)", "alpha=tag(log, interval(0.1,1))")


def search(capsys: pytest.CaptureFixture[str], outputs: Path, *words: str, n_trials: int = 2) -> Answer:
    return kd(capsys, "run", *SMALL, f"hydra.sweeper.n_trials={n_trials}", f"outputs={outputs}", *words)


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> str:
    """What is said of words that are wrong. No job has run."""
    answer = search(capsys, tmp_path / "outputs", *words)
    assert answer.code == 2, answer
    assert not list((tmp_path / "outputs").glob("sweeps/*/*/job.json"))
    (line,) = answer.err.splitlines()
    return line.removeprefix("kd: ConfigError: ")


def sweeps(outputs: Path) -> list[Path]:
    return sorted((outputs / "sweeps").iterdir(), key=lambda path: path.stat().st_mtime)


def trials(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def leaves(node: Any, path: str = "") -> list[str]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, f"{path}.{key}" if path else key)]
    return [path] if isinstance(node, (int, float)) and not isinstance(node, bool) else []


def test_a_search_of_real_jobs_and_the_same_command_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = search(capsys, tmp_path, *SPACE)
    assert (first.code, first.err) == (0, "")
    (sweep,) = sweeps(tmp_path)
    record = json.loads((sweep / "study.json").read_text())
    assert record["objectives"] == [{"value": "models.distilled.val", "direction": "maximize"}]
    assert record["storage"] == str(tmp_path / "studies" / f"{record['name']}.journal")
    for row in trials(sweep):
        job = json.loads((sweep / row["folder"] / "job.json").read_text())
        results = json.loads((sweep / row["folder"] / "results.json").read_text())
        assert {f"temperature={row['params.temperature']}", f"alpha={row['params.alpha']}"} <= set(job["overrides"])
        assert results["temperature"] == float(row["params.temperature"])
        assert results["models"]["distilled"]["val"] == float(row["values.models.distilled.val"])
    assert len(list((tmp_path / "store" / "teacher").glob("*/status.json"))) == 1

    again = search(capsys, tmp_path, *SPACE, "progress=false", "hydra.sweeper.n_jobs=2", n_trials=3)
    assert again.code == 0
    assert "2 are done" in again.out
    assert len(trials(sweeps(tmp_path)[-1])) == 3
    jobs = read_sweep(sweeps(tmp_path)[-1]).jobs
    assert [Path(job.record.get("from", "")).parent == sweep for job in jobs] == [True, True, False], "one is new"
    assert "3 jobs, best validation first" in again.out
    other = search(capsys, tmp_path, *SPACE, "student.pretrain_steps=0", n_trials=1)
    assert "are done" not in other.out
    assert len(list((tmp_path / "studies").glob("*.journal"))) == 2

    # Every number of a real results.json: a test value, or what one may choose on.
    allowed = [path for path in leaves(results) if not FROM_TEST & set(path.split("."))]
    for path in leaves(results):
        if path not in allowed:
            with pytest.raises(ValueError, match="the test split"):
                read_objectives([{"value": path}], lambda: "max")
    kinds = {path.rpartition(".")[2] for path in allowed}
    of_models = {"val", "parameters", "megabytes", "steps", "steps_before", "best_step", "seconds", "latency"}
    of_runs = {"seed", "teacher_seed", "temperature", "alpha", "batch_size", "num_labeled", "wall_seconds"}
    assert kinds <= of_models | of_runs, "a new number: does it come from the test split?"


@pytest.mark.full
def test_a_failed_trial_is_not_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("hydra/sweeper/sampler=grid", "temperature=1,-1,2", "+vars.api_key=hunter2")
    answer = search(capsys, tmp_path, *words, n_trials=3)
    assert answer.code == 1
    assert "job 1 failed: ConfigError: temperature=-1: a number > 0 is expected" in answer.err
    assert [row["state"] for row in trials(sweeps(tmp_path)[0])] == ["complete", "fail", "complete"]
    written = "".join(path.read_text() for path in tmp_path.rglob("*.json")) + "".join(
        path.read_text() for path in tmp_path.rglob("*.journal")
    )
    assert "hunter2" not in answer.out + answer.err + written
    again = search(capsys, tmp_path, *words, n_trials=3)
    assert again.code == 1
    assert sum("from" not in job.record for job in read_sweep(sweeps(tmp_path)[-1]).jobs) == 1, "only the failed one"


def test_quality_against_size_in_sqlite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "hydra/sweeper/sampler=nsgaii",
        "hydra.sweeper.objectives=[{value: models.distilled.val}, {value: models.distilled.parameters}]",
        f"hydra.sweeper.storage=sqlite:///{tmp_path}/mine.db",
        "hydra.sweeper.study_name=mine",
        "student=choice(mlp_tiny,mlp)",
        "temperature=1,2",
    )
    answer = search(capsys, tmp_path, *words, n_trials=3)
    assert (answer.code, answer.err) == (0, "")
    record = json.loads((sweeps(tmp_path)[0] / "study.json").read_text())
    assert (record["name"], record["storage"]) == ("mine", f"sqlite:///{tmp_path}/mine.db")
    assert [each["direction"] for each in record["objectives"]] == ["maximize", "minimize"]
    assert record["best"]
    assert f"optuna-dashboard sqlite:///{tmp_path}/mine.db" in answer.out


def test_a_sweep_file_says_what_to_search(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "sweep").mkdir(parents=True)
    (tmp_path / "conf" / "sweep" / "mine.yaml").write_text(
        "# @package _global_\n# kd run -m sweep=mine\ndefaults:\n  - override /hydra/sweeper: optuna\n"
        "  - override /hydra/sweeper/sampler: random\nhydra:\n  sweeper:\n    n_trials: 2\n    seed: 7\n"
        "    params:\n      temperature: int(interval(1, 9))\n      alpha: range(0.2, 1, 0.2)\n      student: mlp_tiny\n"
    )
    answer = kd(capsys, "run", "-m", "sweep=mine", "hydra/launcher=inline", *DIGITS, "teacher=mlp", "outputs=out")
    assert (answer.code, answer.err) == (0, "")
    (sweep,) = sweeps(Path("out"))
    assert sweep.parent.parent.name == "out"
    assert all(row["params.temperature"].isdigit() for row in trials(sweep))
    assert json.loads((sweep / "study.json").read_text())["name"].startswith("mine-")
    assert json.loads((sweep / "study.json").read_text())["sampler"] == "RandomSampler"


WRONG = [
    ((), "nothing to search"),
    (("hydra.sweeper.n_trials=0", *SPACE), "hydra.sweeper.n_trials=0: a whole number, 1 or more, is expected"),
    (("hydra.sweeper.n_jobs=1.5", *SPACE), "hydra.sweeper.n_jobs=1.5: a whole number, 1 or more, is expected"),
    (("hydra.sweeper.seed=-1", *SPACE), "hydra.sweeper.seed=-1: a whole number, 0 or more, is expected"),
    (("hydra.sweeper.n_trails=3", *SPACE), "hydra.sweeper.n_trails"),
    (
        ("hydra/sweeper/sampler=tpee", *SPACE),
        "hydra/sweeper/sampler=tpee: there is no such choice; did you mean 'tpe'?",
    ),
    (("hydra/sweeper/sampler=null", *SPACE), "kd ls hydra/sweeper/sampler lists them"),
    (("hydra.sweeper.sampler=tpe", *SPACE), "choose one with hydra/sweeper/sampler="),
    (("+hydra.sweeper.sampler.n_startup_trails=3", *SPACE), "did you mean 'n_startup_trials'?"),
    (("hydra.sweeper.sampler.n_startup_trials=many", *SPACE), "hydra.sweeper.sampler: "),
    (
        ("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_warmup_steps=-1", *SPACE),
        "optuna.pruners.MedianPruner: ",
    ),
    (("hydra.sweeper.sampler._target_=os.system", *SPACE), "'os.system' is not on the allowlist"),
    (("hydra.sweeper.sampler._target_=optuna.pruners.NopPruner", *SPACE), "no argument 'n_startup_trials'"),
    (("hydra/sweeper/sampler=grid", *SPACE), "temperature=interval(1,4): a grid needs every value"),
    (("hydra/sweeper/sampler=cmaes", "temperature=1,2"), "CMA-ES searches numbers"),
    (("hydra/sweeper/sampler=nsgaii", "hydra.sweeper.sampler.population_size=1", *SPACE), "population_size"),
    (("temperature=glob(*)",), "temperature=choice(...)"),
    (("student=choice(mlp_tiny,mlp_tinny)",), "did you mean 'mlp_tiny'?"),
    (("temprature=interval(1,4)",), "unknown setting 'temprature'; did you mean 'temperature'?"),
    (("hydra.sweeper.objectives=[{value: models.distilled.test}]", *SPACE), "'test' comes from the test split"),
    (("hydra.sweeper.objectives=[]", *SPACE), "a list such as"),
    (("hydra.sweeper.storage=mine.db", *SPACE), "none of null, memory, FILE.journal"),
    (("hydra.sweeper.storage=postgresql://me:hunter2@127.0.0.1:9/x", *SPACE), "postgresql://me:***@127.0.0.1:9/x"),
    (("hydra.sweeper.study_name=a/b", *SPACE), "hydra.sweeper.study_name 'a/b' must be a plain name"),
]
"""Words of a search -> what is said of them."""


@pytest.mark.few(4)
@pytest.mark.parametrize(("words", "said"), WRONG)
def test_a_wrong_setting_is_said_before_the_first_job(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, tmp_path, *words)
    assert said in line
    assert "hunter2" not in line


TWO = "hydra.sweeper.objectives=[{value: models.distilled.val}, {value: models.distilled.parameters}]"


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hydra/sweeper/pruner=median", TWO, *SPACE), "with several objectives nothing can be pruned"),
        (("hydra/sweeper/sampler=cmaes", TWO, *SPACE), "CMA-ES has one objective"),
    ],
)
def test_what_does_not_go_with_several_objectives(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, tmp_path, *words)


def test_known_samplers_and_pruners_are_found() -> None:
    assert [path.stem for path in PARTS["sampler"]] == ["cmaes", "gp", "grid", "nsgaii", "random", "tpe"]
    assert [path.stem for path in PARTS["pruner"]] == ["hyperband", "median", "none"]


@pytest.mark.parametrize("pruner", PARTS["pruner"], ids=lambda path: path.stem)
@pytest.mark.parametrize("sampler", PARTS["sampler"], ids=lambda path: path.stem)
def test_every_sampler_goes_with_every_pruner(sampler: Path, pruner: Path) -> None:
    root = OmegaConf.create(
        {"validate_every": 10, "sampler": OmegaConf.load(sampler), "pruner": OmegaConf.load(pruner)}
    )
    settings: Any = {**OmegaConf.to_container(root, resolve=True), "seed": 0}  # type: ignore[dict-item]
    space = space_of("a=range(1,9)", "b=x,y" if sampler.stem != "cmaes" else "b=interval(0,1)")
    make, judge = build_sampler(settings, space, [VAL]), build_pruner(settings, [VAL])
    rehearse_trials(make, judge, space, [VAL])
    assert make(0) is not make(0)
    assert judge is not None


def test_a_missing_package_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("kd_lightning.sweeps.search.from_config")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = search(capsys, tmp_path, *SPACE)
    assert answer.code == 2
    assert answer.err == "kd: MissingExtraError: optuna is not installed: pip install 'kd-lightning[sweep]'\n"


@pytest.mark.full
def test_other_code_and_a_searched_seed_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("hydra/sweeper/sampler=random", "temperature=1,2", "seed=0,1", "hydra.sweeper.study_name=mine")
    first = search(capsys, tmp_path, *words, n_trials=1)
    assert "the luckiest seed" in first.err
    assert "was begun" not in first.err
    monkeypatch.setattr("kd_lightning.sweeps.search.from_config.__version__", "9.9")
    again = search(capsys, tmp_path, *words, "student.pretrain_steps=0", n_trials=1)
    assert "study mine was begun with version " in again.err
    assert "and other fixed settings: its values may not compare" in again.err


@pytest.mark.full
def test_hyperband_counts_in_validations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("hydra/sweeper/pruner=hyperband", "hydra.sweeper.storage=memory", "validate_every=2", *SPACE)
    answer = search(capsys, tmp_path, *words, n_trials=1)
    assert (answer.code, answer.err) == (0, "")
    (sweep,) = sweeps(tmp_path)
    assert json.loads((sweep / "study.json").read_text())["pruner"] == "HyperbandPruner"
    assert json.loads((sweep / "0" / "trial.json").read_text())["pruning"] is True
    assert not (tmp_path / "studies").exists()
    wrong = search(capsys, tmp_path, *words, "hydra.sweeper.pruner.min_resource=often")
    assert "hydra.sweeper.pruner.min_resource='often': int is expected" in wrong.err


@pytest.mark.full
def test_poor_jobs_are_pruned_in_worker_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A learning rate of next to nothing is poor at the first validation; the job in its own process ends early."""
    words = (
        "hydra/launcher=process",
        "hydra/sweeper/sampler=grid",
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=1",
        "optimizer.lr=0.03,1e-9",
        "data.limit=null",
        "student.steps=1000",
        "student.pretrain_steps=1",
        "teacher.steps=200",
        "validate_every=20",
    )
    answer = search(capsys, tmp_path, *words)
    (sweep,) = sweeps(tmp_path)
    assert [row["state"] for row in trials(sweep)] == ["complete", "pruned"], answer
    assert json.loads((sweep / "1" / "job.json").read_text())["state"] == "pruned"
    assert len((sweep / "0" / "reports.csv").read_text().splitlines()) == 999 // 20 + 1
    assert len((sweep / "1" / "reports.csv").read_text().splitlines()) < 40
    assert answer.code == 0
