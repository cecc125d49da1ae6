"""Files that come inside installed packages, found without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kd_lightning.errors import MissingExtraError


def find_packaged_path(package: str, inside: str, extra: str) -> Path:
    """Path of a file or folder inside an installed package.

    Args:
        package: Import name, for example ``sklearn``.
        inside: Path below the package's folder.
        extra: Our extra that brings the package.

    Raises:
        MissingExtraError: The package is not installed, or its layout has changed.
    """
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / inside).exists():
            return Path(place) / inside
    why = f"{package} has no {inside}" if places else f"{package} is not installed"
    raise MissingExtraError(f'{why}: pip install "kd-lightning[{extra}]"')
