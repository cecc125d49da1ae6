"""``kd`` inside the test's process, and small data for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kd_lightning.cli.main import main
from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
from kd_lightning.config.resolve import resolve_config

DIGITS = ("experiment=digits", "debug=fast_dev_run", "max_steps=null", "progress=false")
"""Images, 64 rows a split, 2 steps a stage."""
SENTENCE = "The quick brown fox {} jumps over the lazy dog while the farmer reads the news. "


@dataclass(frozen=True)
class Answer:
    """What a command returned and wrote."""

    code: int
    out: str
    err: str


def kd(capsys: pytest.CaptureFixture[str], *words: str) -> Answer:
    """Run ``kd WORDS`` in this process."""
    capsys.readouterr()
    code = main(list(words))
    captured = capsys.readouterr()
    return Answer(code, captured.out, captured.err)


def texts(folder: Path, files: int = 6) -> Path:
    """A folder of small English text files, enough for a vocabulary of 300 tokens."""
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number}.txt").write_text(SENTENCE.format(number) * 20, encoding="utf-8")
    return folder


def text_words(root: Path) -> tuple[str, ...]:
    """Overrides for language models on ``texts(root)``."""
    return (
        "data=text_files",
        f"data.root={root}",
        "data.vocab_size=300",
        "data.context=8",
        "teacher=lstm_lm_small",
        "student=lstm_lm_tiny",
        "debug=fast_dev_run",
        "max_steps=null",
        "progress=false",
    )


def settings_of(*overrides: str) -> dict[str, Any]:
    """The settings of ``kd run OVERRIDES``, composed by Hydra and resolved."""
    register_with_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(CONFIG_NAME, list(overrides))
    OmegaConf.update(config, "folder", "somewhere")
    return resolve_config(config)
