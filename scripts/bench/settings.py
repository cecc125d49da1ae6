"""Settings as `kd run` composes them, for scripts that build an experiment without running the command."""

from __future__ import annotations

from typing import Any


def compose_settings(*words: str) -> dict[str, Any]:
    """The resolved settings of a run with these words on its command line, shorthands among them.

    Example:
        >>> compose_settings("experiment=digits", "student=convnet_micro", "folder=x")["student"]["model"]["channels"]
        [4, 8]
    """
    from hydra import compose, initialize_config_dir

    from kd_lightning.config.conf_files import conf_dir
    from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
    from kd_lightning.config.resolve import resolve_config

    register_with_hydra()  # from here on, Hydra knows the shorthands
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return resolve_config(compose(CONFIG_NAME, list(words)))
