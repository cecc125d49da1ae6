"""What OpenMP is told about waiting, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from kd_lightning import cli
from kd_lightning.openmp import OWN_CHOICE, SPINS, limit_spinning


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OWN_CHOICE:
        monkeypatch.setenv(name, "1")  # so that what the test sets is taken back
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", OWN_CHOICE)
def test_what_the_user_has_decided_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "7")
    limit_spinning()
    assert {each: os.environ[each] for each in OWN_CHOICE if each in os.environ} == {name: "7"}


def test_run_decides_before_torch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = []
    launch = ModuleType("kd_lightning.launch")
    launch.run = lambda words: found.append(os.environ.get("GOMP_SPINCOUNT")) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kd_lightning.launch", launch)
    assert cli.main(["run"]) == 0
    assert found == [str(SPINS)]
    code = (
        "import sys, kd_lightning.cli, kd_lightning.openmp, kd_lightning.collector; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_s_own_openmp_understands_it() -> None:
    library = Path(str(find_spec("torch").origin)).parent / "lib" / "libgomp.so.1"  # type: ignore[union-attr]
    if not library.is_file():
        pytest.skip("torch brings no libgomp along here")
    code = f"""
from kd_lightning.openmp import limit_spinning
limit_spinning()
import ctypes
ctypes.CDLL({str(library)!r})
"""
    environment = {**os.environ, "OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr
