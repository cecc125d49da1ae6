"""``kd report``: which page from which folders, and one line for what cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_lightning.cli.main import main
from tests.results.report.sweep_sample import results, write_grid, write_json, write_troubled

Kd = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kd(capsys: pytest.CaptureFixture[str]) -> Kd:
    """``kd report`` with its exit code, what it printed, and what it complained of."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        code = main(["report", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def write_run(folder: Path, value: float = 40.0) -> Path:
    write_json(folder / "results.json", results(value, 0))
    (folder / "overrides.txt").write_text(f"alpha={value / 100}\n", encoding="utf-8")
    return folder


def test_a_run_gets_its_own_report(kd: Kd, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    code, out, err = kd(run)
    assert (code, err) == (0, "")
    head, *_, verdict, teacher, path = out.splitlines()
    assert head.split()[:3] == ["model", "validation", "perplexity"]
    assert verdict == "This run recorded no verdict."
    assert teacher.startswith("Teacher's parameters")
    assert path == str(run / "report.html")
    assert "Distillation report" in (run / "report.html").read_text(encoding="utf-8")
    assert not (run / "results.csv").exists()


def test_a_sweep_gets_its_page_also_while_it_runs(kd: Kd, tmp_path: Path) -> None:
    sweep = write_troubled(tmp_path / "sweep")
    assert kd(sweep) == (0, f"{sweep / 'report.html'}\n", "")
    assert "Sweep report" in (sweep / "report.html").read_text(encoding="utf-8")
    assert (sweep / "results.csv").is_file()
    assert (sweep / "report.md").is_file()


def test_several_are_pooled_into_the_first_sweep_or_out(kd: Kd, tmp_path: Path) -> None:
    one = write_grid(tmp_path / "one", {"temperature": (1, 2)})
    run = write_run(tmp_path / "run")
    code, out, _ = kd(run, one)
    assert (code, out) == (0, f"{one / 'report.html'}\n")
    assert "3 jobs" in (one / "report.html").read_text(encoding="utf-8")
    for words in (("--out", tmp_path / "a"), (f"--out={tmp_path / 'a'}",)):
        assert kd(run, *words, one)[1] == f"{tmp_path / 'a' / 'report.html'}\n"
    assert kd(run, write_run(tmp_path / "other", 41.0), "--out", tmp_path / "b")[0] == 0
    assert "2 jobs" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")


def test_of_several_what_is_no_run_is_skipped_with_a_line(kd: Kd, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "runs" / "a"), write_run(tmp_path / "runs" / "b", 41.0)]
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "file").write_text("", encoding="utf-8")
    code, out, err = kd(*sorted((tmp_path / "runs").iterdir()), "--out", tmp_path / "page")
    assert (code, out) == (0, f"{tmp_path / 'page' / 'report.html'}\n")
    assert [line.partition(": ")[2].split(":")[0] for line in err.splitlines()] == [
        f"skipped {tmp_path / 'runs' / name}" for name in ("empty", "file")
    ]
    assert "2 jobs" in (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert kd(*runs, tmp_path / "runs" / "typo", "--out", tmp_path / "page")[0] == 2
    assert kd(tmp_path / "runs" / "empty", tmp_path / "runs" / "file")[0] == 2


def test_a_file_that_lies_in_the_folder_will_do(kd: Kd, tmp_path: Path) -> None:
    sweep = write_grid(tmp_path / "sweep", {"temperature": (1, 2)})
    assert kd(sweep / "sweep.json")[:2] == (0, f"{sweep / 'report.html'}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which folder?"),
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "neither a sweep's folder (sweep.json or <n>/job.json) nor a run's (results.json)"),
        (["sweeps"], "holds sweeps and is none itself; name one, as"),
        (["run", "run"], "2 runs and no sweep: say where their common report goes with --out FOLDER"),
        (["run", "--out"], "--out: which folder?"),
        (["run", "--pdf"], "no option '--pdf'"),
        (["torn"], "not readable as JSON"),
        (["sweeps/s", "--out", "run/results.json"], "run/results.json: File exists"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    kd: Kd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"))
    write_grid(Path("sweeps/s"), {"temperature": (1, 2)})
    Path("empty").mkdir()
    Path("torn").mkdir()
    Path("torn/results.json").write_text("{", encoding="utf-8")
    code, out, err = kd(*words)
    assert (code, out) == (2, "")
    assert err.startswith("kd report: ")
    assert said in err
    assert err.count("\n") == 1


def test_help(kd: Kd) -> None:
    code, out, err = kd("--help")
    assert (code, err) == (0, "")
    assert out.startswith("kd report FOLDER [...] [--out FOLDER]")


def test_it_needs_no_torch(tmp_path: Path) -> None:
    """In a fresh process: a page where torch cannot be imported. The positive control is the import itself."""
    sweep = write_grid(tmp_path / "sweep", {"temperature": (1, 2), "seed": (0, 1)})
    lines = [
        "import sys",
        "sys.modules['torch'] = None",
        "from kd_lightning.cli.main import main",
        f"code = main(['report', {str(sweep)!r}])",
        "try:",
        "    import torch",
        "except ImportError:",
        "    sys.exit(code + 40)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 40, done.stderr
    assert done.stdout == f"{sweep / 'report.html'}\n"


@pytest.mark.parametrize("name", ["config.yaml", "overrides.txt", "environment.json"])
def test_no_linked_file_is_copied_into_a_page(name: str, kd: Kd, tmp_path: Path) -> None:
    private = tmp_path / "key"
    private.write_text("BEGIN OPENSSH PRIVATE KEY", encoding="utf-8")
    run = write_run(tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(private)
    assert kd(run)[0] == 0
    assert "OPENSSH" not in (run / "report.html").read_text(encoding="utf-8")
    (run / name).unlink()
    (run / name).write_bytes(private.read_bytes())
    assert kd(run)[0] == 0
    assert "OPENSSH" in (run / "report.html").read_text(encoding="utf-8"), "the control: a file of the run is shown"


def test_numbers_are_read_through_no_link_and_pages_written_through_none(kd: Kd, tmp_path: Path) -> None:
    run, private = write_run(tmp_path / "run"), tmp_path / "private"
    private.mkdir()
    (private / "teacher.csv").write_text("step,split,name,value\n1,train,loss,1\n", encoding="utf-8")
    (run / "metrics").symlink_to(private)
    (run / "report.html").symlink_to(private / "teacher.csv")
    assert kd(run)[0] == 0
    assert "metrics/teacher.csv is not there" in (run / "report.html").read_text(encoding="utf-8")
    assert not (run / "report.html").is_symlink()
    assert (private / "teacher.csv").read_text(encoding="utf-8").startswith("step")


def test_nobody_waits_for_a_pipe(kd: Kd, tmp_path: Path) -> None:
    run, sweep = write_run(tmp_path / "run"), write_grid(tmp_path / "sweep", {"temperature": (1, 2)})
    os.mkfifo(run / "config.yaml")
    for name in ("sweep.json", "0/job.json", "0/results.json", "1/progress.json", "study.json"):
        (sweep / name).unlink(missing_ok=True)
        os.mkfifo(sweep / name)
    assert kd(run)[0] == 0
    assert kd(sweep)[0] == 0


def test_a_job_that_is_a_link_is_none_of_the_sweeps(kd: Kd, tmp_path: Path) -> None:
    sweep = write_grid(tmp_path / "sweep", {"temperature": (1, 2, 3)})
    (sweep / "2").rename(tmp_path / "elsewhere")
    (sweep / "2").symlink_to(tmp_path / "elsewhere")
    assert kd(sweep)[0] == 0
    assert "2 jobs" in (sweep / "report.html").read_text(encoding="utf-8")
