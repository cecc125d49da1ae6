"""What a user can get wrong: exit code 2 and one line that says what, where and the fix, before the first step.

Composing takes most of a second, so what is wrong with a *value* is tested on settings composed once, from
``check_job_settings`` on, and what concerns Hydra, with one of each kind of value, through the whole command.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
from kd_lightning.errors import KDError
from kd_lightning.safety.error_text import describe_error
from kd_lightning.sweeps.job import carry_out, check_job_settings
from kd_lightning.tasks.metrics import Accuracy
from tests.support.cli import DIGITS, Answer, kd, text_words, texts

CLASSES = [row % 4 for row in range(60)]
NPZ = (
    *("task=classification", "data=npz", "data.num_classes=4", "data.shape=[4]", "data.in_features=4"),
    *("data.val=8", "data.test=8", "data.batch_size=8", "teacher=mlp", "student=mlp_tiny"),
    *("debug=fast_dev_run", "max_steps=null", "progress=false"),
)
MLP = ("teacher=mlp", "student=mlp_tiny")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all: rows are prepared once."""
    return tmp_path_factory.mktemp("outputs")


@cache
def base(words: tuple[str, ...]) -> DictConfig:
    """``kd run WORDS``, composed."""
    register_with_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(CONFIG_NAME, list(words))


@pytest.fixture
def refused_value(capsys: pytest.CaptureFixture[str], outputs: Path) -> Any:
    """Runs a job from ``check_job_settings`` on; it must be refused in one line before any training; returns the line."""

    def run(words: tuple[str, ...], *values: str) -> str:
        config = base(words).copy()
        for value in (f"outputs={outputs}", *values):
            change = OverridesParser.create().parse_override(value)
            OmegaConf.update(config, change.key_or_group, change.value())
        folder = outputs / "run"
        with pytest.raises(KDError) as error:
            carry_out(check_job_settings(config, folder, []), folder, [], sweep=None)
        line = describe_error(error.value)
        assert "\n" not in str(error.value)
        assert "teacher: validation" not in capsys.readouterr().out
        return line

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], outputs: Path) -> Any:
    """Runs ``kd run WORDS``; asserts that it is refused in one line before any training; returns the line."""

    def run(*words: str) -> str:
        answer = kd(capsys, "run", *words, f"outputs={outputs}")
        assert_refused(answer)
        return answer.err

    return run


def assert_refused(answer: Answer) -> None:
    assert answer.code == 2, answer
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("kd: ")
    assert "Traceback" not in answer.err
    assert "teacher: validation" not in answer.out  # what a trained teacher prints


def arrays(path: Path, targets: Any, inputs: Any = None) -> Path:
    rows = np.random.default_rng(0).random((len(targets), 4), dtype=np.float32) if inputs is None else inputs
    np.savez(path, inputs=rows, targets=targets)
    return path


def test_control_the_good_ones_run(capsys: pytest.CaptureFixture[str], outputs: Path, tmp_path: Path) -> None:
    path = arrays(tmp_path / "good.npz", np.array(CLASSES))
    assert kd(capsys, "run", *NPZ, f"data.path={path}", f"outputs={outputs}").code == 0
    assert kd(capsys, "run", *text_words(texts(tmp_path / "good")), f"outputs={outputs}").code == 0


# -- settings ---------------------------------------------------------------------------------------------------------

WORDS = {
    "~progress": ("ConfigError", "progress is missing", "take ~progress back"),
    "trainer=[1,2]": ("ConfigError", "trainer=[1,2]: a group's choice is a name"),
    "loss=[[[]]]": ("ConfigError", "loss=[[[]]]: a group's choice is a name"),
    "temperature=-1": ("ConfigError", "temperature=-1", "> 0"),
    "temperature=abc": ("ConfigError", "temperature='abc'", "a number"),
    "student.pretrain_steps=2": ("ConfigError", "student.pretrain_steps=2", "student.steps=2"),
    "outputs=null": ("ConfigError", "outputs=None", "a folder"),
    "++student=mlp": ("ConfigError", "student='mlp'", "student=mlp"),
    "+student.model.drop=1": ("ConfigError", "student.model.drop", "did you mean 'dropout'"),
    "+student.stesp=1": ("ConfigError", "unknown setting 'student.stesp'", "did you mean 'steps'"),
    "teacher.optimizer=sgd": ("ConfigError", "teacher.optimizer='sgd'", "optimizer@teacher.optimizer=sgd"),
    "sweep=pareto": ("ConfigError", "sweep=pareto fits task=language_modeling", "kd ls sweep"),
    "student=null": ("ConfigError", "student=null", "kd ls model"),
    "data=null": ("ConfigError", "data=null", "kd ls data"),
    "loss=[]": ("ConfigError", "loss is empty", "loss=[kd]"),
    "force=[distil]": ("ConfigError", "force=distil", "did you mean 'distill'"),
    "temprature=2": ("ConfigError", "unknown setting 'temprature'", "did you mean 'temperature'"),
    "optimiser=sgd": ("ConfigError", "unknown setting 'optimiser'", "did you mean 'optimizer'"),
    "data.batchsize=2": ("ConfigError", "unknown setting 'data.batchsize'", "did you mean 'data.batch_size'"),
    "nothing_like_it=2": ("ConfigError", "unknown setting 'nothing_like_it'", "kd run --cfg job"),
    "vars.note=1": ("ConfigError", "vars.note", "+vars.note="),
    "+typo=1": ("ConfigError", "unknown setting 'typo'", "under vars"),
    "+temprature=2": ("ConfigError", "unknown setting 'temprature'", "did you mean 'temperature'"),
    "++data.batchsize=2": ("ConfigError", "unknown setting 'data.batchsize'", "did you mean 'batch_size'"),
    "+annealing.alhpa=2": ("ConfigError", "unknown setting 'annealing.alhpa'", "did you mean 'alpha'"),
    "annealing.alpha=0.3": ("ConfigError", "annealing.alpha=0.3", "+scheduler@annealing.alpha=cosine"),
    "+annealing.weight.kdd=2": ("ConfigError", "annealing.weight.kdd", "did you mean 'kd'"),
    "+annealing.weight.kd=2": ("ConfigError", "annealing.weight.kd=2", "+scheduler@annealing.weight.kd=cosine"),
    "+scheduler@annealing.weight=cosine": ("ConfigError", "annealing.weight", "+scheduler@annealing.weight.NAME="),
    "loss.kd.weight=-1": ("ConfigError", "loss.kd.weight=-1", ">= 0"),
    "loss.kd.weight={_target_: kd_lightning.training.schedules.Linear}": (
        *("ConfigError", "loss.kd.weight={", "annealing.weight.kd"),
    ),
    "loss.kd.temperature=warm": ("ConfigError", "loss.kd.temperature='warm'", "SampleTemperature"),
    "weighting=uncertain": ("ConfigError", "weighting=uncertain", "did you mean 'uncertainty'"),
    "+teacher.step=2": ("ConfigError", "unknown setting 'teacher.step'", "did you mean 'steps'"),
    "+student.model.chanels=[2]": ("ConfigError", "student.model.chanels", "did you mean 'channels'"),
    "student=lstm_lm_smal": ("ConfigError", "model=lstm_lm_smal", "did you mean 'lstm_lm_small'"),
    "experiment=digit": ("ConfigError", "experiment=digit", "did you mean 'digits'"),
    "debug=fast": ("ConfigError", "debug=fast", "kd ls debug"),
    "loss=[kdd]": ("ConfigError", "loss=kdd", "did you mean 'kd'"),
    "model@studnt.model=mlp": ("ConfigError", "model@studnt", "model@student"),
    "data=text_files": ("ConfigError", "data.root is not set", "data.root="),
    "seed=[1": ("ConfigError", "'seed=[1'", "NAME=VALUE"),
    "seed": ("ConfigError", "'seed'", "NAME=VALUE"),
    "task=language_modeling": ("ConfigError", "task.num_classes", "fit together"),
    "+trainer.max_steps=5": ("ConfigError", "trainer.max_steps", "use teacher.steps"),
    "+trainer.overfit_batches=1": ("ConfigError", "trainer.overfit_batches", "use debug=overfit"),
}

VALUES = {
    "temperature=0": ("ConfigError", "temperature=0", "> 0"),
    "temperature=nan": ("ConfigError", "temperature=nan", "> 0"),
    "temperature=inf": ("ConfigError", "temperature=inf", "> 0"),
    f"temperature={'9' * 3000}": ("ConfigError", f"temperature={'9' * 48}...{'9' * 19}: a number > 0"),
    "temperature=true": ("ConfigError", "temperature=True", "a number"),
    "temperature=null": ("ConfigError", "temperature=None", "a number"),
    "alpha=1.5": ("ConfigError", "alpha=1.5", "[0, 1]"),
    "alpha=-0.1": ("ConfigError", "alpha=-0.1", "[0, 1]"),
    "seed=-1": ("ConfigError", "seed=-1", "0 or more"),
    "seed=1.5": ("ConfigError", "seed=1.5", "whole number"),
    "teacher.steps=0": ("ConfigError", "teacher.steps=0", "1 or more"),
    "student.steps=-1": ("ConfigError", "student.steps=-1", "1 or more"),
    "student.pretrain_steps=-1": ("ConfigError", "student.pretrain_steps=-1", "0 or more"),
    "teacher.steps=abc": ("ConfigError", "teacher.steps='abc'", "whole number"),
    "validate_every=0": ("ConfigError", "validate_every=0", "1 or more"),
    "data.batch_size=1.5": ("ConfigError", "data.batch_size=1.5", "whole number"),
    "data.workers=-1": ("ConfigError", "data.workers=-1", "0 or more"),
    "data.imbalance=0.5": ("ConfigError", "data.imbalance=0.5", ">= 1"),
    "data.imbalance=much": ("ConfigError", "data.imbalance='much'", "a number"),
    "trainer.accumulate_grad_batches=0": ("ConfigError", "accumulate_grad_batches=0", "1 or more"),
    "student.optimizer.lr=fast": ("ConfigError", "optimizer.lr='fast'", "float"),
    "student.model.dropout=x": ("ConfigError", "student.model.dropout='x'", "float"),
    "progress=maybe": ("ConfigError", "progress='maybe'", "true or false"),
    "chunked_loss=maybe": ("ConfigError", "chunked_loss='maybe'", "true, false or auto"),
    "matmul_precision=hihg": ("ConfigError", "matmul_precision='hihg'", "highest, high, medium", "did you mean 'high'"),
    "task.label_smoothing=1": ("ConfigError", "task.label_smoothing=1", "[0, 1)"),
    "channels_last=maybe": ("ConfigError", "channels_last='maybe'", "true or false"),
    "compile=maybe": ("ConfigError", "compile='maybe'", "true or false"),
    "force=teacher": ("ConfigError", "force='teacher'", "force=[teacher]"),
    "student.optimizer.lr=0": ("ConfigError", "optimizer.lr=0", "> 0"),
    "teacher.optimizer.lr=-1": ("ConfigError", "teacher.optimizer.lr=-1", "> 0"),
    "trainer.gradient_clip_val=-1": ("ConfigError", "trainer.gradient_clip_val=-1", ">= 0"),
    "loss.kd.weight=0": ("ConfigError", "loss.kd.weight", "above 0", "alpha=0"),
    "teacher.checkpoint=''": ("ConfigError", "teacher.checkpoint is empty", "shell variable"),
    "teacher.checkpoint=5": ("ConfigError", "teacher.checkpoint=5", "run folder"),
}


@pytest.mark.parametrize("word", VALUES)
def test_value_is_refused(word: str, refused_value: Any) -> None:
    line = refused_value((*DIGITS, *MLP), word)
    for part in VALUES[word]:
        assert part in line


ABSURD = {
    ("optimizer=sgd", "optimizer.momentum=2"): ("optimizer.momentum=2", "[0, 1)"),
    ("callbacks=[early_stopping]", "callbacks.early_stopping.mode=max", "callbacks.early_stopping.patience=-1"): (
        "callbacks.early_stopping.patience=-1",
        "0 or more",
    ),
    ("data=text_files", "data.root=", "task=language_modeling", "teacher=lstm_lm", "student=lstm_lm"): (
        "data.root is empty",
        "shell variable",
    ),
    ("outputs={a: b}",): ("outputs={", "a folder is expected"),
    ("outputs=",): ("outputs=''", "shell variable"),
    ("outputs=' '",): ("outputs=' '", "shell variable"),
    ("hydra.run.dir=",): ("hydra.run.dir=''", "shell variable"),
    ("-m", "seed=1,2", "hydra.sweep.dir="): ("hydra.sweep.dir=''", "shell variable"),
    ("-m", "seed=range(0,0)"): ("seed=range(0,0)", "nothing to try"),
    ("-m", "student=glob(zz*)"): ("student=glob(zz*)", "nothing to try"),
    ("-m", "sweep=losses", "hydra.sweeper.params.seed='range(1,1)'"): ("seed=range(1,1)", "nothing to try"),
}


@pytest.mark.few(3)
@pytest.mark.parametrize("words", ABSURD)
def test_empty_and_absurd_words_are_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = kd(capsys, "run", *words[:1], *DIGITS, *words[1:])
    assert_refused(answer)
    for part in ABSURD[words]:
        assert part in answer.err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_refused_run_leaves_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert_refused(kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", "temperature=-1"))
    assert list(tmp_path.glob("runs/*")) == []
    assert_refused(kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", "data.batch_size=100"))  # known when it runs


@pytest.mark.parametrize("words", [["confirm=1"], ["hydra/launcher=process", "hydra.launcher.n_jobs=0"]])
def test_a_refused_sweep_leaves_no_folder(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert_refused(kd(capsys, "run", "-m", *DIGITS, f"outputs={tmp_path}", "seed=0,1", *words))
    assert list(tmp_path.glob("sweeps/*")) == []
    other = tmp_path / "sweeps" / "notes.txt"
    other.write_text("mine")
    assert_refused(kd(capsys, "run", "-m", *DIGITS, f"hydra.sweep.dir={other.parent}", "seed=0,1", *words))
    assert [path.name for path in other.parent.iterdir()] == ["notes.txt"]


@pytest.mark.few(15)
@pytest.mark.parametrize("word", WORDS)
def test_word_is_refused(word: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = () if word.startswith("outputs") else (f"outputs={tmp_path}",)
    first = () if word.startswith(("experiment", "debug")) else DIGITS
    answer = kd(capsys, "run", *first, *where, word)
    assert_refused(answer)
    for part in WORDS[word]:
        assert part in answer.err
    assert not (tmp_path / "store").exists()  # nothing was even prepared


def test_known_traceback_variable_shows_the_traceback_and_the_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for word in ("temperature=-1", "temprature=1"):
        answer = kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", word)
        assert answer.code == 2
        assert "Traceback (most recent call last)" in answer.err
        assert answer.err.splitlines()[-1].startswith("kd: ConfigError: ")


def test_unusual_temperature_is_a_warning(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"temperature=200 lies outside \[0.1, 100\]"):
        assert kd(capsys, "run", *DIGITS, *MLP, f"outputs={tmp_path}", "temperature=200").code == 0


def test_defect_of_ours_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(**_: Any) -> None:
        raise AssertionError("an invariant\nof ours")

    monkeypatch.setattr("kd_lightning.experiment.run.execute", broken)
    answer = kd(capsys, "run", *DIGITS, f"outputs={tmp_path}")
    assert (answer.code, answer.err) == (
        1,
        "kd: AssertionError: an invariant; of ours (HYDRA_FULL_ERROR=1 before the command shows where)\n",
    )


# -- networks, data and budget together -------------------------------------------------------------------------------

TOGETHER: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "batch larger than the rows": (["data.batch_size=100"], ["ConfigError", "100 > 64", "data.batch_size"]),
    "too few labels": (["student.num_labeled=5"], ["ConfigError", "num_labeled=5:", "10"]),
    "too many labels": (["student.num_labeled=65"], ["ConfigError", "num_labeled=65:", "64"]),
    "a tail without a row": (["data.imbalance=1000"], ["ConfigError", "data.imbalance=1000", "class 7", "or lower"]),
    "too few labels of a long tail": (
        ["data.imbalance=50", "student.num_labeled=5"],
        ["ConfigError", "num_labeled=5:"],
    ),
    "hard loss out of range": (["hard_loss=logit_adjusted", "hard_loss.tau=-1"], ["ConfigError", "tau=-1", ">= 0"]),
    "hard loss of the teacher": (
        ["hard_loss@teacher.hard_loss=effective_number", "teacher.hard_loss.beta=1"],
        ["ConfigError", "beta=1", "[0, 1)"],
    ),
    "teacher of 5 classes": (["teacher.model.num_classes=5"], ["ClassMismatchError", "teacher", "5 classes", "10"]),
    "teacher of 1 class": (["teacher.model.num_classes=1"], ["ClassMismatchError", "teacher", "1 classes", "10"]),
    "student of 5 classes": (["student.model.num_classes=5"], ["ClassMismatchError", "student", "5 classes", "10"]),
    "rows of another shape": (["data.shape=[64]"], ["ConfigError", "data.shape=[64]", "data.shape=[1, 8, 8]"]),
    "one class": (["data.num_classes=1"], ["ConfigError", "task.num_classes is 1", "at least 2"]),
    "rows of 1 with BatchNorm": (
        ["data.batch_size=1", "teacher=convnet"],
        ["ConfigError", "data.batch_size is 1", "BatchNorm", "higher"],
    ),
    "rows of 1 at once with BatchNorm": (
        ["data.batch_size=2", "trainer.accumulate_grad_batches=2", "teacher=convnet"],
        ["ConfigError", "BatchNorm", "higher"],
    ),
    "batch that does not divide": (["trainer.accumulate_grad_batches=3"], ["ConfigError", "32", "multiple of 3"]),
    "network of another width": (["teacher.model.in_features=63"], ["ConfigError", "teacher (MLP)", "sizes"]),
    "dropout": (["student.model.dropout=2"], ["ConfigError", "dropout=2", "below 1"]),
    "monitor of the task": (["task.monitor=acuracy"], ["ConfigError", "task.monitor", "did you mean 'accuracy'"]),
    "monitor of a callback": (
        [
            "callbacks=[early_stopping]",
            "callbacks.early_stopping.monitor=val_acuracy",
            "callbacks.early_stopping.mode=max",
        ],
        ["ConfigError", "callbacks.early_stopping.monitor=val_acuracy", "did you mean 'val_accuracy'"],
    ),
    "monitor without its prefix": (
        [
            "callbacks=[early_stopping]",
            "callbacks.early_stopping.monitor=accuracy",
            "callbacks.early_stopping.mode=max",
        ],
        ["ConfigError", "callbacks.early_stopping.monitor=accuracy", "did you mean 'val_accuracy'"],
    ),
    "mode against the metric": (
        ["callbacks=[early_stopping]", "callbacks.early_stopping.mode=min"],
        ["ConfigError", "callbacks.early_stopping.mode=min", "higher", "callbacks.early_stopping.mode=max"],
    ),
    "mode is not set": (["callbacks=[early_stopping]"], ["ConfigError", "callbacks.early_stopping.mode is not set"]),
    "negative rate": (["student.optimizer.lr=-1"], ["ConfigError", "optimizer.lr=-1", "> 0"]),
    "no device": (["trainer.devices=0"], ["ConfigError", "trainer", "devices=0"]),
    "unknown precision": (["trainer.precision=17"], ["ConfigError", "trainer", "Precision 17"]),
    "warm-up of all": (["student.scheduler.warmup=1"], ["ConfigError", "warmup is 1", "[0, 1)"]),
    "temperature of one term": (
        ["loss.kd.temperature=0"],
        ["ConfigError", "loss.kd.temperature=0", "> 0"],
    ),
    "temperature that is none": (
        ["loss.kd.temperature=true"],
        ["ConfigError", "loss.kd.temperature=True", "+sample_temperature@loss.kd.temperature="],
    ),
    "a loss with the log's name": (
        ["+loss.hard._target_=kd_lightning.losses.logits.kd.KD"],
        ["ConfigError", "loss.hard", "the hard loss"],
    ),
    "annealing below zero": (
        ["annealing=temperature", "annealing.temperature.start=-4"],
        ["ConfigError", "annealing.temperature is -4", "> 0"],
    ),
    "annealing above one": (
        ["annealing=alpha", "annealing.alpha.start=2"],
        ["ConfigError", "annealing.alpha is 2", "[0, 1]"],
    ),
    "weight below zero": (
        ["+scheduler@annealing.weight.kd=cosine", "annealing.weight.kd.end=-1"],
        ["ConfigError", "annealing.weight.kd is -", ">= 0"],
    ),
    "boundaries out of order": (
        ["scheduler=step", "scheduler.boundaries=[0.7,0.3]"],
        ["ConfigError", "boundaries=[0.7, 0.3]", "rising"],
    ),
    "spread of temperatures": (
        ["+sample_temperature@loss.kd.temperature=flsw", "loss.kd.temperature.beta=-1"],
        ["ConfigError", "beta=-1", ">= 0"],
    ),
    "memory of norms": (
        ["weighting=gradient_norm", "weighting.memory=1"],
        ["ConfigError", "weighting.memory=1", "[0, 1)"],
    ),
    "hard loss of a teacher that is there": (
        ["hard_loss@teacher.hard_loss=logit_adjusted", "teacher.checkpoint=mine.safetensors"],
        ["ConfigError", "teacher.hard_loss with teacher.checkpoint", "hard_loss@teacher.hard_loss=cross_entropy"],
    ),
    "missing checkpoint": (
        ["teacher.checkpoint=nowhere.safetensors"],
        ["CheckpointCorruptError", "nowhere.safetensors", "is not there", "run folder"],
    ),
}


@pytest.mark.few(8)
@pytest.mark.parametrize("case", TOGETHER)
def test_what_does_not_fit_together_is_refused(case: str, refused: Any, refused_value: Any) -> None:
    words, parts = TOGETHER[case]
    groups = any(
        word.startswith(
            ("annealing=", "weighting=", "callbacks=", "student=", "teacher=", "scheduler=", "hard_loss", "+")
        )
        for word in words
    )
    line = refused(*DIGITS, *MLP, *words) if groups else refused_value((*DIGITS, *MLP), *words)
    for part in parts:
        assert part in line


def test_control_an_early_stopping_that_fits_runs(capsys: pytest.CaptureFixture[str], outputs: Path) -> None:
    stopping = ("callbacks=[early_stopping]", "callbacks.early_stopping.mode=max")
    assert kd(capsys, "run", *DIGITS, *MLP, *stopping, f"outputs={outputs}").code == 0
    assert Accuracy.higher_is_better  # which is what the refused mode contradicts


def test_missing_extra_is_named(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "sklearn" else find(name, *more)
    )
    line = refused(*DIGITS)
    assert "MissingExtraError" in line
    assert "sklearn is not installed" in line
    assert 'pip install "kd-lightning[vision]"' in line


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_missing_logger_is_named_before_training(logger: str, refused: Any) -> None:
    if importlib.util.find_spec(logger) is not None:
        pytest.skip(f"{logger} is installed")
    line = refused(*DIGITS, *MLP, f"logger=[{logger}]")
    assert "ConfigError" in line
    assert logger in line


# -- arrays -----------------------------------------------------------------------------------------------------------

TARGETS: dict[str, tuple[Any, Sequence[str]]] = {
    "the number of classes": ([*CLASSES[:-1], 4], ["target 4", "0 to 3", "row"]),
    "negative": ([*CLASSES[:-1], -1], ["target -1", "0 to 3", "row"]),
    "ignored everywhere": ([-100] * 60, ["target -100", "0 to 3"]),
    "float": (np.array(CLASSES, dtype=np.float32), ["float32", "integers"]),
    "text": (np.array([str(label) for label in CLASSES]), ["<U1", "integers"]),
    "one-hot": (np.eye(4, dtype=np.int64)[CLASSES], ["(60, 4)", "one class number for each row"]),
    "fewer than the inputs": (CLASSES[:-3], ["(57,)", "(60, 4)"]),
}


@pytest.mark.parametrize("case", TARGETS)
def test_labels_are_refused(case: str, refused_value: Any, tmp_path: Path) -> None:
    targets, parts = TARGETS[case]
    inputs = np.zeros((60, 4), dtype=np.float32)
    line = refused_value(NPZ, f"data.path={arrays(tmp_path / 'rows.npz', np.array(targets), inputs)}")
    for part in ("LabelError", *parts):
        assert part in line


def test_arrays_are_refused(refused_value: Any, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", inputs=np.zeros((60, 4)), targets=np.array(CLASSES, dtype=object))
    np.savez(tmp_path / "names.npz", x=np.zeros((60, 4)), targets=CLASSES)
    nan = np.zeros((60, 4), dtype=np.float32)
    nan[7, 2] = np.nan
    arrays(tmp_path / "nan.npz", CLASSES, nan)
    arrays(tmp_path / "few.npz", CLASSES[:16])
    wanted = {
        "missing": "is not a file",
        "text": "cannot be read",
        "objects": "cannot be read",
        "names": "has no array ['inputs']",
        "nan": "row 7 of inputs",
        "few": "EmptyDatasetError",
    }
    for name, part in wanted.items():
        line = refused_value(NPZ, f"data.path={tmp_path}/{name}.npz")
        assert part in line


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts(tmp_path_factory.mktemp("corpus") / "texts")


def test_folders_of_text_are_refused(refused_value: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    texts(tmp_path / "two", files=2)
    (texts(tmp_path / "blank") / "0.txt").write_text(" \n")
    (texts(tmp_path / "latin") / "0.txt").write_bytes(b"caf\xe9 " * 9)
    wanted = {
        "missing": ("EmptyDatasetError", "is not a folder"),
        "empty": ("EmptyDatasetError", "no file matches **/*.txt"),
        "two": ("EmptyDatasetError", "2 files", "at least 3"),
        "blank": ("EmptyDatasetError", "0.txt holds no text"),
        "latin": ("0.txt is not UTF-8 at byte 3",),
    }
    for name, parts in wanted.items():
        line = refused_value(text_words(Path("texts")), f"data.root={tmp_path / name}")
        for part in (*parts, str(tmp_path / name)):
            assert part in line


VOCABULARIES = {
    "teacher.model.vocab_size=400": ("VocabMismatchError", "teacher", "400", "300", "teacher.model.vocab_size=300"),
    "student.model.vocab_size=299": ("VocabMismatchError", "student", "300", "student.model.vocab_size=300"),
    "teacher.model.vocab_size=20": ("VocabMismatchError", "teacher", "300", "teacher.model.vocab_size=300"),
    "data.vocab_size=200": ("ConfigError", "data.vocab_size is 200", "at least 257"),
    "data.vocab_size=5000": ("VocabMismatchError", "data.vocab_size is 5000", "set data.vocab_size="),
    "data.context=0": ("ConfigError", "data.context is 0", "at least 1"),
}


@pytest.mark.parametrize("word", VOCABULARIES)
def test_vocabularies_are_refused(word: str, refused_value: Any, corpus: Path) -> None:
    line = refused_value(text_words(Path("texts")), f"data.root={corpus}", word)
    for part in VOCABULARIES[word]:
        assert part in line


@pytest.mark.parametrize("sign", ["", "+"])
def test_language_data_have_no_long_tail(sign: str, refused: Any, corpus: Path) -> None:
    assert "unknown setting 'data.imbalance'" in refused(*text_words(corpus), f"{sign}data.imbalance=10")


def test_context_beyond_the_limit_is_refused(refused: Any, corpus: Path) -> None:
    line = refused(*text_words(corpus), "teacher=transformer_lm_small", "teacher.model.max_length=4")
    for part in ("SequenceTooLongError", "8 positions", "max_length=4", "shorten"):
        assert part in line


# -- the teacher's file -----------------------------------------------------------------------------------------------


def test_files_that_are_no_teacher_are_refused(refused_value: Any, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file({"weight": torch.zeros(100, 100)}, whole)
    torch.save({"weight": torch.zeros(100, 100)}, tmp_path / "whole.pt")
    (tmp_path / "truncated.safetensors").write_bytes(whole.read_bytes()[:1000])
    (tmp_path / "truncated.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:1000])
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "text.ckpt").write_text("no weights at all")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "folder").mkdir()
    wanted = {
        "truncated.safetensors": ("CheckpointCorruptError", "1000 bytes"),
        "truncated.pt": ("CheckpointCorruptError", "1000 bytes"),
        "empty.safetensors": ("CheckpointCorruptError", "0 bytes"),
        "text.ckpt": ("CheckpointCorruptError", "17 bytes"),
        "list.pt": ("CheckpointCorruptError", "holds no tensors by name"),
        "folder": ("CheckpointCorruptError", "teacher.safetensors is not there"),
        "whole.safetensors": ("ConfigError", "is not a MLP as configured"),
    }
    for name, parts in wanted.items():
        line = refused_value((*DIGITS, *MLP), f"teacher.checkpoint={tmp_path / name}")
        for part in (*parts, name):
            assert part in line


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trainer=[]", "trainer: nothing is chosen; kd ls trainer lists the choices"),
        ("+=[]", "'+=[]' has no name in front of '=': write NAME=VALUE"),
        (f"++teacher.scheduler.start={'9' * 400}", "99999999... has 400 digits: no real number is as large"),
    ],
)
def test_what_the_fuzz_has_found(word: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", word)
    assert (answer.code, answer.err) == (2, f"kd: ConfigError: {said}\n")
