"""Makes the user's ``./conf``, our launchers and our distrust known to Hydra, in this process."""

from __future__ import annotations

import secrets
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from kd_lightning.config.allowlist import list_trusted_packages
from kd_lightning.config.conf_files import conf_dir, user_conf_dir
from kd_lightning.config.hydra_guard import guard_hydra

CONFIG_NAME = "config"

DEFAULT_LAUNCHER = "worker"


class UserConfSearchPath(SearchPathPlugin):
    """Puts the user's ``./conf`` before ours, so that a file copied out with ``kd cp`` wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = user_conf_dir()
        if own is not None:
            search_path.prepend(provider="user", path=f"file://{own}", anchor="main")


def register_with_hydra() -> None:
    """Make our resolver, the user's ``./conf`` and our distrust known to Hydra, in this process."""
    guard_hydra(list_trusted_packages)
    if not OmegaConf.has_resolver("kd_unique"):
        # Two runs in one second must not share a folder.
        OmegaConf.register_new_resolver("kd_unique", lambda: secrets.token_hex(2), use_cache=True)
    Plugins.instance().register(UserConfSearchPath)
    put_files_before_nodes("hydra/launcher")
    put_files_before_nodes("hydra/sweeper")
    set_default_launcher()


def put_files_before_nodes(group: str) -> None:
    """Take from Hydra's store the nodes that a file of ours stands for: its own and those of installed plugins.

    Hydra would validate the file against the node, and refuse what is new in it.
    """
    node: Any = ConfigStore.instance().repo
    for part in group.split("/"):
        node = node.get(part, {})
    for path in (conf_dir() / group).glob("*.yaml"):
        node.pop(path.name, None)


def set_default_launcher() -> None:
    """Let Hydra launch with ours where nobody chooses; its own ``basic`` runs the jobs in the command's process.

    Not an ``override`` in ``config.yaml``: that of the primary file beats those of experiments and sweeps, which may choose
    a launcher, too.
    """
    ours = HydraConf()
    ours.defaults = [{"launcher": DEFAULT_LAUNCHER} if "launcher" in entry else entry for entry in ours.defaults]
    ConfigStore.instance().store(group="hydra", name="config", node=ours, provider="hydra")
