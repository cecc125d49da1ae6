"""``kd cache``: what it lists, finds damaged and removes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kd_lightning.cli.cache import list_cached
from kd_lightning.store import Entry, publish, publish_json
from tests.support.cli import Answer
from tests.support.cli import kd as answered

DAY = 86400


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def key_of(name: str) -> str:
    """A key as the store has them, which tells its name."""
    return name.encode().hex().ljust(20, "0")


def name_of(key: str) -> str:
    return bytes.fromhex(key).rstrip(b"\0").decode()


def kd(capsys: pytest.CaptureFixture[str], *words: str) -> Answer:
    """Run ``kd WORDS``; names stand for the keys in its output."""
    answer = answered(capsys, *words)
    return Answer(answer.code, re.sub(r"\b[0-9a-f]{20}\b", lambda key: name_of(key[0]), answer.out), answer.err)


def cached(key: str, megabytes: int, days: float, whole: bool = True) -> Entry:
    """A cache of so many MB, last used so many days ago."""
    entry = Entry(Path("outputs/store/teacher_outputs") / key_of(key))
    entry.clear()
    publish(entry.path("shard-00000.npy"), b"x" * (megabytes * 10**6))
    of = {"outputs": {"_target_": "kd_lightning.teachers.stored.hidden.Hidden", "dtype": "fp16"}}
    publish_json(entry.path("manifest.json"), {"rows": 1234, "of": of})
    if whole:
        entry.finish(["shard-00000.npy", "manifest.json"])
        os.utime(entry.status_path, (0, time.time() - days * DAY))
    else:
        os.utime(entry.folder, (0, time.time() - days * DAY))
    return entry


def left() -> set[str]:
    return {name_of(each.entry.key) for each in list_cached(Path("outputs/store/teacher_outputs"))}


def test_ls_shows_what_there_is_the_least_recently_used_first(capsys: pytest.CaptureFixture[str]) -> None:
    cached("young", 3, 1)
    cached("old", 2, 9)
    cached("torn", 1, 20, whole=False)
    with cached("busy", 1, 5).lock(waiting=lambda: None):
        answer = kd(capsys, "cache", "ls")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["torn", "old", "busy", "young"]
    assert [line.rstrip().split("  ")[-1].strip() for line in lines[1:5]] == ["unfinished", "whole", "in work", "whole"]
    assert all(word in lines[4] for word in ("Hidden", "dtype=fp16", "1,234", "3.0 MB"))
    assert lines[-1].startswith("4 in all, 7.0 MB")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("shard-00000.npy", None, "damaged: shard-00000.npy is missing"),
        ("manifest.json", "xx", "damaged: manifest.json is damaged"),
        ("status.json", "xx", "damaged: status.json cannot be read"),
    ],
)
def test_ls_sees_what_is_plainly_damaged(
    file: str, content: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cached("bad", 1, 1).path(file)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    answer = kd(capsys, "cache", "ls")
    assert answer.code == 0
    assert said in " ".join(answer.out.split())


@pytest.mark.parametrize("verb", ["ls", "verify", "prune --all"])
def test_a_folder_that_is_not_there_is_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "cache", *verb.split(), "--outputs", "nowhere")
    assert answer.code == 2
    assert answer.err == "kd: ConfigError: kd cache: --outputs nowhere: there is no such folder\n"


def test_ls_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert kd(capsys, "cache", "ls").out == "0 in all, 0 B\n"


def test_verify_finds_damage(capsys: pytest.CaptureFixture[str]) -> None:
    cached("good", 1, 1)
    cached("torn", 1, 2, whole=False)
    assert kd(capsys, "cache", "verify").code == 0
    bad = cached("bad", 1, 3)
    bad.path("shard-00000.npy").write_bytes(b"y" * 10**6)
    answer = kd(capsys, "cache", "verify")
    assert answer.code == 1
    assert answer.out.splitlines() == [
        "bad  damaged: shard-00000.npy is damaged",
        "torn  unfinished: the next run that needs it goes on",
        "good  whole",
    ]


@pytest.mark.parametrize(
    ("words", "stays"),
    [
        (("--max-size", "10MB"), {"a", "b", "c"}),
        (("--max-size", "5.5mb"), {"b", "c"}),
        (("--max-size", "4MB"), {"c"}),
        (("--max-size", "0B"), set()),
        (("--older-than", "6d"), {"b", "c"}),
        (("--older-than", "1w"), {"b", "c"}),
        (("--older-than", "24h"), set()),
        (("--all",), set()),
    ],
)
def test_prune_removes_the_least_recently_used(
    words: tuple[str, ...], stays: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for key, megabytes, days in (("a", 1, 8), ("b", 2, 5), ("c", 3, 2)):
        cached(key, megabytes, days)
    answer = kd(capsys, "cache", "prune", *words)
    assert answer.code == 0
    assert left() == stays
    assert "freed" in answer.out


def test_prune_leaves_what_is_being_written(capsys: pytest.CaptureFixture[str]) -> None:
    cached("free", 1, 1)
    with cached("busy", 1, 5).lock(waiting=lambda: None):
        assert "busy  stays" in kd(capsys, "cache", "prune", "--all").out
    assert left() == {"busy"}


def test_nothing_is_counted_or_removed_through_a_link_or_under_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious" / "deep").mkdir(parents=True)
    (tmp_path / "precious" / "deep" / "thesis").write_text("years")
    store = cached("mine", 1, 1).folder.parent
    (store / key_of("link")).symlink_to(tmp_path / "precious")
    (tmp_path / "precious").rename(store / "notes")
    (tmp_path / "precious").symlink_to(store / "notes")
    assert "1 in all" in kd(capsys, "cache", "ls").out
    assert "mine  removed" in kd(capsys, "cache", "prune", "--all").out
    assert (store / "notes" / "deep" / "thesis").read_text() == "years"
    store.rename(tmp_path / "moved")
    store.symlink_to(tmp_path / "moved")
    answer = kd(capsys, "cache", "prune", "--all")
    assert answer.code == 2
    assert f"is a link to {tmp_path / 'moved'}" in answer.err


def test_another_place(capsys: pytest.CaptureFixture[str]) -> None:
    cached("here", 1, 1)
    Path("outputs").rename("there")
    assert "here" in kd(capsys, "cache", "ls", "--outputs", "there").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prune",), "say how far"),
        (("prune", "--max-size", "ten"), "as in 10GB"),
        (("prune", "--older-than", "3GB"), "as in 30d"),
        (("ls", "--all"), "belong to kd cache prune"),
        (("prnue",), "invalid choice"),
    ],
)
def test_what_is_not_understood(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "cache", *words)
    assert answer.code == 2
    assert answer.err.startswith("kd: ConfigError: kd cache")
    assert message in answer.err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "prune --max-size" in kd(capsys, "cache", "--help").out
    assert kd(capsys, "cache").code == 2


def test_it_imports_neither_torch_nor_lightning_nor_numpy() -> None:
    code = (
        "import sys; from kd_lightning.cli.main import main; main(['cache', 'ls']);"
        "print([name for name in ('torch', 'pytorch_lightning', 'numpy', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_bad_settings_are_one_line_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (("teacher_outputs=cached", "teacher_outputs.dtype=fp_16"), "did you mean 'fp16'"),
        (("teacher_outputs=topk", "teacher_outputs.missing_mass=unigrams"), "did you mean 'unigram'"),
        (("teacher_outputs=topk", "teacher_outputs.k=many"), "teacher_outputs.k"),
    ):
        answer = kd(capsys, "run", "progress=false", *words)
        assert answer.code == 2
        assert message in answer.err
