"""The table of losses: up to date, complete, and what it says of taps and chunks is what the objects do."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.cli.config_files import list_configs
from kd_lightning.cli.loss_table import loss_rows, render_loss_page
from kd_lightning.config.conf_files import conf_dir
from kd_lightning.errors import KDError
from tests.losses.test_laws import NAMES, build

PAGE = conf_dir().parent / "docs" / "reference" / "losses.md"
FILES = {name: conf_dir() / "loss" / f"{name}.yaml" for name in NAMES}
ROWS = {row.name: row for row in loss_rows(FILES)}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_loss_page(), (
        "python -m kd_lightning.cli.loss_table > docs/reference/losses.md"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_has_its_row(name: str) -> None:
    row, loss = ROWS[name], build(name)
    assert len(row.formula) > len("p - q")
    assert len(row.reference) > len("Hinton 2015")
    assert row.taps == bool(loss.taps)
    assert row.chunked == (loss.soft_term(2.0, 1.0) is not None)
    assert f"| `{name}` |" in render_loss_page()


def test_known_rows() -> None:
    assert ROWS["kd"].formula == "T^2 * KL(teacher_T || student_T)"
    assert ROWS["kd"].reference.startswith("Hinton, Vinyals, Dean 2015")  # found at the divergence, in another file
    assert ROWS["taid"].chunked
    assert not ROWS["dkd"].chunked


def test_ls_prints_it(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "conf" / "loss" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package loss.mine\n# My own.\n_target_: my_pkg.mine.Mine\n", encoding="utf-8")
    assert list_configs(["loss"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for row in ROWS.values():
        assert row.formula in lines
        assert row.reference in lines
    assert any(line.split() == ["mine", "My", "own."] for line in lines)
    assert list_configs([]) == 0
    assert ROWS["kd"].formula not in [line.strip() for line in capsys.readouterr().out.splitlines()]
    with pytest.raises(KDError, match="no group 'objective': it is now kd ls loss"):
        list_configs(["objective"])


TAPPING = '''
"""Reference: Somebody 1999, "Something"."""
from kd_lightning.losses.base import Loss


class Tapping(Loss):
    """Compares features.

    Formula: ``|a - b|``
    """

    def __init__(self):
        super().__init__(1.0, taps={"hidden": ("a", "b")})
'''


def test_what_taps_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "tapping.py").write_text(TAPPING, encoding="utf-8")
    file = tmp_path / "tapping.yaml"
    file.write_text("_target_: kd_lightning.losses.tapping.Tapping\n", encoding="utf-8")
    monkeypatch.setattr("kd_lightning.cli.loss_table.PACKAGE", tmp_path)
    (row,) = loss_rows({"tapping": file})
    assert (row.formula, row.reference) == ("|a - b|", 'Somebody 1999, "Something".')
    assert (row.taps, row.chunked) == (True, False)


@pytest.mark.parametrize(
    "target", ["my_pkg.mine.Mine", "kd_lightning.losses.logits.kd.KDD", "kd_lightning.losses.kdd.KD"]
)
def test_of_code_that_is_not_ours_or_not_there_nothing_is_said(target: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"_target_: {target}\n", encoding="utf-8")
    (row,) = loss_rows({"mine": file})
    assert (row.name, row.formula, row.reference, row.taps, row.chunked) == ("mine", "", "", False, False)
