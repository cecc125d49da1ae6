"""Where no profiler is asked for, one that costs nothing takes its place; else the one that is."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.profilers import PassThroughProfiler, SimpleProfiler

from kd_lightning.training.profiling import NoProfiler
from tests.support.tiny import experiment


def test_only_where_none_is_asked_for(tmp_path: Path) -> None:
    assert isinstance(experiment(tmp_path).builder.trainer.trainer(logger=False).profiler, NoProfiler)
    asked = {"trainer__profiler": {"_target_": "pytorch_lightning.profilers.SimpleProfiler"}}
    assert isinstance(experiment(tmp_path, **asked).builder.trainer.trainer(logger=False).profiler, SimpleProfiler)


def test_contexts_may_lie_in_one_another() -> None:
    profiler = NoProfiler()
    with profiler.profile("one"), profiler.profile("two"):
        pass
    assert isinstance(profiler, PassThroughProfiler)
