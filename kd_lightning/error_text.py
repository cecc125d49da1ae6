"""Errors as text that may be shown and written: one line, no secrets, nothing that a terminal obeys."""

from __future__ import annotations

import re
import traceback

from kd_lightning.redaction import without_secrets
from kd_lightning.terminal import printable

NOISE = ("full_key:", "object_type=", "See https", "To append to your", "reference_type=")
"""How lines begin that Hydra and OmegaConf add to a message and that help nobody."""
UNSAFE_ADVICE = re.compile(r"Weights only load failed.*|.*weights_only.*False.*", re.IGNORECASE | re.DOTALL)
"""What torch says of a file with Python objects in it: to load it all the same, by running the code that it carries."""
LONG_WORD = re.compile(r"(\S{60})\S{500,}(\S{20})")
REFUSED = "it holds Python objects, which could run code; save network.state_dict() or use safetensors"


def one_line(error: BaseException) -> str:
    """The message without line breaks and without pointers to documentation."""
    lines = [line.strip() for line in UNSAFE_ADVICE.sub(REFUSED, str(error)).splitlines()]
    text = "; ".join(line for line in lines if line and not line.startswith(NOISE))
    return LONG_WORD.sub(r"\1...\2", printable(without_secrets(text)))


def describe(error: BaseException) -> str:
    """The error in one line, its class first."""
    if isinstance(error, SystemExit):
        return f"something in the run called sys.exit({error.code!r})"
    return f"{type(error).__name__}: {one_line(error)}"


def traceback_text(error: BaseException) -> str:
    """The error with where it came from."""
    return printable(without_secrets("".join(traceback.format_exception(error))), lines=True)
