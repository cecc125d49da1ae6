"""Old words of the command line end in one line that names the new ones, in every form in which they may be typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.config import old_words
from kd_lightning.config.conf_files import list_groups
from kd_lightning.config.old_words import RENAMED, in_new_words, refuse_old_words
from kd_lightning.errors import ConfigError
from tests.support.cli import DIGITS, kd, settings_of

FORMS = {
    "objective=[kd]": "loss=[kd]",
    "objective.kd.weight=0.5": "loss.kd.weight=0.5",
    "++objective.kd.weight=0.5": "++loss.kd.weight=0.5",
    "+objective.hard._target_=x.Y": "+loss.hard._target_=x.Y",
    "~objective.kd": "~loss.kd",
    "~objective": "~loss",
    "balancing=uncertainty": "weighting=uncertainty",
    "balancing.memory=objective": "weighting.memory=objective",
    "+sample_temperature@objective.kd.temperature=flsw": "+sample_temperature@loss.kd.temperature=flsw",
    "objective@objective=[kd]": "loss@loss=[kd]",
    "hydra.sweeper.params.objective='[kd],[hint]'": "hydra.sweeper.params.loss='[kd],[hint]'",
    "+hydra.sweeper.params.balancing=fixed,uncertainty": "+hydra.sweeper.params.weighting=fixed,uncertainty",
    "sweep=objectives": "sweep=losses",
    "model@teacher=mlp": "teacher=mlp",
    "hydra.sweeper.params.model@student=mlp,mlp_tiny": "hydra.sweeper.params.student=mlp,mlp_tiny",
    "optimizer@teacher_optimizer=sgd": "optimizer@teacher.optimizer=sgd",
    "teacher_optimizer.lr=0.1": "teacher.optimizer.lr=0.1",
    "+teacher_optimizer.betas=[0.9,0.99]": "+teacher.optimizer.betas=[0.9,0.99]",
    "scheduler@teacher_scheduler=cosine": "scheduler@teacher.scheduler=cosine",
    "teacher_scheduler.warmup=0": "teacher.scheduler.warmup=0",
    "hard_loss@teacher_hard_loss=logit_adjusted": "hard_loss@teacher.hard_loss=logit_adjusted",
    "teacher_hard_loss.tau=2": "teacher.hard_loss.tau=2",
    "teacher_seed=0,1": "teacher.seed=0,1",
    "steps.teacher=5": "teacher.steps=5",
    "steps.student=5": "student.steps=5",
    "steps.pretrain=0": "student.pretrain_steps=0",
    "steps.most=null": "max_steps=null",
    "data.labelled=100": "student.num_labeled=100",
    "data.labelled_teacher=100": "teacher.num_labeled=100",
    "matmul=medium": "matmul_precision=medium",
    "task=language_modelling": "task=language_modeling",
    "student.hidden=[8]": "student.model.hidden=[8]",
    "+teacher.dropout=0.1": "+teacher.model.dropout=0.1",
    "hydra.sweeper.params.student.hidden='[8],[16]'": "hydra.sweeper.params.student.model.hidden='[8],[16]'",
    "optimizer=adamw_lstm_lm_small": "optimizer=adamw optimizer.lr=0.06",
    "optimizer@teacher_optimizer=adamw_lstm_lm": "optimizer@teacher.optimizer=adamw teacher.optimizer.lr=0.03",
}
OTHERS = (
    *("loss=[kd]", "hard_loss=cross_entropy", "vars.objective=1", "objectives=1", "sweep=pareto", "alpha=objective"),
    *(
        "teacher=mlp",
        "student.model.hidden=[8]",
        "student.stesp=5",
        "optimizer.lr=0.1",
        "steps.techer=2",
        "vars.student.x=1",
    ),
    *("model@student.model=mlp", "scheduler@annealing.alpha=cosine", "student.optimizer.lr=1", "student={steps: 5}"),
    *("-m", "--config-name", "objective", "--config-name=objective", "hydra.sweeper.objectives=[]", "", "=", "~"),
)


@pytest.mark.parametrize("word", FORMS)
def test_a_word_is_written_with_the_new_name(word: str) -> None:
    rows, now = in_new_words(word)
    assert now == FORMS[word]
    assert rows
    assert all(in_new_words(each) == ([], each) for each in now.split(" "))


@pytest.mark.parametrize("word", OTHERS)
def test_other_words_stay(word: str) -> None:
    assert in_new_words(word) == ([], word)


def test_one_line_names_all_that_is_old() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_old_words(["-m", "objective=[kd],[hint]", "seed=0,1", "balancing=fixed", "objective.kd.weight=2"])
    assert str(caught.value) == (
        "objective is now loss, balancing is now weighting: kd run loss=[kd],[hint] weighting=fixed loss.kd.weight=2"
    )


def test_the_row_that_fits_best_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"old": "new", "old.inner": "elsewhere", "group@old": "group@place", "old=a": "old=b"}
    monkeypatch.setattr(old_words, "RENAMED", table)
    assert in_new_words("old.inner.x=1") == (["old.inner"], "elsewhere.x=1")
    assert in_new_words("old.outer=1") == (["old"], "new.outer=1")
    assert in_new_words("group@old=1") == (["group@old"], "group@place=1")
    assert in_new_words("other@old.inner=1") == (["old.inner"], "other@elsewhere=1")
    assert in_new_words("old=a") == (["old=a"], "old=b")


def test_secrets_are_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_old_words(["objective.api_key=hunter2"])
    assert "hunter2" not in str(caught.value)


def test_every_row_leads_to_what_there_is() -> None:
    for old, new in RENAMED.items():
        name, _, choice = new.split(" ")[0].partition("=")
        assert old not in list_groups()
        assert not choice or choice in list_groups()[name.partition("@")[0]]


def test_every_new_name_is_a_setting_of_today() -> None:
    settings = settings_of(
        "experiment=digits", "hard_loss=logit_adjusted", "hard_loss@teacher.hard_loss=logit_adjusted"
    )
    for new in (new for new in RENAMED.values() if "=" not in new):
        node: Any = settings
        for part in new.split("."):
            assert part in node
            node = node[part]


@pytest.mark.parametrize("more", [(), ("-m", "seed=0,1"), ("--plan",)], ids=["run", "sweep", "plan"])
@pytest.mark.parametrize("word", ["objective=[kd]", "~objective.kd", "++balancing.memory=0.5", "matmul=high"])
def test_the_command_ends_with_that_line(
    word: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", *more, word)
    old, now = word.strip("+~").partition("=")[0].partition(".")[0], in_new_words(word)[1]
    assert (answer.code, answer.err) == (2, f"kd: ConfigError: {old} is now {RENAMED[old]}: kd run {now}\n")
    assert not list(tmp_path.iterdir())


def test_several_words_with_places_are_said_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = kd(capsys, "run", f"outputs={tmp_path}", "model@teacher=mlp", "steps.teacher=5", "student.hidden=[8]")
    assert (answer.code, answer.err) == (
        2,
        "kd: ConfigError: model@teacher is now teacher, steps.teacher is now teacher.steps, student.hidden is now "
        "student.model.hidden: kd run teacher=mlp teacher.steps=5 student.model.hidden=[8]\n",
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("optimizer:\n  lr: 0.1\n", ("unknown setting 'optimizer'", "it is now student.optimizer")),
        ("steps:\n  teacher: 5\n", ("unknown setting 'steps'", "teacher.steps", "student.pretrain_steps")),
        ("teacher_seed: 1\n", ("unknown setting 'teacher_seed'", "it is now teacher.seed")),
        ("matmul: high\n", ("unknown setting 'matmul'", "it is now matmul_precision")),
        ("data:\n  labelled: 5\n", ("data.labelled is now student.num_labeled",)),
        ("student:\n  hidden: [8]\n", ("unknown setting 'student.hidden'", "student.model")),
    ],
)
def test_a_file_of_the_user_s_with_old_words_is_refused_with_the_new_ones(
    text: str,
    parts: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "conf" / "experiment" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(f"# @package _global_\n# kd run experiment=mine\n{text}")
    answer = kd(capsys, "run", "experiment=mine", f"outputs={tmp_path / 'out'}")
    assert answer.code == 2
    for part in parts:
        assert part in answer.err
