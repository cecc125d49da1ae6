"""Whether losses are computed by chunks of rows: where the vocabulary is wide, unless something stands against it."""

from __future__ import annotations

from typing import Any

from kd_lightning.errors import ConfigError

WIDE_VOCABULARY = 4096
"""Classes from which it pays; figures in docs/reference/performance.md."""
AUTO = "auto"


def chunks(setting: Any, classes: int, reason_against: str | None) -> bool:
    """Whether the losses of a role are computed by chunks.

    Args:
        setting: ``chunked_loss``: True, False or ``auto``.
        classes: C.
        reason_against: Why it is not possible; None = it is.

    Raises:
        ConfigError: It is asked for and not possible.
    """
    if setting is True and reason_against:
        raise ConfigError(f"chunked_loss=true: {reason_against}: set chunked_loss=auto, or choose another network")
    return reason_against is None and (setting is True or (setting == AUTO and classes >= WIDE_VOCABULARY))
