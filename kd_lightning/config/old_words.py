"""Words of the command line that have another name now: who types the old one is told the new one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kd_lightning.config.shorthands import UNDER
from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.safety.redaction import redact_override

RENAMED = {
    "objective": "loss",
    "balancing": "weighting",
    "sweep=objectives": "sweep=losses",
    "model@teacher": "teacher",
    "model@student": "student",
    "teacher_optimizer": "teacher.optimizer",
    "teacher_scheduler": "teacher.scheduler",
    "teacher_hard_loss": "teacher.hard_loss",
    "teacher_seed": "teacher.seed",
    "steps.teacher": "teacher.steps",
    "steps.student": "student.steps",
    "steps.pretrain": "student.pretrain_steps",
    "steps.most": "max_steps",
    "data.labelled": "student.num_labeled",
    "data.labelled_teacher": "teacher.num_labeled",
    "matmul": "matmul_precision",
    "task=language_modelling": "task=language_modeling",
    "optimizer=adamw_lstm_lm": "optimizer=adamw optimizer.lr=0.03",
    "optimizer=adamw_lstm_lm_small": "optimizer=adamw optimizer.lr=0.06",
    "optimizer@teacher_optimizer=adamw_lstm_lm": "optimizer@teacher.optimizer=adamw teacher.optimizer.lr=0.03",
    "optimizer@teacher_optimizer=adamw_lstm_lm_small": "optimizer@teacher.optimizer=adamw teacher.optimizer.lr=0.06",
}
"""Old -> new, a row for each. ``NAME`` stands for the setting, for all inside of it (``NAME.x``), and for either side of
``GROUP@PACKAGE``; ``GROUP@PACKAGE`` and ``NAME=VALUE`` stand for just that, and come before ``NAME``. A network's settings
need no row: ``student.hidden`` is now ``student.model.hidden``."""
OVERRIDE_PATTERN = re.compile(r"([+~]*)((?:hydra\.sweeper\.params\.)?)([^=]*)(=?)(.*)", re.DOTALL)
"""Sign, where a search keeps what it tries, name, equals sign, value; fits every text."""


def refuse_old_words(words: Iterable[str]) -> None:
    """Every word of a command has the name of today.

    Args:
        words: Of the command line, flags among them.

    Raises:
        ConfigError: Some have not; says how they are written now.
    """
    found = [in_new_words(word) for word in words]
    old = dict.fromkeys(each for rows, _ in found for each in rows)
    if old:
        now = " ".join(redact_override(word) for rows, word in found if rows)
        raise ConfigError(f"{', '.join(f'{each} is now {renamed(each)}' for each in old)}: kd run {now}")


def in_new_words(word: str) -> tuple[Sequence[str], str]:
    """The rows of the table that a word needs, and the word as it is written now.

    Example:
        >>> in_new_words("+sample_temperature@objective.kd.temperature=flsw")
        (['objective'], '+sample_temperature@loss.kd.temperature=flsw')
        >>> in_new_words("hard_loss=cross_entropy")
        ([], 'hard_loss=cross_entropy')
    """
    split = OVERRIDE_PATTERN.fullmatch(word)
    assert split is not None
    sign, place, name, equals, value = split.groups()
    if word.startswith("-") or not (equals or "~" in sign):  # a flag, its value, or no setting at all
        return [], word
    whole = f"{name}{equals}{value}"
    if whole in RENAMED:
        return [whole], f"{sign}{place}{RENAMED[whole]}"
    rows = [name] if name in RENAMED else [row for part in name.split("@") if (row := row_of(part))]
    for row in rows:
        name = re.sub(rf"(?<![^@]){re.escape(row)}(?=[.@]|$)", renamed(row), name)
    return rows, f"{sign}{place}{name}{equals}{value}"


def row_of(name: str) -> str:
    """The row that a name, or what it lies in, has in the table; the innermost, if any. Of a network's, the name itself."""
    parts = name.split(".")
    outwards = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((each for each in outwards if each in RENAMED), "" if not is_network_s(parts) else ".".join(parts[:2]))


def is_network_s(parts: Sequence[str]) -> bool:
    """A setting lies directly under its role where those of the role's network used to be."""
    role, inner, *_ = (*parts, "", "")
    return role in UNDER and inner not in ("", *UNDER[role]) and not did_you_mean(inner, UNDER[role])


def renamed(row: str) -> str:
    """What a row of the table is called now, or a setting of a network."""
    role, _, name = row.partition(".")
    return RENAMED.get(row) or f"{role}.model.{name}"
