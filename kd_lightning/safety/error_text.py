"""Errors as text that may be shown and written: one line, no secrets, nothing that a terminal obeys."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable

from kd_lightning.safety.redaction import HIDDEN, SECRET, redact_override, split_words, without_secrets
from kd_lightning.safety.terminal import escape_unprintable

OMEGACONF_NOISE = ("full_key:", "object_type=", "See https", "To append to your", "reference_type=")
"""How lines begin that Hydra and OmegaConf add to a message and that help nobody."""
UNSAFE_ADVICE = re.compile(r"Weights only load failed.*|.*weights_only.*False.*", re.IGNORECASE | re.DOTALL)
"""What torch says of a file with Python objects in it: to load it all the same, by running the code that it carries."""
LONG_WORD = re.compile(r"(\S{60})\S{500,}(\S{20})")
"""A number of a thousand digits, say: its ends tell enough."""
REFUSED = "it holds Python objects, which could run code; save network.state_dict() or use safetensors"
_of_command: dict[str, str] = {}
"""What is secret in the words of this process's command -> what is shown instead."""


def hide_command_secrets(words: Iterable[str]) -> None:
    """From now on, no error repeats what is secret in these words of the command line, whatever a parser makes of them."""
    _of_command.clear()
    for word in words:
        shown, (name, _, value) = redact_override(word), word.partition("=")
        if shown != word:
            _of_command[word] = shown
            if len(value) >= 4 and SECRET.search(split_words(name)):
                _of_command[value] = HIDDEN


def without_command_secrets(text: str) -> str:
    """A text without the command line's secrets, and without what looks like one."""
    for secret in sorted(_of_command, key=len, reverse=True):
        text = text.replace(secret, _of_command[secret])
    return without_secrets(text)


def to_one_line(error: BaseException) -> str:
    """The message without line breaks and without pointers to documentation."""
    lines = [line.strip() for line in UNSAFE_ADVICE.sub(REFUSED, without_command_secrets(str(error))).splitlines()]
    text = "; ".join(line for line in lines if line and not line.startswith(OMEGACONF_NOISE))
    return LONG_WORD.sub(r"\1...\2", escape_unprintable(text))


def take_first_line(error: BaseException) -> str:
    """The first line of a library's message; of one without a message, its class."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def describe_error(error: BaseException) -> str:
    """The error in one line, its class first."""
    if isinstance(error, SystemExit):
        return f"something in the run called sys.exit({error.code!r})"
    return f"{type(error).__name__}: {to_one_line(error)}"


def format_traceback(error: BaseException) -> str:
    """The error with where it came from."""
    return escape_unprintable(without_command_secrets("".join(traceback.format_exception(error))), lines=True)
