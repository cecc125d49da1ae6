"""Secrets by name, by looks and by place: planted wherever a user can put them, found nowhere that is written or shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kd_lightning.safety.redaction import HiddenValues, redact_override, redact_settings, without_secrets
from tests.support.cli import DIGITS, kd

NAMES = (
    *("auth", "pwd", "bearer", "creds", "passphrase", "private_key", "access_key", "dsn", "key", "tokens", "token"),
    *("api_key", "password", "client_secret", "accessKey", "session_cookie", "credentials", "oauth", "jwt", "webhook"),
    *("anything", "hosts.third"),
)
SHAPES = (
    *(
        "Bearer {}",
        "https://{}@host/x.git",
        "https://me:{}@host/x",
        "https://host/x?api_key={}&b=1",
        "Server=a;Pwd={};",
    ),
    *("Authorization: Basic {}", "ghp_{}", "postgresql://me:{}@host/db", "postgresql://me:a/{}@host/db"),
    *("Bearer  {}", "X-API-Key: {}", "a;pass={};b", "otp={}", "postgresql://me-{}-and-more@host/db"),
)
SECRETS = {f"s3cr{number:02}tV4lue": text for number, text in enumerate([*NAMES, *SHAPES])}
WORDS = tuple(
    f"+vars.{text}={secret}" if text in NAMES else f"+vars.n{number}.note='{text.format(secret)}'"
    for number, (secret, text) in enumerate(SECRETS.items())
)
HARMLESS = (
    "+vars.name=harmless1",
    "+vars.size=31337",
    "logger=tensorboard",
    "+logger.tensorboard.comment=s3cr99tV4lue",
)
SMALL = (*DIGITS, "teacher=mlp_tiny", "student=mlp_tiny")


def leaks(folder: Path, *shown: str) -> list[str]:
    """Secrets in files below the folder, or among what was shown."""
    texts = {path.as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    texts |= {f"shown {number}": text.encode() for number, text in enumerate(shown)}
    return [
        f"{what} in {where}" for where, text in texts.items() for what in [*SECRETS, "s3cr99t"] if what.encode() in text
    ]


def test_a_run_and_a_sweep_write_and_show_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = f"outputs={tmp_path}"
    single = kd(capsys, "run", *SMALL, outputs, *WORDS, *HARMLESS)
    assert single.code == 0, single.err
    swept = kd(capsys, "run", "-m", *SMALL, outputs, *WORDS, *HARMLESS, "temperature=1,-1")
    assert swept.code == 1
    (sweep,) = (tmp_path / "sweeps").iterdir()
    status = kd(capsys, "status", str(sweep))
    report = kd(capsys, "report", str(sweep))
    assert leaks(tmp_path, *(text for each in (single, swept, status, report) for text in (each.out, each.err))) == []
    # The control: what is harmless stands where it should, and what hides a value can be told.
    (run,) = (tmp_path / "runs").iterdir()
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert "harmless1" in config
    assert "31337" in config
    assert f"+vars.{NAMES[0]}=***" in (run / "overrides.txt").read_text(encoding="utf-8")
    assert "put in what *** hides" in status.out
    assert list(run.rglob("events.out.tfevents*"))


def test_errors_tracebacks_and_composed_settings_show_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = f"outputs={tmp_path}"
    wrong = kd(capsys, "run", *SMALL, outputs, *WORDS, "temperature=-1")
    unknown = kd(capsys, "run", *SMALL, outputs, "vars.api_key=s3cr99tV4lue")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    traced = kd(capsys, "run", *SMALL, outputs, *WORDS, "temperature=-1")
    monkeypatch.setenv("FROM_ENV", "s3cr99tV4lue")
    resolved = kd(capsys, "run", "--cfg", "job", "--resolve", "+vars.password=${oc.env:FROM_ENV}")
    shown = [kd(capsys, "run", "--cfg", kind, *WORDS, *HARMLESS) for kind in ("job", "all")]
    alone = kd(capsys, "run", "--cfg", "job", "--package", "vars.auth", *WORDS)
    informed = kd(capsys, "run", "--info", "config", *WORDS, *HARMLESS)
    assert [wrong.code, unknown.code, traced.code, resolved.code] == [2, 2, 2, 0]
    assert "Traceback" in traced.err
    answers = [wrong, unknown, traced, resolved, *shown, alone, informed]
    assert leaks(tmp_path, *(text for each in answers for text in (each.out, each.err))) == []
    assert "harmless1" in shown[0].out
    assert "harmless1" in shown[1].out
    assert alone.out == "***\n"


@pytest.mark.parametrize(
    "text",
    [
        "tokenizer=abc",
        "tokens: 3, tokens/s",
        "data.tokens=5",
        "authors: me",
        "temperature=2",
        "student=lstm_lm",
        "monkey=see keyboard=no",
        "https://docs.example.org/page@2",
        "postgresql://me@host/db",
        "sqlite:///outputs/mlflow.db",
        "write it on the command line: kd run ++hydra.job.env_set.PATH=...",
        "set data.token=...",
        "KeyError: 'distilled'",
        "Basic configuration of things",
        "hf-internal-testing/tiny-random",
        "unknown setting 'auth_token'; did you mean 'x'?",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_secret_that_another_setting_repeats_is_hidden_there_too() -> None:
    settings = {
        "vars": {"password": "s3cr00tV4lue"},
        "data": {"root": "/x/s3cr00tV4lue/y", "steps": [1, "s3cr00tV4lue"]},
    }
    assert json.dumps(redact_settings(settings)) == json.dumps(
        {"vars": {"password": "***"}, "data": {"root": "/x/***/y", "steps": [1, "***"]}}
    )


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("logger=[csv,mlflow]", "logger=[csv,mlflow]"),
        ("logger.wandb.project=mine", "logger.wandb.project=mine"),
        ("logger.wandb.host=mine", "logger.wandb.host=***"),
        ("vars.size=1,2,3", "vars.size=1,2,3"),
        ("hydra.job.env_set.ANY=x", "hydra.job.env_set.ANY=***"),
        ("+vars={a: {b: x}}", "+vars=***"),
        ("~vars.a", "~vars.a"),
        ("loss=[kd,hint]", "loss=[kd,hint]"),
        ("model.student.model.token=x", "model.student.model.token=***"),
    ],
)
def test_overrides(word: str, shown: str) -> None:
    assert redact_override(word) == shown


def test_jobs_that_differ_in_a_hidden_value_stay_apart() -> None:
    hidden = HiddenValues()
    words = ("+vars.kind=a", "+vars.kind=b", "+vars.kind=a", "+vars.other=b", "seed=1")
    assert [hidden.redact(word) for word in words] == [
        *("+vars.kind=***", "+vars.kind=***2", "+vars.kind=***", "+vars.other=***", "seed=1")
    ]


def test_a_long_text_takes_no_long_time() -> None:
    text = "a" * 300_000 + "://" * 1000 + "b=" * 1000
    assert without_secrets(text).startswith("aaa")


@pytest.mark.parametrize(
    "word",
    [
        *(
            "+vars.password=hunter2,S3CRETPART",
            "+vars.password=hunter2(S3CRETPART",
            "+vars.password='hunter2 S3CRETPART",
        ),
        *("+vars.password=hunter2]S3CRETPART", "+vars.token={a:b S3CRETPART", "logger.mlflow.password=[x,S3CRETPART"),
    ],
)
@pytest.mark.parametrize("traceback", ["0", "1"])
def test_a_word_that_cannot_be_read_is_not_repeated(
    word: str, traceback: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", traceback)
    answer = kd(capsys, "run", *DIGITS, word, f"outputs={tmp_path}")
    assert answer.code == 2
    assert "***" in answer.err
    assert "S3CRET" not in answer.out + answer.err


def test_a_text_with_an_interpolation_is_shown_without_its_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "+vars.api_key=s3cr00tV4lue",
        "outputs=outputs/${task.name}",
        '+vars.name="https://me:s3cr00tV4lue@${task.name}/x"',
    )
    for what in ("hydra", "job"):
        answer = kd(capsys, "run", *DIGITS, *words, "--cfg", what)
        assert answer.code == 0
        assert "${task.name}" in answer.out
        assert "s3cr00tV4lue" not in answer.out
