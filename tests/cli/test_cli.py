"""The verbs of ``kd`` beside training: what they print, what they refuse, and what they must not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning import __version__
from kd_lightning.cli.completion import COMPLETED_VERBS
from kd_lightning.cli.main import main
from kd_lightning.config.conf_files import conf_dir, list_groups, list_search_dirs
from tests.support.cli import kd

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "numpy", "hydra")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder: in the checkout ``./conf`` would be ours."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own_file(name: str, text: str, folder: str = "conf") -> Path:
    path = Path(folder) / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# -- help, version, unknown -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, *words)
    assert answer.code == 0
    assert all(f"kd {verb}" in answer.out for verb in COMPLETED_VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert kd(capsys, "--version").out == f"{__version__}\n"


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "rum")
    assert answer.code == 2
    assert answer.err == "kd: no verb 'rum'; did you mean 'run'? (see kd --help)\n"


def test_run_help_shows_groups_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "run", "--help")
    assert answer.code == 0
    assert "kd run -m temperature=1,2,4" in answer.out
    shown = {group: choices for group, choices in list_groups().items() if not group.startswith("hydra/")}
    assert "model" in shown
    for group, choices in shown.items():
        assert f"{group}: {', '.join(choices)}" in answer.out


def test_run_shows_the_composed_settings(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "run", "--cfg", "job", "seed=7")
    assert answer.code == 0
    assert "\nseed: 7\n" in answer.out


def test_the_multirun_flag_may_stand_between_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = kd(capsys, "run", "experiment=digits", "-m", f"outputs={tmp_path}", "seed=range(0,0)")
    assert answer.code == 2
    assert answer.err.startswith("kd: ConfigError: seed=range(0,0) names nothing to try")


def test_unknown_flag_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "run", "--temperature", "2")
    assert answer.code == 2
    assert "unrecognized arguments: --temperature" in answer.err


# -- ls ---------------------------------------------------------------------------------------------------------------


def test_ls_lists_every_choice_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "ls")
    assert answer.code == 0
    lines = answer.out.splitlines()
    shown = {line for line in lines if not line.startswith(" ")}
    assert shown == set(list_groups()) >= {"model", "data", "task", "loss", "experiment"}
    choices = [line.split(maxsplit=1) for line in lines if line.startswith(" ")]
    files = list(conf_dir().glob("*/**/[!_]*.yaml"))
    assert len(choices) == len(files)
    assert all(len(choice) == 2 for choice in choices)


def test_ls_of_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "ls", "model")
    assert answer.out.splitlines()[0] == "model"
    assert "  lstm_lm " in answer.out
    assert "optimizer" not in answer.out
    answer = kd(capsys, "ls", "modle")
    assert (answer.code, answer.err) == (2, "kd ls: no group 'modle'; did you mean 'model'?\n")


def test_ls_shows_the_users_files_first(capsys: pytest.CaptureFixture[str]) -> None:
    own_file("model/lstm_lm", "# My own.\n_target_: x\n")
    own_file("model/another", "# Another.\n_target_: x\n")
    own_file("mine/first", "# First.\n")
    answer = kd(capsys, "ls")
    for line in ("lstm_lm ", "My own."), ("another ", "Another."), ("first ", "First."):
        assert any(all(part in shown for part in line) for shown in answer.out.splitlines()), line


# -- cp ---------------------------------------------------------------------------------------------------------------


def test_cp_copies_to_the_same_place(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "cp", "model/lstm_lm", "config.yaml")
    assert (answer.code, answer.out) == (0, "conf/model/lstm_lm.yaml\nconf/config.yaml\n")
    for name in answer.out.split():
        assert Path(name).read_bytes() == (conf_dir().parent / name).read_bytes()
    assert list_search_dirs() == [Path.cwd() / "conf", conf_dir()]


def test_cp_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    mine = own_file("model/lstm_lm", "mine")
    answer = kd(capsys, "cp", "model/lstm_lm")
    assert (answer.code, answer.err) == (2, "kd cp: conf/model/lstm_lm.yaml is there already: remove it first\n")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["model/lstm_ml", "../pyproject", "../conf/config", "model/../config", "/etc/passwd", "", ".", "model", "*"]
)
def test_cp_copies_known_files_alone(name: str, capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    answer = kd(capsys, "cp", name)
    assert answer.code == 2
    assert answer.err.startswith(f"kd cp: no file {name!r}")
    assert list(elsewhere.iterdir()) == []


def test_cp_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'model/lstm_lm'?" in kd(capsys, "cp", "model/lstm_ml").err
    assert kd(capsys, "cp").code == 2


# -- env --------------------------------------------------------------------------------------------------------------


def test_env_names_versions_and_machine(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "env")
    assert answer.code == 0
    for part in ("python 3.", "torch ", "hydra-core 1.3", f"configuration {conf_dir()}"):
        assert part in answer.out


# -- what is imported -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["ls"], HEAVY),
        (["cp", "config"], HEAVY),
        (["--help"], (*HEAVY, "difflib", "importlib.resources", "kd_lightning.safety.redaction")),
        (["env"], HEAVY),
        (["init", "none.csv"], HEAVY),
        (["predict", "--help"], HEAVY),
        (["eval", "--help"], HEAVY),
        (["run", "--help"], HEAVY[:3]),
        (["run", "temprature=1"], HEAVY[:3]),
        (["-sc", "query=bash"], HEAVY[:3]),
    ],
)
def test_quick_verbs_do_not_import_torch(words: list[str], heavy: tuple[str, ...]) -> None:
    # The control: our own module is found among those imported.
    script = f"""
import sys
from kd_lightning.cli.main import main
main({words!r})
print([name for name in {("kd_lightning.cli.main", *heavy)!r} if name in sys.modules])
"""
    done = in_a_process([sys.executable, "-c", script], COMP_LINE="kd run model@stu")
    assert done.stdout.splitlines()[-1] == "['kd_lightning.cli.main']"


def in_a_process(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True, timeout=120
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = in_a_process(["bash", "-c", f"{sys.executable} -m kd_lightning.cli.main ls | head -1"])
    assert (done.stdout, done.stderr) == ("annealing\n", "")


def test_script_of_the_checkout_is_kd_run() -> None:
    done = in_a_process([sys.executable, str(ROOT / "scripts" / "train.py"), "temprature=2"])
    assert done.returncode == 2
    assert done.stderr == "kd: ConfigError: unknown setting 'temprature'; did you mean 'temperature'?\n"


# -- completion -------------------------------------------------------------------------------------------------------


def completed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, *words: str) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    answer = kd(capsys, *(words or ("-sc", "query=bash")))
    assert (answer.code, answer.err) == (0, "")
    return answer.out.split()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("kd ", list(COMPLETED_VERBS)),
        ("kd r", ["run", "report"]),
        ("kd x", []),
        ("kd ls opt", ["optimizer"]),
        ("kd cp ", []),
        ("kd cache ", ["ls", "verify", "prune"]),
        ("kd cache pr", ["prune"]),
        ("kd run tem", ["temperature="]),
        ("kd run max_", ["max_steps="]),
        ("kd run student.ste", ["student.steps="]),
        ("kd run model@stu", ["model@student.model="]),
        ("kd run model@", ["model@teacher.model=", "model@student.model="]),
        ("kd run model@student.model=mlp_", ["model@student.model=mlp_tiny"]),
        ("kd run stud", ["student=", "student."]),
        (
            "kd run student=convnet_",
            ["student=convnet_micro", "student=convnet_tiny", "student=convnet_tiny_reused"],
        ),
        ("kd run seed=3 teacher=mlp_", ["teacher=mlp_tiny"]),
        ("kd run experiment=dig", ["experiment=digits"]),
        ("kd run -m optimizer=s", ["optimizer=sgd"]),
    ],
)
def test_completion(
    line: str, wanted: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed(capsys, monkeypatch, line) == wanted


def test_completion_of_run_alone_and_of_the_users_own_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file("model/minute", "# Mine.\n_target_: x\n")
    assert completed(capsys, monkeypatch, "kd run student=min") == ["student=minute"]
    assert "experiment=" in completed(capsys, monkeypatch, "kd run ")
    assert completed(capsys, monkeypatch, "kd run tem", "run", "-sc", "query=bash") == ["temperature="]


def test_completion_works_in_bash(elsewhere: Path) -> None:
    program = elsewhere / "bin" / "kd"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom kd_lightning.cli.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    script = """
        eval "$(kd run -sc install=bash)"
        COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_CWORD=$(($# - 1))
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
        [[ "$COMP_WORDBREAKS" != *[=@]* ]] && echo whole words
    """
    path = f"{program.parent}:{os.environ['PATH']}"
    done = in_a_process(["bash", "-c", script, "-", "kd", "run", "student=lstm_lm_"], PATH=path)
    assert done.stdout.splitlines() == ["student=lstm_lm_small student=lstm_lm_tiny", "whole words"], done.stderr


# -- the user's own files ---------------------------------------------------------------------------------------------

EXPERIMENT = "# @package _global_\n# kd run experiment=mine\ntemperature: 7.5\n"


def composed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    answer = kd(capsys, "run", "--cfg", "job", *words)
    assert answer.code == 0, answer.err
    return answer.out


def test_users_conf_adds_and_wins(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dropout: 0.25\n" not in composed(capsys, "student=lstm_lm_tiny")
    assert main(["cp", "model/lstm_lm_tiny"]) == 0
    own = Path("conf/model/lstm_lm_tiny.yaml")
    own.write_text(own.read_text().replace("dropout: 0.0", "dropout: 0.25"))
    own_file("experiment/mine", EXPERIMENT)
    shown = composed(capsys, "student=lstm_lm_tiny", "experiment=mine")
    assert "dropout: 0.25\n" in shown
    assert "temperature: 7.5\n" in shown
    assert "outputs: outputs\n" in shown  # from our own config.yaml, which still counts


def test_users_copy_of_the_whole_config_wins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cp", "config"]) == 0
    own = Path("conf/config.yaml")
    own.write_text(own.read_text().replace("outputs: outputs", "outputs: elsewhere"))
    assert "outputs: elsewhere\n" in composed(capsys)


def test_config_dir_adds(capsys: pytest.CaptureFixture[str]) -> None:
    own_file("experiment/mine", EXPERIMENT, folder="shared")
    assert "temperature: 7.5\n" in composed(capsys, "--config-dir", "shared", "experiment=mine")
    assert kd(capsys, "run", "--config-dir", "nowhere").code == 2


def test_a_debug_run_takes_its_few_steps_whatever_else_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("experiment=digits", "debug=fast_dev_run", "progress=false", f"outputs={tmp_path}")
    answer = kd(capsys, "run", *words, "teacher.steps=60")
    assert answer.code == 0, answer.err
    assert "max_steps=2 cuts teacher.steps=60 to 2" in answer.out
    (results,) = tmp_path.glob("runs/*/results.json")
    assert json.loads(results.read_text(encoding="utf-8"))["models"]["teacher"]["steps"] == 2
    assert kd(capsys, "run", *words, "max_steps=1").code == 2
