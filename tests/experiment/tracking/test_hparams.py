"""The HParams tab as TensorBoard's own plugin reads it from the event files of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.experiment.tracking.hparams import HParams
from kd_lightning.experiment.tracking.job import TrackedJob
from kd_lightning.experiment.tracking.values import metrics_of
from tests.support.tiny import SETTINGS, build
from tests.support.tracked import run_job

pytest.importorskip("tensorboard")


def logger(folder: Path) -> dict[str, Any]:
    return {
        "tensorboard": {
            "_target_": "pytorch_lightning.loggers.TensorBoardLogger",
            "save_dir": str(folder / "logs"),
            "version": "{stage}",
        }
    }


class Tab:
    """What TensorBoard would show of a log directory."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
        from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
        from tensorboard.context import RequestContext
        from tensorboard.plugins.base_plugin import TBContext
        from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(folder))
        context = backend_context.Context(TBContext(data_provider=provider, logdir=str(folder)))
        self.scalars = provider.list_scalars(RequestContext(), experiment_id="", plugin_name="scalars")
        experiment = get_experiment.Handler(
            RequestContext(), context, "", api_pb2.GetExperimentRequest(include_metrics=True)
        ).run()
        self.parameters = {info.name for info in experiment.hparam_infos}
        self.metrics = {info.name.tag for info in experiment.metric_infos}
        request = api_pb2.ListSessionGroupsRequest(
            start_index=0,
            slice_size=100,
            include_metrics=True,
            allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING],
            col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
            + [api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos],
        )
        groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
        self.rows = [
            (
                group.sessions[0].status == api_pb2.STATUS_SUCCESS,
                {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()},
                {value.name.tag: value.value for value in group.metric_values},
            )
            for group in groups
        ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two jobs that differ in temperature; only the second one says its alpha."""
    outputs = tmp_path_factory.mktemp("outputs")
    folder = outputs / "sweeps" / "one"
    first, said = run_job(outputs, folder / "0", logger(folder / "0"), ["temperature=1"], "one", temperature=1.0)
    second, more = run_job(
        outputs, folder / "1", logger(folder / "1"), ["temperature=4", "+vars.note=warm"], "one", temperature=4.0
    )
    assert said == more == []
    return folder, [first, second]


def test_the_tab_has_a_row_for_each_job_with_its_numbers(sweep: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, results = sweep
    tab = Tab(folder)
    assert {"temperature", "alpha", "lr", "seed", "loss", "student", "vars.note"} <= tab.parameters
    assert set(metrics_of(results[0])) <= tab.metrics
    rows = {row[1]["temperature"]: row for row in tab.rows}
    assert set(rows) == {1.0, 4.0}
    for temperature, found in zip((1.0, 4.0), results, strict=True):
        done, parameters, metrics = rows[temperature]
        assert done
        assert parameters["student"] == "TinyNet"
        assert metrics == pytest.approx(metrics_of(found), rel=1e-6)  # scalars are stored in 32 bits
    assert rows[4.0][1]["vars.note"] == "warm"


def test_the_curves_of_the_stages_are_where_they_were(sweep: tuple[Path, list[dict[str, Any]]]) -> None:
    scalars = Tab(sweep[0]).scalars
    assert {"train_loss", "val_cross_entropy"} <= set(scalars["0/logs/lightning_logs/distill"])
    assert "1/logs/lightning_logs/distill" in scalars


def test_a_job_that_is_run_again_has_one_row(sweep: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    _, (results, _) = sweep
    job = TrackedJob(tmp_path, None, {**SETTINGS, "temperature": 1.0}, [])
    for gain in (1.0, 2.0):
        HParams(job, build(logger(tmp_path)["tensorboard"])).finish({**results, "gain_over_baseline": gain})
    (row,) = Tab(tmp_path).rows
    assert row[2]["gain"] == 2.0


def test_jobs_that_share_a_log_directory_keep_their_rows(
    sweep: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    _, results = sweep
    for number, found in enumerate(results):
        job = TrackedJob(tmp_path / "sweeps" / "one" / str(number), "one", {**SETTINGS, "seed": number}, [])
        HParams(job, build(logger(tmp_path / "elsewhere")["tensorboard"])).finish(found)
    assert {row[1]["seed"] for row in Tab(tmp_path / "elsewhere").rows} == {0.0, 1.0}


def test_a_failed_job_has_no_row(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail(tmp_path)
    assert Tab(tmp_path).rows == []


def fail(folder: Path) -> None:
    from kd_lightning.experiment.tracking.track import track_job

    with track_job({**SETTINGS, "logger": logger(folder)}, build, folder, []):
        raise RuntimeError("on the way")
