"""Commit and changes of a checkout, without running what the checkout names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_lightning.safety.git_state import read_git_state

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
OWN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder: Path, *words: str) -> str:
    """Plain git, as a user asks it."""
    identity = ("-c", "user.name=n", "-c", "user.email=e@x")
    done = subprocess.run(
        ["git", *identity, *words], cwd=folder, env={**os.environ, **OWN}, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.txt").write_text("a\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def program(folder: Path, marker: Path) -> Path:
    """A program that makes the marker."""
    path = folder.parent / "payload.sh"
    path.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    path.chmod(0o755)
    return path


def with_fsmonitor(folder: Path, marker: Path) -> Path:
    git(folder, "config", "core.fsmonitor", str(program(folder, marker)))
    return folder


def with_filter(folder: Path, marker: Path) -> Path:
    (folder / ".gitattributes").write_text("*.txt filter=evil\n")
    git(folder, "config", "filter.evil.clean", str(program(folder, marker)))
    (folder / "a.txt").write_text("b\n")
    return folder


def with_info_attributes(folder: Path, marker: Path) -> Path:
    (folder / ".git" / "info" / "attributes").write_text("*.txt filter=evil\n")
    git(folder, "config", "filter.evil.process", str(program(folder, marker)))
    (folder / "a.txt").write_text("b\n")
    return folder


def with_bare_repository_inside(folder: Path, marker: Path) -> Path:
    inner = folder / "data"
    git(folder, "init", "-q", "--bare", "data")
    config = (
        f"[core]\nrepositoryformatversion = 0\nbare = false\nworktree = ..\nfsmonitor = {program(folder, marker)}\n"
    )
    (inner / "config").write_text(config)
    return inner


def with_submodule(folder: Path, marker: Path) -> Path:
    inner = folder / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "b.txt").write_text("b\n")
    git(inner, "add", "-A")
    git(inner, "commit", "-q", "-m", "inner")
    (folder / ".gitmodules").write_text('[submodule "inner"]\npath = inner\nurl = ./inner\n')
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "second")
    return with_fsmonitor(inner, marker).parent


@pytest.mark.parametrize(
    "plant", [with_fsmonitor, with_filter, with_info_attributes, with_bare_repository_inside, with_submodule]
)
def test_programs_that_a_checkout_names_do_not_run(
    plant: Callable[[Path, Path], Path], checkout: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    where = plant(checkout, marker)
    marker.unlink(missing_ok=True)
    state = read_git_state(where)
    assert not marker.exists()
    assert state["git commit"] == git(checkout, "-c", "core.fsmonitor=false", "rev-parse", "HEAD")
    marker.unlink(missing_ok=True)
    git(where, "status", "--porcelain")
    assert marker.exists(), "the control: plain git runs it"


def test_changes_are_counted_as_git_counts_them(checkout: Path) -> None:
    assert read_git_state(checkout) == {"git commit": git(checkout, "rev-parse", "HEAD"), "git changes": 0}
    (checkout / "a.txt").write_text("b\n")
    (checkout / "new.txt").write_text("c\n")
    (checkout / "ignored.log").write_text("d\n")
    (checkout / ".git" / "info" / "exclude").write_text("*.tmp\n")
    (checkout / "ignored.tmp").write_text("e\n")
    (checkout / "deep").mkdir()
    assert (
        read_git_state(checkout / "deep")["git changes"]
        == len(git(checkout, "status", "--porcelain").splitlines())
        == 2
    )
    index = (checkout / ".git" / "index").read_bytes()
    os.utime(checkout / "a.txt", (1, 1))
    read_git_state(checkout)
    assert (checkout / ".git" / "index").read_bytes() == index, "the checkout's index is only read"


def test_packed_refs_worktrees_and_other_hashes(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "pack-refs", "--all")
    git(checkout, "worktree", "add", "-q", str(tmp_path / "beside"))
    (tmp_path / "beside" / "a.txt").write_text("b\n")
    assert read_git_state(tmp_path / "beside") == {"git commit": git(checkout, "rev-parse", "HEAD"), "git changes": 1}
    other = tmp_path / "sha256"
    other.mkdir()
    git(other, "init", "-q", "--object-format=sha256")
    git(other, "commit", "-q", "--allow-empty", "-m", "first")
    assert read_git_state(other) == {"git commit": git(other, "rev-parse", "HEAD"), "git changes": 0}


def test_what_cannot_be_asked_is_said_and_outside_there_is_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_git_state(tmp_path) == {}
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/none\n")
    assert read_git_state(checkout) == {"git": f"not recorded: git could not read {checkout}"}
    (checkout / ".git" / "HEAD").unlink()
    os.mkfifo(checkout / ".git" / "HEAD")
    assert read_git_state(checkout)["git"].endswith("has no HEAD"), "and nobody waits for a pipe"
    (checkout / ".git" / "HEAD").unlink()
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/none\n")
    monkeypatch.setenv("PATH", f".{os.pathsep}")
    assert read_git_state(checkout) == {"git": "not recorded: git is not installed"}
