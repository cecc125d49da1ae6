"""A configuration has nothing written outside the run and outputs folders; the user's own words may say otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.errors import ConfigError
from kd_lightning.safety.write_places import check_places
from tests.support.cli import DIGITS, kd

Capsys = pytest.CaptureFixture[str]
CSV = """\
# @package logger.csv
_target_: pytorch_lightning.loggers.CSVLogger
save_dir: {place}
name: ""
version: ""
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that somebody else has made, as the working folder; beside it what is the user's."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "metrics.csv").write_text("years")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.mark.filterwarnings("ignore:Experiment logs directory")  # the very damage
def test_a_logger_of_a_file_overwrites_nothing_of_the_users(stranger: Path, capsys: Capsys) -> None:
    precious = stranger.parent / "precious"
    (stranger / "conf" / "logger").mkdir(parents=True)
    (stranger / "conf" / "logger" / "csv.yaml").write_text(CSV.format(place=precious))
    answer = kd(capsys, "run", *DIGITS, "logger=[csv]", "student.pretrain_steps=0")
    assert answer.code == 2
    assert f"logger.csv.save_dir={precious} is outside the run folder" in answer.err
    assert (precious / "metrics.csv").read_text() == "years"
    allowed = kd(capsys, "run", *DIGITS, "logger=[csv]", "student.pretrain_steps=0", f"logger.csv.save_dir={precious}")
    assert allowed.code == 0, allowed.err
    assert (precious / "metrics.csv").read_text() != "years", "the control: named by the user, it is written"


@pytest.mark.parametrize(
    ("node", "name", "fine"),
    [
        ({"logger": {"tb": {"save_dir": "{run}/logs"}}}, "logger.tb.save_dir", True),
        ({"logger": {"m": {"tracking_uri": "sqlite:///{outputs}/mlflow.db"}}}, "logger.m.tracking_uri", True),
        ({"logger": {"m": {"tracking_uri": "http://collector.example"}}}, "logger.m.tracking_uri", False),
        ({"logger": {"tb": {"save_dir": "."}}}, "logger.tb.save_dir", False),
        ({"logger": {"tb": {"save_dir": "{run}/../../../precious"}}}, "logger.tb.save_dir", False),
        ({"logger": {"tb": {"save_dir": "{outputs}/link"}}}, "logger.tb.save_dir", False),
        ({"logger": {"tb": {"name": "../../precious"}}}, "logger.tb.name", False),
        ({"callbacks": {"c": {"dirpath": "/precious"}}}, "callbacks.c.dirpath", False),
        ({"trainer": {"profiler": {"filename": "/precious/x"}}}, "trainer.profiler.filename", False),
        ({"trainer": {"profiler": {"filename": "profile"}}}, "trainer.profiler.filename", True),
        ({"callbacks": {"c": {"_target_": "my_pkg.Probe", "path": "/data"}}}, "callbacks.c.path", True),
        ({"trainer": {"default_root_dir": "/precious"}}, "trainer.default_root_dir", False),
    ],
)
def test_places(node: dict[str, object], name: str, fine: bool, stranger: Path) -> None:
    (stranger / "outputs" / "runs" / "run").mkdir(parents=True)
    (stranger / "outputs" / "link").symlink_to(stranger.parent / "precious")
    places = {"run": str(stranger / "outputs" / "runs" / "run"), "outputs": "outputs"}

    def filled(node: object) -> object:
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        return str(node).replace("{run}", places["run"]).replace("{outputs}", "outputs")

    settings = {"outputs": "outputs", **{key: filled(value) for key, value in node.items()}}
    check_places(settings, Path(places["run"]), [f"+{name}=x"])
    if fine:
        check_places(settings, Path(places["run"]), [])
    else:
        with pytest.raises(ConfigError, match="say it on the command line"):
            check_places(settings, Path(places["run"]), [])


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("outputs", ()),
        ("outputs/runs", ()),
        ("outputs/store", ()),
        ("outputs/mine", ("hydra.run.dir=outputs/mine",)),
        ("outputs/sweeps/mine", ("-m", "hydra.sweep.dir=outputs/sweeps/mine", "hydra/launcher=inline")),
        ("outputs/sweeps/mine/0", ("-m", "hydra.sweep.dir=outputs/sweeps/mine")),
    ],
)
def test_outputs_that_are_a_link_are_not_written_to(
    link: str, words: tuple[str, ...], stranger: Path, capsys: Capsys
) -> None:
    precious = stranger.parent / "precious"
    (stranger / link).parent.mkdir(parents=True, exist_ok=True)
    (stranger / link).symlink_to(precious)
    answer = kd(capsys, "run", *words, *DIGITS, "student.pretrain_steps=0")
    assert answer.code == 2
    assert f"is a link to {precious}" in answer.err
    assert [path.name for path in precious.iterdir()] == ["metrics.csv"]
