"""Whole runs with a stored teacher: the live run's results, one writing for all jobs, and nothing done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning.errors import ConfigError
from kd_lightning.experiment import stored_or_live
from kd_lightning.store import Entry
from tests.support.processes import in_two
from tests.support.tiny import SETTINGS, experiment
from tests.training.distributed.test_several_processes import PLAIN
from tests.training.test_resume import Stop, StopAfter, run, stored

HIDDEN = {"_target_": "kd_lightning.teachers.stored.hidden.Hidden", "dtype": "fp16"}
CACHED = {"_target_": "kd_lightning.teachers.stored.hidden_or_logits.HiddenOrLogits", "dtype": "fp16"}
NONE = {"_target_": "kd_lightning.teachers.stored.topk.TopK", "k": 2, "missing_mass": "none"}
LIVE = SETTINGS["teacher_outputs"]
AUTO = {"_target_": "kd_lightning.teachers.auto.Auto", "cached": CACHED, "live": LIVE}
HEADED: dict[str, Any] = {"teacher__model": {"_target_": "tests.support.headed.HeadedNet"}}
SOFT = ("pretrain", "distill")


def told(outputs: Path, **changes: Any) -> tuple[list[str], list[str]]:
    """Run; the stages that were not reused, and the board's lines."""
    one = experiment(outputs, **{**HEADED, "checkpoint_every": 100, **changes})
    found = one.run()
    return [stage for stage, record in found.records.items() if not record["reused"]], one.context.board.lines  # type: ignore[attr-defined]


def caches(outputs: Path) -> list[Path]:
    return sorted(path for path in (outputs / "store" / "teacher_outputs").glob("*") if path.is_dir())


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[str]]:
    """Outputs of a run with stored hidden states."""
    outputs = tmp_path_factory.mktemp("first")
    return outputs, *told(outputs, teacher_outputs=HIDDEN)


@pytest.fixture
def outputs(first: tuple[Path, list[str], list[str]], tmp_path: Path) -> Path:
    """A copy of its own of these."""
    return Path(shutil.copytree(first[0], tmp_path / "outputs"))


def test_the_rows_are_written_between_the_baseline_and_the_stages_that_read_them(
    first: tuple[Path, list[str], list[str]],
) -> None:
    _, ran, lines = first
    assert ran == ["teacher", "baseline", *SOFT]
    starts = [line for line in lines if line.startswith("start ")]
    order = ["data", "teacher", "baseline", "teacher_outputs", *SOFT, "test"]
    assert starts == [f"start {stage}" for stage in order]
    assert any(line.startswith("done teacher_outputs: Hidden(fp16), 40 rows, ") for line in lines)


def test_the_student_is_the_live_teachers_within_rounding(
    first: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    # Not AdamW: it blows up what is lost in rounding wherever a gradient is about zero.
    sgd = {"student__optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}}
    folders = tmp_path / "live", tmp_path / "stored"
    for folder, source in zip(folders, (LIVE, HIDDEN), strict=True):
        shutil.copytree(first[0] / "store" / "teacher", folder / "store" / "teacher")
        told(folder, teacher_outputs=source, **sgd)
    for stage in SOFT:
        one, other = (load_file(next(f.glob(f"store/{stage}/*/weights.safetensors"))) for f in folders)
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], atol=1e-4, rtol=1e-3)


def test_the_teacher_is_on_record_as_unchanged(first: tuple[Path, list[str], list[str]]) -> None:
    for stage in SOFT:
        record = json.loads(next(first[0].glob(f"store/{stage}/*/result.json")).read_text())
        assert record["teacher_unchanged"] is True
        (folder,) = caches(first[0])
        assert record["teacher_hash"] == json.loads((folder / "manifest.json").read_text())["teacher"]


def test_the_same_again_reads_nothing(outputs: Path) -> None:
    shutil.rmtree(outputs / "store" / "teacher_outputs")
    ran, lines = told(outputs, teacher_outputs=HIDDEN)
    assert ran == []
    assert "done teacher_outputs: not needed: all that reads them is stored" in lines
    assert caches(outputs) == []


def test_the_usual_policy_is_the_same_key_as_what_it_resolves_to(outputs: Path) -> None:
    assert told(outputs, teacher_outputs=CACHED)[0] == []


@pytest.mark.parametrize(
    ("changes", "again", "written"),
    [
        ({"alpha": 0.2}, ["distill"], 0),
        ({"temperature": 3.0, "seed": 4, "student__model__width": 6, "student__steps": 9}, ["baseline", *SOFT], 0),
        ({"data__eval_batch_size": 5, "alpha": 0.2}, ["distill"], 0),
        ({"teacher_outputs": {**HIDDEN, "dtype": "int8"}}, [*SOFT], 1),
        ({"teacher_outputs": NONE, "temperature": 1.0}, [*SOFT], 1),
        ({"teacher_outputs": LIVE}, [*SOFT], 0),
        ({"teacher__seed": 1}, ["teacher", *SOFT], 1),
        ({"data__source__train": 41}, ["teacher", "baseline", *SOFT], 1),
    ],
)
def test_what_makes_new_rows_and_what_reads_the_old_ones(
    changes: dict[str, Any], again: list[str], written: int, outputs: Path
) -> None:
    ran, lines = told(outputs, **{"teacher_outputs": HIDDEN, **changes})
    assert ran == again
    assert len(caches(outputs)) == 1 + written
    assert any("reused" in line for line in lines if line.startswith("done teacher_outputs")) is (
        not written and changes.get("teacher_outputs") is not LIVE
    )


def test_damage_is_mended_with_a_line(outputs: Path) -> None:
    (folder,) = caches(outputs)
    shard = folder / "shard-00000.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    _, lines = told(outputs, teacher_outputs=HIDDEN, alpha=0.2)
    assert f"teacher outputs: written again ({folder}: shard-00000.npy is damaged)" in lines
    assert shard.read_bytes() == whole
    assert Entry(folder).problem() is None


@pytest.mark.parametrize("anew", [False, True], ids=["kept", "written anew"])
def test_a_stopped_run_ends_the_same(anew: bool, first: tuple[Path, list[str], list[str]], tmp_path: Path) -> None:
    """Stopped once in pre-training, once in distillation."""
    shutil.copytree(first[0] / "store" / "teacher", tmp_path / "store" / "teacher")
    shutil.copytree(first[0] / "store" / "baseline", tmp_path / "store" / "baseline")
    for step in (2, 4):
        with pytest.raises(Stop):
            run(tmp_path, [StopAfter(step)], **HEADED, teacher_outputs=HIDDEN)
        if anew:
            shutil.rmtree(tmp_path / "store" / "teacher_outputs")
    run(tmp_path, **HEADED, teacher_outputs=HIDDEN)
    assert stored(tmp_path) == stored(first[0])


def test_two_processes_read_what_one_has_written(tmp_path: Path) -> None:
    """No BatchNorm, no dropout: two halves of a batch make the step of the whole."""
    plain = {"teacher_outputs": CACHED, **PLAIN}
    told(tmp_path / "one", **plain)
    assert any("AllLogits" in line for line in told(tmp_path / "two", **plain, **in_two())[1])

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return load_file(next(folder.glob("store/distill/*/weights.safetensors")))

    # The teacher is trained in two processes as well, so a last bit may be rounded the other way.
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two")[name], atol=1e-4, rtol=1e-4)


def test_renormalized_and_hot_is_warned_of_with_the_measured_cosine(outputs: Path) -> None:
    _, lines = told(outputs, teacher_outputs=NONE, temperature=4.0)
    assert any(line.startswith("warning: teacher_outputs.missing_mass=none at temperature 4") for line in lines)
    assert not any("warning" in line for line in told(outputs, teacher_outputs=NONE, temperature=1.0)[1])
    by_position = {"_target_": "kd_lightning.losses.functional.sample_temperature.CWSM"}
    changes: dict[str, Any] = {"temperature": 1.0, "loss__kd__temperature": by_position}
    assert any("warning" in line for line in told(outputs, teacher_outputs=NONE, **changes)[1]), "some are above T"
    assert not any("warning" in line for line in told(outputs, teacher_outputs=HIDDEN, temperature=4.0)[1])


def test_what_is_not_possible_is_said_before_the_first_step(tmp_path: Path) -> None:
    for changes in (
        {"teacher_outputs": HIDDEN, "teacher__model": SETTINGS["teacher"]["model"]},
        {"teacher_outputs": {**NONE, "k": 99}},
    ):
        with pytest.raises(ConfigError, match="teacher_outputs"):
            told(tmp_path, **changes)
        assert not (tmp_path / "store" / "teacher").exists()


# -- auto -------------------------------------------------------------------------------------------------------------


def sweep_of(outputs: Path, jobs: int) -> dict[str, Any]:
    """A run folder inside a sweep that plans so many jobs."""
    folder = outputs / f"sweep{jobs}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    return {"folder": str(folder / "0"), "teacher_outputs": AUTO}


def choice(lines: list[str]) -> str:
    (line,) = (line for line in lines if line.startswith(("teacher outputs: live:", "teacher outputs: stored:")))
    return line.removeprefix("teacher outputs: ")


ROWS_READ = {"data__source__train": 60}
"""A job reads 10 steps x 8 rows = 80 of 60 rows: two jobs pay, one does not."""


def test_a_single_run_is_live_and_a_sweep_stored(tmp_path: Path) -> None:
    lines = told(tmp_path / "one", teacher_outputs=AUTO, **ROWS_READ)[1]
    reads = "10 steps x 8 rows read the teacher {} times, the training split has 60 rows"
    assert choice(lines) == f"live: 1 job x {reads.format(80)}"
    assert "done teacher_outputs: not needed: it is live" in lines
    assert caches(tmp_path / "one") == []
    assert (
        choice(told(tmp_path / "two", **sweep_of(tmp_path, 2), **ROWS_READ)[1])
        == f"stored: 2 jobs x {reads.format(160)}"
    )
    assert len(caches(tmp_path / "two")) == 1


def test_running_it_again_reruns_nothing_whatever_the_rule_says_now(tmp_path: Path) -> None:
    for name, before, after in (("a", 1, 4), ("b", 4, 1)):
        outputs = tmp_path / name
        told(outputs, **sweep_of(outputs, before), **ROWS_READ)
        ran, lines = told(outputs, **sweep_of(outputs, after), **ROWS_READ)
        assert ran == []
        assert choice(lines) == f"{'live' if before == 1 else 'stored'}: distill is finished that way"


def test_what_has_begun_is_gone_on_with(tmp_path: Path) -> None:
    """Stopped in pre-training under one key, it is not begun anew under the other."""
    with pytest.raises(Stop):
        run(tmp_path, [StopAfter(24)], **{**HEADED, **ROWS_READ, **sweep_of(tmp_path, 1)})
    _, lines = told(tmp_path, **sweep_of(tmp_path, 4), **ROWS_READ, checkpoint_every=1)
    assert choice(lines) == "live: pretrain has begun that way"
    assert any(line.startswith("pretrain: goes on from") for line in lines)


def test_rows_that_are_there_are_used(tmp_path: Path) -> None:
    told(tmp_path, teacher_outputs=HIDDEN, **ROWS_READ)
    (folder,) = caches(tmp_path)
    lines = told(tmp_path, **sweep_of(tmp_path, 1), **ROWS_READ, seed=9)[1]
    assert choice(lines) == f"stored: {folder.name[:8]} is there already"


def test_a_disk_without_room_is_a_reason_for_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_or_live, "free_bytes", lambda _: 100)
    lines = told(tmp_path, **sweep_of(tmp_path, 4), **ROWS_READ)[1]
    assert choice(lines).startswith("live: 4 jobs")
    assert "have no room on the disk" in choice(lines)
