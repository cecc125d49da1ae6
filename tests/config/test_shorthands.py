"""Shorthands mean the composed words, wherever they are typed; records keep them as they were typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kd_lightning.config.settings_checks import TOP_LEVEL_KEYS
from kd_lightning.config.shorthands import (
    OF_STUDENT,
    ROLES,
    UNDER,
    expand,
    expand_files,
    explain_shorthands,
    refuse_two_names,
)
from kd_lightning.errors import ConfigError
from tests.support.cli import DIGITS, kd, settings_of

COMPOSED = {
    "teacher=mlp": "model@teacher.model=mlp",
    "student=mlp,mlp_tiny": "model@student.model=mlp,mlp_tiny",
    "student=choice(mlp,mlp_tiny)": "model@student.model=choice(mlp,mlp_tiny)",
    "student=null": "model@student.model=null",
    "optimizer=sgd": "optimizer@student.optimizer=sgd",
    "scheduler=step": "scheduler@student.scheduler=step",
    "hard_loss=logit_adjusted": "hard_loss@student.hard_loss=logit_adjusted",
    "optimizer.lr=0.1": "student.optimizer.lr=0.1",
    "+optimizer.betas=[0.9,0.99]": "+student.optimizer.betas=[0.9,0.99]",
    "~optimizer.weight_decay": "~student.optimizer.weight_decay",
    "~scheduler": "~scheduler@student.scheduler",
    "optimizer={lr: 0.1}": "student.optimizer={lr: 0.1}",
}
OTHERS = (
    *(
        "teacher.steps=5",
        "student.model.hidden=[8]",
        "student={steps: 5}",
        "++student=mlp",
        "~teacher",
        "-m",
        "optimizer",
    ),
    *(
        "optimizer@teacher.optimizer=sgd",
        "+scheduler@annealing.alpha=cosine",
        "hydra.sweeper.params.student=a,b",
        "",
        "=",
    ),
    *("teacher_outputs=live", "vars.teacher=x", "loss=[kd]"),
)


@pytest.mark.parametrize("word", COMPOSED)
def test_a_shorthand_is_the_composed_word(word: str) -> None:
    assert expand(word) == COMPOSED[word]
    assert expand(expand(word)) == COMPOSED[word]


@pytest.mark.parametrize("word", OTHERS)
def test_other_words_stay(word: str) -> None:
    assert expand(word) == word


def test_both_ways_compose_the_same() -> None:
    short = ("teacher=mlp", "student=mlp_tiny", "optimizer=sgd", "optimizer.lr=0.5", "scheduler=step", "hard_loss.x=1")
    words = ("experiment=digits", *short[:-1], "+hard_loss.x=1")
    assert settings_of(*words) == settings_of(*map(expand, words))


def test_the_roles_hold_what_is_declared() -> None:
    settings = settings_of()
    assert {role: set(settings[role]) for role in ROLES} == {role: set(names) for role, names in UNDER.items()}
    assert not set(OF_STUDENT) & TOP_LEVEL_KEYS, "else a shorthand would hide a setting"


def test_what_they_stand_for_is_said_without_secrets() -> None:
    assert explain_shorthands(["seed=1", "-m"]) == ""
    assert explain_shorthands(["teacher=mlp"]) == "teacher=mlp is model@teacher.model=mlp"
    assert "hunter2" not in explain_shorthands(["+optimizer.api_key=hunter2"])


def test_a_setting_has_one_name_in_a_command() -> None:
    refuse_two_names(["optimizer.lr=1", "optimizer.lr=2", "student.steps=5"])
    with pytest.raises(ConfigError, match=r"optimizer.lr and student.optimizer.lr are the same setting"):
        refuse_two_names(["optimizer.lr=1", "student.optimizer.lr=2"])


def test_a_preset_s_shorthand_and_a_typed_name_are_one_setting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", "-m", "sweep=student_size", "model@student.model=lstm_lm", f"outputs={tmp_path}")
    assert answer.code == 2
    assert "student and model@student.model are the same setting" in answer.err


def test_a_run_says_once_what_they_stand_for_and_is_recorded_as_typed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", *DIGITS, "teacher=mlp", "student=mlp_tiny", "optimizer=sgd", f"outputs={tmp_path}")
    assert answer.code == 0, answer.err
    said = "teacher=mlp is model@teacher.model=mlp, student=mlp_tiny is model@student.model=mlp_tiny, "
    assert answer.out.count(said) == 1
    assert "student.optimizer.lr=0.03 comes from the job, not from sgd, whose own is 0.1: set one of them" in answer.out
    (results,) = tmp_path.glob("runs/*/results.json")
    words = results.with_name("overrides.txt").read_text().split()
    assert {"teacher=mlp", "student=mlp_tiny", "optimizer=sgd"} <= set(words)
    assert " teacher=mlp student=mlp_tiny " in json.loads(results.read_text())["command"]


@pytest.mark.parametrize(
    "where", ["typed", *(pytest.param(each, marks=pytest.mark.full) for each in ("params", "preset"))]
)
def test_a_sweep_over_a_shorthand_has_short_columns(
    where: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words: tuple[str, ...] = ("student=mlp_tiny,mlp", "optimizer.lr=0.01")
    if where == "params":
        words = ("+hydra.sweeper.params.student='mlp_tiny,mlp'", "optimizer.lr=0.01")
    if where == "preset":
        own = tmp_path / "conf" / "sweep" / "mine.yaml"
        own.parent.mkdir(parents=True)
        params = "      student: mlp_tiny,mlp\n      optimizer.lr: 0.01\n"
        own.write_text(f"# @package _global_\n# kd run -m sweep=mine\nhydra:\n  sweeper:\n    params:\n{params}")
        words = ("sweep=mine",)
    answer = kd(capsys, "run", "-m", *DIGITS, "teacher=mlp", *words, "hydra/launcher=inline", "outputs=out")
    assert answer.code == 0, answer.err
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("out/sweeps/*/*/job.json"))]
    assert [sorted(set(job["overrides"]) & {"student=mlp", "student=mlp_tiny"}) for job in found] == [
        ["student=mlp_tiny"],
        ["student=mlp"],
    ]
    assert all("optimizer.lr=0.01" in job["overrides"] for job in found)
    sizes = {
        json.loads(path.read_text())["models"]["distilled"]["parameters"]
        for path in tmp_path.glob("out/sweeps/*/*/results.json")
    }
    assert len(sizes) == 2


@pytest.mark.parametrize(
    ("word", "chosen"),
    [
        ("task=embedding", "hf_embedder"),
        ("experiment=embedding", "hf_embedder"),
        ("+experiment=embedding_layers", "hf_embedder"),
        ("experiment=embedding_of_mine", "hf"),
        ("task=embeddings", "hf"),
    ],
)
def test_an_encoder_without_a_head_goes_with_the_experiments_of_embeddings_alone(word: str, chosen: str) -> None:
    found = expand_files([word, "teacher=hf:model"])
    assert f"teacher={chosen}" in found
    assert ("experiment=embedding" in found) == (word in ("task=embedding", "experiment=embedding"))
