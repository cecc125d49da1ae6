"""The settings of a run that is over, from its ``config.yaml``: plain data, nothing of it interpolated."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import yaml

from kd_lightning.config.yaml_bounds import compose_within_bounds
from kd_lightning.errors import ConfigError
from kd_lightning.safety.error_text import to_one_line
from kd_lightning.safety.inside import is_plain_file
from kd_lightning.safety.terminal import escape_unprintable

NEEDED_SETTINGS = ("data", "trainer", "chunked_loss", "matmul_precision", "channels_last")
"""Settings that an evaluation reads."""


def read_stored_settings(run: Path) -> dict[str, Any]:
    """The settings of a run.

    Args:
        run: Its folder.

    Raises:
        ConfigError: There is no ``config.yaml``, or it is none of ours.
    """
    path = run / "config.yaml"
    shown = escape_unprintable(str(path))
    if not is_plain_file(path):
        raise ConfigError(f"{shown} is not there: repeat the run's command, or name a file with data.path=FILE")
    compose_within_bounds(path)
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))  # OmegaConf refuses a label like "${a"
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{shown}: no settings of a run ({to_one_line(error)})") from error
    missing = [name for name in NEEDED_SETTINGS if not isinstance(settings, dict) or name not in settings]
    if not isinstance(settings, dict) or missing:
        raise ConfigError(f"{shown}: no settings of a run (no {', '.join(missing)})")
    return typing.cast("dict[str, Any]", settings)
