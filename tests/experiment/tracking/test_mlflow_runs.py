"""MLflow's own view, in a real SQLite store, of single runs and of sweeps in one and in several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.tracking.mlflow_curves import ENVIRONMENT, MLflowCurves, load_client
from kd_lightning.experiment.tracking.mlflow_runs import JOB_TAG, NOTE_TAG, PARENT_TAG, SWEEP_TAG, clean
from kd_lightning.experiment.tracking.track import track_job
from kd_lightning.experiment.tracking.values import metrics_of, params_of
from kd_lightning.process.stopping import Terminated
from kd_lightning.results.sweep_records import begin_job, begin_sweep
from tests.support.tiny import build, settings
from tests.support.tracked import run_job

pytest.importorskip("mlflow")
pytestmark = [
    pytest.mark.slow,
    # MLflow's own, of libraries it uses.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def no_telemetry() -> Iterator[None]:
    """Tests talk to nobody, and do not try for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


def logger(outputs: Path) -> dict[str, Any]:
    """As ``conf/logger/mlflow.yaml`` has it."""
    return {
        "mlflow": {
            "_target_": "kd_lightning.experiment.tracking.mlflow_curves.MLflowCurves",
            "stage": "{stage}",
            "experiment_name": "kd_lightning",
            "tracking_uri": f"sqlite:///{outputs}/mlflow.db",
            "artifact_location": f"{outputs}/mlflow",
        }
    }


class Runs:
    """All runs of a store."""

    def __init__(self, outputs: Path) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
        experiment = self.client.get_experiment_by_name("kd_lightning")
        self.all = list(self.client.search_runs([experiment.experiment_id])) if experiment else []
        self.parents = [run for run in self.all if SWEEP_TAG in run.data.tags]
        self.jobs = {run.data.tags[JOB_TAG]: run for run in self.all if JOB_TAG in run.data.tags}

    def curve(self, job: str, key: str) -> dict[int, float]:
        points = self.client.get_metric_history(self.jobs[job].info.run_id, key)
        assert len({point.step for point in points}) == len(points)
        return {point.step: point.value for point in points}


def metrics_csv(folder: Path, stage: str, split: str, name: str) -> dict[int, float]:
    lines = (folder / "metrics" / f"{stage}.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    return {int(step): float(value) for step, *names, value in rows if names == [split, name]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Two jobs of a sweep, one after the other: the second one finds teacher and student alone in the store."""
    outputs = tmp_path_factory.mktemp("outputs")
    folder = outputs / "sweeps" / "night"
    begin_sweep(folder, "kd run -m temperature=1,4", ["-m", "temperature=1,4"], "worker", "basic")
    found = []
    for number, temperature in enumerate((1.0, 4.0)):
        words = [f"temperature={temperature}", "student=tiny"]
        results, said = run_job(outputs, folder / str(number), logger(outputs), words, "night", temperature=temperature)
        assert said == []
        found.append(results)
    return outputs, folder, found


def test_a_sweep_is_a_parent_with_a_child_for_each_job(swept: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    outputs, _, _ = swept
    runs = Runs(outputs)
    (parent,) = runs.parents
    assert len(runs.all) == 3
    assert set(runs.jobs) == {"night/0", "night/1"}
    assert {run.data.tags[PARENT_TAG] for run in runs.jobs.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs.all} == {"FINISHED"}
    assert (parent.data.tags[SWEEP_TAG], parent.info.run_name) == ("night", "night")
    assert "2 configurations with one seed each" in parent.data.tags[NOTE_TAG]
    assert "Provisional" not in parent.data.tags[NOTE_TAG]


def test_children_carry_the_numbers_of_the_results(swept: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    outputs, folder, found = swept
    runs = Runs(outputs)
    for number, results in enumerate(found):
        run = runs.jobs[f"night/{number}"]
        on_disk = json.loads((folder / str(number) / "results.json").read_text())
        numbers = {name: value for name, value in run.data.metrics.items() if "/" not in name}
        assert numbers == metrics_of(on_disk) == metrics_of(results)
        made = settings(outputs, temperature=(1.0, 4.0)[number])
        words = [f"temperature={(1.0, 4.0)[number]}", "student=tiny"]
        assert run.data.params == {clean(name): str(value) for name, value in params_of(made, words).items()}
        assert run.data.params["model_student.model"] == "tiny"
        assert run.data.tags[NOTE_TAG] == results["verdict"]
        files = {file.path for file in runs.client.list_artifacts(run.info.run_id)}
        assert files == {"results.json", "report.md", "report.html"}


@pytest.mark.parametrize("stage", ["teacher", "baseline", "pretrain", "distill"])
@pytest.mark.parametrize("number", [0, 1], ids=["trained here", "teacher and student alone reused"])
def test_children_have_the_whole_curves_of_all_stages(
    swept: tuple[Path, Path, list[dict[str, Any]]], number: int, stage: str
) -> None:
    outputs, folder, found = swept
    runs = Runs(outputs)
    assert found[number]["models"]["teacher"]["reused"] == (number == 1)
    for split, name in (("train", "loss"), ("train", "lr"), ("val", "cross_entropy"), ("val", "accuracy")):
        expected = metrics_csv(folder / str(number), stage, split, name)
        assert expected
        assert runs.curve(f"night/{number}", f"{stage}/{split}_{name}") == pytest.approx(expected)


def test_a_single_run_has_no_parent(tmp_path: Path) -> None:
    results, said = run_job(tmp_path, tmp_path / "runs" / "alone", logger(tmp_path), ["seed=0"])
    assert said == []
    runs = Runs(tmp_path)
    (run,) = runs.all
    assert PARENT_TAG not in run.data.tags
    assert (run.info.run_name, run.info.status) == ("alone", "FINISHED")
    assert run.data.metrics["gain"] == results["gain_over_baseline"]


def opened(outputs: Path, number: int, error: BaseException | None = None, **changes: Any) -> str:
    """Open and close a job's runs without training; the run's id."""
    folder = outputs / "sweeps" / "s" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    made = settings(outputs, logger=logger(outputs), **changes)
    with track_job(made, build, folder, [f"seed={number}"], "s") as tracked:
        run: str = tracked.settings["logger"]["mlflow"]["run_id"]
        assert Runs(outputs).client.get_run(run).info.status == "RUNNING"
        if error:
            raise error
        tracked.trackers["mlflow"]._close("FINISHED")  # type: ignore[attr-defined]
    return run


def test_a_job_that_failed_goes_on_in_its_run(tmp_path: Path) -> None:
    opened(tmp_path, 0)
    for error, status in ((RuntimeError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (Terminated(), "KILLED")):
        with pytest.raises(type(error)):
            opened(tmp_path, 1, error)
        runs = Runs(tmp_path)
        assert runs.jobs["s/1"].info.status == status
        assert runs.parents[0].info.status == "FAILED"
    opened(tmp_path, 1)
    runs = Runs(tmp_path)
    assert len(runs.all) == 3
    assert {run.info.status for run in runs.all} == {"FINISHED"}


def test_another_job_in_the_same_folder_has_a_run_of_its_own(tmp_path: Path) -> None:
    """MLflow refuses to change parameters; and the old run's would be lies."""
    first = opened(tmp_path, 0, alpha=0.1)
    assert opened(tmp_path, 0, alpha=0.2) != first
    assert opened(tmp_path, 0, alpha=0.1) == first


def test_an_unreachable_server_is_an_error_before_anything_is_trained(tmp_path: Path) -> None:
    node = {"mlflow": {**logger(tmp_path)["mlflow"], "tracking_uri": "http://me:hunter2@127.0.0.1:9"}}
    with pytest.raises(
        ConfigError, match=r"no run can be opened there .*: start it, or leave the logger out"
    ) as caught:
        run_job(tmp_path, tmp_path / "run", node, [])
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_nobody_tries_for_minutes_unless_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    load_client()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    began = time.monotonic()
    client = MLflowCurves("teacher", "http://127.0.0.1:9", "x").client
    with pytest.raises(Exception, match="HTTPConnectionPool"):
        client.get_experiment_by_name("x")
    assert time.monotonic() - began < 10


def test_a_store_that_breaks_on_the_way_costs_no_result(tmp_path: Path) -> None:
    """The database is gone when the first stage starts to log."""
    folder = tmp_path / "run"

    def breaking(node: Any) -> Any:
        if isinstance(node, dict) and node.get("stage") == "teacher":
            broken.append((tmp_path / "mlflow.db").rename(tmp_path / "away"))
            (tmp_path / "mlflow.db").mkdir()
        return build(node)

    broken: list[Path] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.support.tracked.build", breaking)
            results, said = run_job(tmp_path, folder, logger(tmp_path), [])
    assert len(broken) == 1
    assert json.loads((folder / "results.json").read_text())["verdict"] == results["verdict"]
    (sentence,) = said
    assert sentence.startswith("mlflow: the results could not be logged there, only here: ")
    told = [str(each.message) for each in caught if "curves are added at the job's end" in str(each.message)]
    assert [line.split("'")[0] for line in told] == [
        f"mlflow: {s}" for s in ("teacher", "baseline", "pretrain", "distill")
    ]
    assert all(len(line.splitlines()) == 1 for line in [*said, *told])


def test_curves_that_did_not_arrive_are_added_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send, calls = MLflowCurves.send, []

    def failing(self: MLflowCurves, values: Any) -> None:
        calls.append(self.stage)
        if self.stage == "baseline" and calls.count("baseline") == 3:
            raise OSError("database is locked")
        send(self, values)

    monkeypatch.setattr(MLflowCurves, "send", failing)
    folder = tmp_path / "run"
    with pytest.warns(UserWarning, match="baseline's curves are added at the job's end: database is locked"):
        _, said = run_job(tmp_path, folder, logger(tmp_path), [])
    assert said == []
    curve = Runs(tmp_path).curve("run", "baseline/train_loss")
    assert curve == pytest.approx(metrics_csv(folder, "baseline", "train", "loss"))
    assert len(curve) == 10


def in_own_process(outputs: str, number: int, gate: Any, environ: dict[str, str]) -> None:
    """A job that starts when all others do."""
    os.environ.update(environ)
    warnings.simplefilter("ignore")
    import mlflow  # noqa: F401 - seconds that would pull the processes apart

    gate.wait()
    folder = Path(outputs) / "sweeps" / "s" / str(number)
    begin_job(folder, number, [f"seed={number}"])
    with track_job(settings(Path(outputs), logger=logger(Path(outputs))), build, folder, [f"seed={number}"], "s"):
        gate.wait()  # all are at work at the same time


@pytest.mark.full
def test_jobs_in_several_processes_share_one_parent(tmp_path: Path) -> None:
    context, count = multiprocessing.get_context("forkserver"), 2
    gate = context.Barrier(count)
    workers = [
        context.Process(target=in_own_process, args=(str(tmp_path), number, gate, dict(os.environ)))
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * count
    runs = Runs(tmp_path)
    (parent,) = runs.parents
    assert set(runs.jobs) == {"s/0", "s/1"}
    assert {run.data.tags[PARENT_TAG] for run in runs.jobs.values()} == {parent.info.run_id}
    assert len(runs.all) == count + 1


@pytest.mark.full
def test_other_processes_of_a_job_on_several_devices_track_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with track_job(settings(tmp_path, logger=logger(tmp_path)), build, tmp_path / "run", []) as tracked:
        assert tracked.trackers == {}
        build({**tracked.settings["logger"]["mlflow"], "stage": "teacher"}).log_metrics({"train_loss": 1.0}, step=1)
    assert not (tmp_path / "mlflow.db").exists()
