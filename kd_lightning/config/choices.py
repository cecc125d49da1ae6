"""One choice of a group by itself, as ``conf/loss/kd.yaml``: read and built without composing the rest."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.conf_files import list_groups
from kd_lightning.config.config_sources import check_config_file, is_packaged_folder
from kd_lightning.config.instantiate import build_node, check_arguments
from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.safety.error_text import take_first_line


def build_choice(group: str, name: str) -> Any:
    """The object that a choice describes; the user's ``./conf`` comes before our files.

    Args:
        group: For example ``loss``.
        name: Of the choice; its file needs no others.

    Raises:
        ConfigError: There is no such choice, or its file makes no sense.
        UntrustedTargetError: It names what may not be built.
    """
    choices = list_groups().get(group, {})
    if name not in choices:
        raise ConfigError(f"{group} {name!r}: no such choice{did_you_mean(name, choices)} (kd ls {group} lists all)")
    path = choices[name]
    if not is_packaged_folder(str(path.parents[len(group.split("/"))])):
        check_config_file(path, path.parent)
    try:
        node = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {take_first_line(error)}: what it refers to stands in other files") from error
    check_arguments({group: {name: node}})
    return build_node(node)
