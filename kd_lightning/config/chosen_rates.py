"""Says so where an optimizer is chosen on the command line and a file of the job's has set a learning rate for another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from kd_lightning.config.conf_files import list_groups
from kd_lightning.config.shorthands import ROLES, expand


def list_foreign_rates(settings: Mapping[str, Any], overrides: Sequence[str]) -> Iterator[str]:
    """A sentence for each role whose optimizer is chosen, and its rate is not.

    Args:
        settings: Plain and checked.
        overrides: The job's words.
    """
    words = dict(expand(word).lstrip("+").partition("=")[::2] for word in overrides)
    for role in ROLES:
        choice, rate = words.get(f"optimizer@{role}.optimizer", ""), settings[role]["optimizer"].get("lr")
        path = list_groups()["optimizer"].get(choice)
        if path is None or f"{role}.optimizer.lr" in words:
            continue
        own = OmegaConf.select(OmegaConf.load(path), "lr")
        if own != rate:
            yield f"{role}.optimizer.lr={rate} comes from the job, not from {choice}, whose own is {own}: set one of them"
