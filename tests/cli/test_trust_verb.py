"""``kd trust``: remembered in the user's own settings, which nobody else can have written."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from kd_lightning.config.allowlist import list_trusted_packages, locate_target
from kd_lightning.errors import UntrustedTargetError
from kd_lightning.safety import trust
from tests.support.cli import kd

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings, empty; a package ``kd_mine`` in ``tmp_path / "project"``; the working folder is another."""
    (tmp_path / "project" / "kd_mine").mkdir(parents=True)
    (tmp_path / "project" / "kd_mine" / "thing.py").write_text("class Thing:\n    pass\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("KD_LIGHTNING_TRUST", raising=False)
    before = list(sys.meta_path)
    yield tmp_path / "config" / "kd_lightning" / "trust.json"
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.startswith("kd_mine")]:
        del sys.modules[name]


def test_a_package_is_trusted_from_any_folder_until_it_is_removed(settings: Path, capsys: Capsys) -> None:
    with pytest.raises(UntrustedTargetError, match="kd trust add kd_mine"):
        locate_target("kd_mine.thing.Thing")
    added = kd(capsys, "trust", "add", "../project/kd_mine")
    assert added.code == 0
    assert f"from {settings.parents[2] / 'project'}" in added.out
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    trust.import_trusted_packages()
    assert locate_target("kd_mine.thing.Thing").__name__ == "Thing"
    assert "kd_mine  from" in kd(capsys, "trust", "ls").out
    assert kd(capsys, "trust", "remove", "kd_mine").code == 0
    assert list_trusted_packages() == []
    with pytest.raises(UntrustedTargetError):
        locate_target("kd_mine.thing.Thing")


def test_an_installed_package_is_trusted_by_name(settings: Path, capsys: Capsys) -> None:
    assert kd(capsys, "trust", "add", "safetensors").code == 0
    assert list_trusted_packages() == ["safetensors"]
    assert trust.list_trusted_folders() == {}, "and is not looked for in the working folder"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "no_such_package"], "name the path of your package"),
        (["add", "."], "a package's folder or a .py file is expected"),
        (["remove", "kd_mime"], "not trusted"),
        (["ad", "x"], "did you mean 'add'"),
    ],
)
def test_what_is_not_understood_is_said(words: list[str], says: str, settings: Path, capsys: Capsys) -> None:
    (settings.parents[2] / "elsewhere" / "not-a-name").mkdir()
    answer = kd(capsys, "trust", *[word.replace(".", "not-a-name") for word in words])
    assert answer.code == 2
    assert says in answer.err


@pytest.mark.parametrize("which", ["settings", "folder", "package"])
def test_what_others_can_write_to_is_not_trusted(which: str, settings: Path, capsys: Capsys) -> None:
    package = settings.parents[2] / "project" / "kd_mine"
    if which == "package":
        package.chmod(0o777)
    else:
        kd(capsys, "trust", "add", str(package))
        (settings if which == "settings" else settings.parent).chmod(0o770)
    answer = kd(capsys, "trust", "add", str(package))
    assert answer.code == 2
    assert "chmod go-w" in answer.err


def test_without_a_home_nothing_is_remembered_and_nothing_is_looked_for_here(
    settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    here = Path("~/.config/kd_lightning")
    here.mkdir(parents=True)
    (here / "trust.json").write_text('{"packages": {"kd_mine": null}}')
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", "~")
    assert list_trusted_packages() == []
    assert "set XDG_CONFIG_HOME" in kd(capsys, "trust", "add", "safetensors").err
