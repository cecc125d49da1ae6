"""Runs on views of images: stored outputs are refused, what is resumed ends the same, and a cohort sees what each job sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from tests.support.tiny import entries, experiment
from tests.training.test_resume import Stop, StopAfter, run
from tests.training.test_resume import stored as stored_below
from tests.training.together.test_one_fit import one, side_by_side, stored


class TinyImages:
    """A source: noise, brighter on the left, in the middle or on the right."""

    def digest(self) -> str:
        return "tiny images"

    def prepare(self) -> Prepared:
        splits = {}
        for split, size in {"train": 24, "val": 9, "test": 9}.items():
            targets = torch.arange(size) % 3
            pixels = torch.randint(0, 100, (size, 1, 6, 6), generator=torch.Generator().manual_seed(size))
            for row, target in enumerate(targets.tolist()):
                pixels[row, :, :, 2 * target : 2 * target + 2] += 100
            splits[split] = Table({"inputs": pixels.to(torch.uint8), "targets": targets})
        return Prepared(splits)


NETWORK = {"_target_": "kd_lightning.models.convnet.ConvNet", "num_classes": 3, "channels": [3, 4]}
CACHED = {"_target_": "kd_lightning.teachers.stored.logits.AllLogits"}
LIVE = {"_target_": "kd_lightning.teachers.live.LiveTeacher", "_partial_": True}
AUTO = {"_target_": "kd_lightning.teachers.auto.Auto", "cached": CACHED, "live": LIVE}
AUGMENTED: dict[str, Any] = {
    "data__source": {"_target_": "tests.experiment.test_augmented_runs.TinyImages"},
    "data__augment": {"crop": 1, "flip": True, "mixup": 0.4},
    "task__example": {"_target_": "kd_lightning.tasks.examples.ArrayExample", "shape": [1, 6, 6]},
    "teacher__model": NETWORK,
    "student__model": {**NETWORK, "channels": [2, 3]},
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_stopped_run_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    run(tmp_path / "whole", **AUGMENTED)
    for step in (7, 9, 11):
        with pytest.raises(Stop):
            run(tmp_path / "parts", [StopAfter(step)], **AUGMENTED)
    run(tmp_path / "parts", **AUGMENTED)
    assert stored_below(tmp_path / "parts") == stored_below(tmp_path / "whole") != {}


def test_jobs_side_by_side_give_what_they_give_alone(tmp_path: Path) -> None:
    jobs = [{**AUGMENTED, "alpha": alpha} for alpha in (0.3, 0.9)]
    together, errors = side_by_side(tmp_path / "together", jobs)
    assert errors == [None, None]
    assert any("in step with 1 other job" in line for line in together[0].context.board.lines)  # type: ignore[attr-defined]
    for number, job in enumerate(jobs):
        alone = one(tmp_path / "alone", **job)
        alone.run()
        assert stored(alone) == stored(together[number])


def test_views_are_in_the_keys(tmp_path: Path) -> None:
    first = experiment(tmp_path, **AUGMENTED)
    first.run()
    plain = experiment(tmp_path, **{**AUGMENTED, "data__augment": None})
    plain.run()
    for stage, entry in entries(first).items():
        assert entry.key != entries(plain)[stage].key
        weights = [found.path("weights.safetensors").read_bytes() for found in (entry, entries(plain)[stage])]
        assert weights[0] != weights[1]


def test_stored_outputs_are_refused_and_auto_is_live(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.augment shows another view .*: set teacher_outputs=live"):
        experiment(tmp_path, **AUGMENTED, teacher_outputs=CACHED).run()
    chosen = experiment(tmp_path, **AUGMENTED, teacher_outputs=AUTO)
    chosen.run()
    assert "teacher outputs: live: data.augment shows the teacher another view of each image at each epoch" in (
        chosen.context.board.lines  # type: ignore[attr-defined]
    )
    assert not list(tmp_path.glob("store/teacher_outputs/*/status.json"))
