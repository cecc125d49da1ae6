"""LoRA: a pretrained network learns low-rank additions to some of its matrices, and its own weights stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from kd_lightning.errors import ConfigError, MissingExtraError, did_you_mean
from kd_lightning.safety.error_text import take_first_line

DEFAULTS: dict[str, Any] = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "modules": None}
"""Settings, and what they are where they are left out."""


def add_low_rank(network: nn.Module, settings: Mapping[str, Any], trained: Iterable[str]) -> None:
    """Add the matrices to a network, in place; nothing else of it is trained any more, but for what is named.

    A weight W [O, I] becomes ``W + alpha / rank * B A`` with A [rank, I] at random and B [O, rank] = 0 at the beginning.

    Args:
        network: A model of ``transformers``, with its weights.
        settings: ``rank``; ``alpha``; ``dropout``, probability on what A reads; ``modules``, the ends of the names of the
            layers that get additions, None = those that are usual for the architecture. See ``DEFAULTS``.
        trained: Names of parameters that are trained all the same, as those of a new head.

    Raises:
        ConfigError: A setting is not possible, or no layer has such a name.
        MissingExtraError: ``peft`` is not installed.

    Reference:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
    """
    for name in settings:
        if name not in DEFAULTS:
            raise ConfigError(
                f"model.lora.{name}: one of {', '.join(DEFAULTS)} is expected{did_you_mean(name, DEFAULTS)}"
            )
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError('peft is not installed: pip install "kd-lightning[lora]"') from error
    chosen = {**DEFAULTS, **settings}
    try:
        config = peft.LoraConfig(
            r=chosen["rank"],
            lora_alpha=chosen["alpha"],
            lora_dropout=chosen["dropout"],
            target_modules=None if chosen["modules"] is None else list(chosen["modules"]),
        )
        peft.inject_adapter_in_model(config, network)
    except (ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"model.lora={dict(settings)}: {take_first_line(error)}") from error
    again = set(trained)
    for name, parameter in network.named_parameters():
        if name in again:
            parameter.requires_grad_(True)
