"""The wheel carries the configuration and nothing it should not, and works from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def conf_files() -> set[str]:
    return {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}


@pytest.mark.slow
def test_the_wheel_holds_package_and_configuration_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = {name.removeprefix("kd_lightning/conf/") for name in names if name.startswith("kd_lightning/conf/")}
    assert inside == conf_files()
    assert "config.yaml" in inside
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kd_lightning", "hydra_plugins"}
    assert not any(name == "hydra_plugins/__init__.py" for name in names), "a namespace that others share"
    assert "kd_lightning/results/report/page.css" in names
    assert "kd_lightning/py.typed" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.slow
def test_the_sdist_holds_what_is_needed_to_build_and_test(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "conf/config.yaml",
        "README.md",
        "LICENSE",
        "tests/test_packaging.py",
        "Makefile",
    } <= names
    assert not [name for name in names if name.startswith((".venv", "outputs", "dist", ".git/"))]


@pytest.mark.slow
def test_an_installed_wheel_runs_digits_from_another_folder(built: Path, tmp_path: Path) -> None:
    """The environment is new; the dependencies are lent to it by path, ours is installed from the wheel."""
    (wheel,) = built.glob("*.whl")
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import sys, kd_lightning; from kd_lightning.cli.main import main; print(kd_lightning.__file__); sys.exit(main())"
    command = [str(home / "bin" / "python"), "-c", code, "run", "experiment=digits", "debug=fast_dev_run"]
    done = subprocess.run(
        command, cwd=elsewhere, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path(done.stdout.splitlines()[0]).is_relative_to(site), "the wheel is what ran, not the checkout"
    folder = Path(done.stdout.splitlines()[-1])
    assert (elsewhere / "outputs").resolve() in folder.resolve().parents
    results = json.loads((folder / "results.json").read_text())
    assert results["teacher_unchanged"] is True
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "report.html", "report.md", "run.log", "metrics"}
