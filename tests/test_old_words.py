"""Old words of the command line end in one line that names the new ones, in every form in which they may be typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.config import old_words
from kd_lightning.config.conf_files import groups
from kd_lightning.config.old_words import RENAMED, in_new_words, refuse_old_words
from kd_lightning.errors import ConfigError
from tests.support.cli import DIGITS, kd

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
}
OTHERS = (
    *("loss=[kd]", "hard_loss=cross_entropy", "vars.objective=1", "objectives=1", "sweep=pareto", "alpha=objective"),
    *("-m", "--config-name", "objective", "--config-name=objective", "hydra.sweeper.objectives=[]", "", "=", "~"),
)


@pytest.mark.parametrize("word", FORMS)
def test_a_word_is_written_with_the_new_name(word: str) -> None:
    rows, now = in_new_words(word)
    assert now == FORMS[word]
    assert rows
    assert in_new_words(now) == ([], now)


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
        name, _, choice = new.partition("=")
        assert old not in groups()
        assert not choice or choice in groups()[name]


@pytest.mark.parametrize("more", [(), ("-m", "seed=0,1"), ("--plan",)], ids=["run", "sweep", "plan"])
@pytest.mark.parametrize("word", ["objective=[kd]", "~objective.kd", "++balancing.memory=0.5"])
def test_the_command_ends_with_that_line(
    word: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", *more, word)
    old, now = word.strip("+~").partition("=")[0].partition(".")[0], in_new_words(word)[1]
    assert (answer.code, answer.err) == (2, f"kd: ConfigError: {old} is now {RENAMED[old]}: kd run {now}\n")
    assert not list(tmp_path.iterdir())
