"""Files of the working folder are not imported by the command, nor by processes that it starts, unless trusted by name."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.config.allowlist import locate_target
from kd_lightning.errors import ConfigError
from kd_lightning.fingerprint import module_of
from kd_lightning.process.import_paths import SAFE_PATH, TrustedFinder
from kd_lightning.safety.trust import import_trusted_packages

PAYLOAD = "import os\nopen({marker!r}, 'w').close()\n"
STARTS_A_SERVER = """
import multiprocessing, sys
if sys.argv[1] == "safe":
    from kd_lightning.process.import_paths import keep_working_folder_out
    keep_working_folder_out()
process = multiprocessing.get_context("forkserver").Process(target=print)
process.start()
process.join()
"""


@pytest.fixture
def finders() -> object:
    """Trusted packages are forgotten after the test."""
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.startswith("kd_probe")]:
        del sys.modules[name]


def run_python(folder: Path, *words: str) -> str:
    """What a new interpreter prints, started inside the folder."""
    environ = {name: value for name, value in os.environ.items() if name != SAFE_PATH}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("how", "runs"), [("safe", False), ("control", True)])
def test_a_fork_server_imports_nothing_from_the_working_folder(how: str, runs: bool, tmp_path: Path) -> None:
    (tmp_path / "selectors.py").write_text(PAYLOAD.format(marker=str(tmp_path / "marker")))
    script = tmp_path / "scripts" / "start.py"
    script.parent.mkdir()
    script.write_text(STARTS_A_SERVER)
    run_python(tmp_path, str(script), how)
    assert (tmp_path / "marker").exists() is runs


@pytest.mark.parametrize(("module", "runs"), [("kd_lightning.cli.main", False), ("kd_lightning.fingerprint", True)])
def test_python_m_imports_nothing_from_the_working_folder(module: str, runs: bool, tmp_path: Path) -> None:
    (tmp_path / "__future__.py").write_text(PAYLOAD.format(marker=str(tmp_path / "marker")))
    said = run_python(tmp_path, "-m", module, "--version")
    assert (tmp_path / "marker").exists() is runs
    assert runs or said.startswith("0.")


def test_only_trusted_packages_come_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finders: None
) -> None:
    (tmp_path / "kd_probe").mkdir()
    (tmp_path / "kd_probe" / "inner.py").write_text("class Thing:\n    pass\n")
    (tmp_path / "kd_probe_beside.py").write_text("")
    (tmp_path / "kd_probe_wants.py").write_text("import kd_probe_beside\nclass Thing:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "kd_probe,kd_probe_wants")
    import_trusted_packages()
    assert locate_target("kd_probe.inner.Thing").__name__ == "Thing"
    assert module_of("kd_probe.inner.Thing", frozenset({"kd_probe"})) == "kd_probe.inner"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("kd_probe_beside")
    with pytest.raises(ConfigError, match="KD_LIGHTNING_TRUST=kd_probe,kd_probe_wants,kd_probe_beside"):
        locate_target("kd_probe_wants.Thing")
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "kd_probe,kd_probe_wants,kd_probe_beside")
    import_trusted_packages()
    assert locate_target("kd_probe_wants.Thing").__name__ == "Thing"
    assert sum(isinstance(finder, TrustedFinder) for finder in sys.meta_path) == 1
