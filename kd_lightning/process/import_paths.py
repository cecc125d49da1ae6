"""Where Python may import from: never from the working folder, but for the packages that the user trusts by name.

``python -c`` and ``python -m``, by which multiprocessing and submitit start their processes, put the working
folder first on the import path: a ``torch.py`` or ``struct.py`` that somebody left there would run instead of the real one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

SAFE_PATH = "PYTHONSAFEPATH"
"""With it Python leaves the working folder out. Read when an interpreter starts, inherited by all that it starts."""


def keep_working_folder_out() -> None:
    """No process that this one starts from now on imports from its working folder."""
    os.environ[SAFE_PATH] = "1"


class TrustedFinder:
    """Finds the user's trusted packages where they lie, and nothing else there.

    Args:
        folders: Top-level package -> the folder that holds it.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = dict(folders)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        folder = self.folders.get(fullname)
        return None if folder is None else PathFinder.find_spec(fullname, [str(folder)])


def import_from(folders: Mapping[str, Path]) -> None:
    """Let these packages be imported from these folders; an installed package of the same name comes first.

    Args:
        folders: Top-level package -> the folder that holds it. They take the place of those of an earlier call.
    """
    others = [finder for finder in sys.meta_path if not isinstance(finder, TrustedFinder)]
    sys.meta_path[:] = [*others, TrustedFinder(folders)]


def find_source(name: str, places: Sequence[str] | None) -> ModuleSpec | None:
    """The spec of a module, found without importing anything: on the import path, or among the trusted packages."""
    found = PathFinder.find_spec(name, places)
    for finder in sys.meta_path:
        if found is None and isinstance(finder, TrustedFinder):
            found = finder.find_spec(name, places)
    return found
