"""Records that others may have written: read with care, refused with the path and the reason, never with a traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import KDError
from kd_lightning.safety import json_files, record_fields
from kd_lightning.safety.json_files import read_json, read_record
from tests.results.report.sweep_sample import results, write_grid, write_json
from tests.support.cli import kd


def test_what_is_well_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"val": NaN, "steps": 3, "more": [1.5, -Infinity]}', encoding="utf-8")
    found = read_record(path, {"val": json_files.NUMBER, "steps": json_files.WHOLE}, ("steps",))
    assert str(found) == "{'val': nan, 'steps': 3, 'more': [1.5, -inf]}"
    write_json(path, results(40.0, 0))
    assert read_record(path, record_fields.RESULTS_FIELDS) == results(40.0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not readable as JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 32 deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested more than 32 deep"),
        (b'{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a whole number of 401 digits"),
        (b'{"a": "\xff"}', "no UTF-8 text at byte 7"),
        (b" " * 300, "larger than"),
    ],
)
def test_what_makes_no_sense_is_refused(
    content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    largest = 200 if said == "larger than" else 2**20
    monkeypatch.setattr(json_files.read_text, "__defaults__", (largest, "strict", False))
    with pytest.raises(KDError, match=said) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_read_and_nobody_waits(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.json")
    with pytest.raises(KDError, match=r"a\.json: (no regular file|cannot be read)"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"val": [1]}, "field 'val' is a list, a number is expected"),
        ({"val": True}, "field 'val' is true or false, a number is expected"),
        ({"steps": 1.5}, "field 'steps' is a number, a whole number is expected"),
        ({"metrics": {"accuracy": "x"}}, "field 'metrics.accuracy' is a text, a number is expected"),
        ({"metrics": 3}, "field 'metrics' is a whole number, an object with fields is expected"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(found: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", found)
    with pytest.raises(KDError, match=said):
        read_record(tmp_path / "a.json", record_fields.MODEL_FIELDS)


WRONG: list[Any] = [None, True, -1, 10**30, 1.5, "x", [], ["x"], {}, {"x": 1}, "\x1b[31m"]
FILES = ("sweep.json", "0/job.json", "0/results.json", "0/progress.json")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_record_of_one_job_takes_nothing_from_the_others(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each field of each record with each wrong value: no traceback, and the other job is told of. On the old code 52 kinds."""
    write_grid(tmp_path, {"temperature": (1, 2)})
    path = tmp_path / name
    whole = json.loads(path.read_text()) if path.exists() else {"stage": "distill", "step": 1, "steps": 2, "note": "a"}
    for field in [*whole, "error", "reused", "clock", "pid"]:
        for wrong in WRONG:
            write_json(path, {**whole, field: wrong})
            answer = kd(capsys, "status", str(tmp_path))
            assert answer.code in (0, 1), (field, wrong, answer.err)
            assert answer.err == ""
            assert "job 1 temperature=2: done" in answer.out
            assert "\x1b" not in answer.out


def test_an_unreadable_job_is_a_row_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_grid(tmp_path, {"temperature": (1, 2, 4)})
    found = results(40.0, 0)
    found["models"]["distilled"]["val"] = ["x"]
    write_json(tmp_path / "1" / "results.json", found)
    (tmp_path / "2" / "job.json").unlink()
    os.mkfifo(tmp_path / "2" / "job.json")
    why = "results.json: field 'models.distilled.val' is a list, a number is expected"
    answer = kd(capsys, "status", str(tmp_path))
    assert f"job 1 temperature=2: unreadable: {why}" in answer.out
    assert "job 2: unreadable: job.json: no regular file, so it is not read" in answer.out
    assert kd(capsys, "report", str(tmp_path)).code == 0
    assert why.replace("'", "&#x27;") in (tmp_path / "report.html").read_text(encoding="utf-8")
