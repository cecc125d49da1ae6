"""Words of the command line that have another name now: who types the old one is told the new one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kd_lightning.errors import ConfigError
from kd_lightning.safety.redaction import redacted_override

RENAMED = {
    "objective": "loss",
    "balancing": "weighting",
    "sweep=objectives": "sweep=losses",
}
"""Old -> new, a row for each. ``NAME`` stands for the setting, for all inside of it (``NAME.x``), and for either side of
``GROUP@PACKAGE``; ``GROUP@PACKAGE`` and ``NAME=VALUE`` stand for just that, and come before ``NAME``."""
WORD = re.compile(r"([+~]*)((?:hydra\.sweeper\.params\.)?)([^=]*)(=?)(.*)", re.DOTALL)
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
        now = " ".join(redacted_override(word) for rows, word in found if rows)
        raise ConfigError(f"{', '.join(f'{each} is now {RENAMED[each]}' for each in old)}: kd run {now}")


def in_new_words(word: str) -> tuple[Sequence[str], str]:
    """The rows of the table that a word needs, and the word as it is written now.

    Example:
        >>> in_new_words("+sample_temperature@objective.kd.temperature=flsw")
        (['objective'], '+sample_temperature@loss.kd.temperature=flsw')
        >>> in_new_words("hard_loss=cross_entropy")
        ([], 'hard_loss=cross_entropy')
    """
    split = WORD.fullmatch(word)
    assert split is not None
    sign, place, name, equals, value = split.groups()
    if word.startswith("-") or not (equals or "~" in sign):  # a flag, its value, or no setting at all
        return [], word
    whole = f"{name}{equals}{value}"
    if whole in RENAMED:
        return [whole], f"{sign}{place}{RENAMED[whole]}"
    rows = [name] if name in RENAMED else [row for part in name.split("@") if (row := row_of(part))]
    for row in rows:
        name = re.sub(rf"(?<![^@]){re.escape(row)}(?=[.@]|$)", RENAMED[row], name)
    return rows, f"{sign}{place}{name}{equals}{value}"


def row_of(name: str) -> str:
    """The row that a name, or what it lies in, has in the table; the innermost, if any."""
    parts = name.split(".")
    outwards = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((each for each in outwards if each in RENAMED), "")
