"""Files of ours stay in their folder: no link leads a write, a deletion or a reading out of it.

Somebody else may have made the working folder. A link in it named like one of our files or folders would otherwise have us
overwrite, empty or show what it points to. Links above the folder that the user named are the user's own.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from kd_lightning.errors import ConfigError


class LinkError(ConfigError):
    """Where a file or folder of ours belongs stands a link, or something else that is neither."""


def check_inside(root: Path, path: Path) -> Path:
    """The path, if it lies below the root and is reached without following a link. It need not be there.

    Args:
        root: A folder that the user named, or one below it that has been checked.
        path: What is about to be written, read or removed.

    Raises:
        LinkError: It lies elsewhere, or leads through a link.
    """
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        parts = ("..",)
    if ".." in parts:
        raise LinkError(f"{path} lies outside {root}, where nothing of this is written or removed")
    place = root
    for part in parts:
        place = place / part
        refuse_link(place)
    return path


def refuse_link(path: Path) -> None:
    """What stands there, if anything does, is no link.

    Raises:
        LinkError: It is one.
    """
    if path.is_symlink():
        raise LinkError(
            f"{path} is a link to {os.readlink(path)}, and links among our own files are not followed: remove it, or keep all "
            "that is written elsewhere with outputs=FOLDER"
        )


def open_new(path: Path, mode: int = 0o666) -> BinaryIO:
    """A new file to write to; whatever had its name is removed, not written into.

    Args:
        path: Its folder must exist.
        mode: Of the file, before the umask.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")


def check_appendable(root: Path, path: Path) -> Path:
    """The path of a file below the root that is about to be appended to: a file itself stands there, or nothing.

    Raises:
        LinkError: A link does, or what is no file, such as a pipe.
    """
    check_inside(root, path)
    if path.exists() and not is_plain_file(path):
        raise LinkError(f"{path} is no regular file: remove it")
    return path


def remove_path(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a folder with all that is in it."""
    if is_plain_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_plain_file(path: Path) -> bool:
    """A regular file itself stands there: no link to one, no pipe that a reader would wait for."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return False


def is_plain_folder(path: Path) -> bool:
    """A folder itself stands there, no link to one."""
    return path.is_dir() and not path.is_symlink()
