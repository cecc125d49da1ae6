"""Commit and cleanliness of a checkout, for the record; asked so that nothing in the checkout can make git run a program.

A checkout's own ``.git/config`` may name programs (``core.fsmonitor``, ``filter.*.clean``, hooks), and plain ``git status``
runs them; so it does those of a bare repository that lies inside the checkout, and those of submodules. So git is given a
repository folder of our own making, which borrows the checkout's data (HEAD, refs, index, objects) and a few harmless settings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from kd_lightning.safety.inside import is_plain_file, is_plain_folder

SECONDS = 10
HARMLESS_GIT_SETTINGS = r"^(core\.(filemode|ignorecase|symlinks|autocrlf|eol)|extensions\.objectformat)$"
"""Settings of the checkout that change what counts as a change; each is a word, none names a program."""
OPTIONS = (
    "--no-optional-locks",
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false"),
)
GITDIR_BYTES = 4096


def read_git_state(folder: Path) -> dict[str, Any]:
    """Commit and number of changed files of the checkout around a folder, or why they are not recorded; empty outside."""
    root = next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)
    if root is None:
        return {}
    try:
        with tempfile.TemporaryDirectory(prefix="kd-git-") as borrowed:
            return ask_git(root, repository_of(root), Path(borrowed))
    except subprocess.SubprocessError:
        return {"git": f"not recorded: git could not read {root}"}
    except (OSError, ValueError) as error:
        return {"git": f"not recorded: {error}"}


def ask_git(root: Path, repository: Path, borrowed: Path) -> dict[str, Any]:
    """Commit and number of changed files.

    Args:
        root: The checkout.
        repository: Its repository folder.
        borrowed: An empty folder, which becomes the one that git is given.

    Raises:
        OSError: Something is not there, git among them.
        ValueError: Something is not as git writes it.
        subprocess.SubprocessError: git failed, or took too long.
    """
    program = absolute_git()
    common = common_folder(repository)
    if not is_plain_file(repository / "HEAD"):
        raise ValueError(f"{repository} has no HEAD")
    (borrowed / "HEAD").write_bytes((repository / "HEAD").read_bytes())
    (borrowed / "refs").symlink_to(common / "refs")
    for name in ("packed-refs", "info/exclude"):
        if is_plain_file(common / name):
            (borrowed / name).parent.mkdir(exist_ok=True)
            (borrowed / name).symlink_to(common / name)
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_DIR": str(borrowed),
        "GIT_WORK_TREE": str(root),
        "GIT_OBJECT_DIRECTORY": str(common / "objects"),
        "GIT_INDEX_FILE": str(repository / "index"),
    }

    def git(*words: str, check: bool = True) -> str:
        done = subprocess.run(
            [program, *OPTIONS, *words],
            cwd=borrowed,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=check,
        )
        return done.stdout

    if is_plain_file(common / "config"):
        theirs = git("config", "--file", str(common / "config"), "--get-regexp", HARMLESS_GIT_SETTINGS, check=False)
        (borrowed / "config").write_text(own_config(theirs), encoding="utf-8")
    commit = git("rev-parse", "--verify", "HEAD").strip()
    changes = git("status", "--porcelain", "--ignore-submodules=all")
    return {"git commit": commit, "git changes": len(changes.splitlines())}


def absolute_git() -> str:
    """The program, from the absolute folders of ``PATH``: an empty entry or ``.`` there means the working folder.

    Raises:
        FileNotFoundError: There is none.
    """
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]
    found = shutil.which("git", path=os.pathsep.join(folders))
    if found is None:
        raise FileNotFoundError("git is not installed")
    return found


def repository_of(root: Path) -> Path:
    """The repository folder of a checkout: ``.git``, or where a worktree's ``.git`` file says.

    Raises:
        ValueError: It is neither.
    """
    place = root / ".git"
    if is_plain_folder(place):
        return place
    text = place.read_text(encoding="utf-8", errors="replace")[:GITDIR_BYTES] if is_plain_file(place) else ""
    if not text.startswith("gitdir:"):
        raise ValueError(f"{place} is neither a repository nor a file that names one")
    return root / text.removeprefix("gitdir:").strip()


def common_folder(repository: Path) -> Path:
    """Where refs and objects lie: the repository folder itself but for worktrees."""
    named = repository / "commondir"
    if not is_plain_file(named):
        return repository
    return repository / named.read_text(encoding="utf-8", errors="replace")[:GITDIR_BYTES].strip()


def own_config(theirs: str) -> str:
    """A repository's configuration with nothing but harmless settings.

    Args:
        theirs: ``name value`` lines of ``git config --get-regexp``.

    Example:
        >>> print(own_config("core.filemode false\\nextensions.objectformat sha256\\n"))
        [core]
        repositoryformatversion = 1
        bare = false
        [core]
        filemode = false
        [extensions]
        objectformat = sha256
    """
    lines = ["[core]", "repositoryformatversion = 1", "bare = false"]
    for section, name, value in re.findall(r"^(\w+)\.(\w+) (\w+)$", theirs, flags=re.MULTILINE):
        lines += [f"[{section}]", f"{name} = {value}"]
    return "\n".join(lines)
