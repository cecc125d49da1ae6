"""Hydra sweeper: a search by Optuna, ``hydra/sweeper=optuna``. The work is done by ``kd_lightning.sweeps.search.from_config``.

Thin on purpose: Hydra imports every plugin at every start.
"""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Hydra's part of the protocol. The settings are read from the configuration; ``optuna.yaml`` documents them."""

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(self, **settings: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        try:
            from kd_lightning.sweeps.search.from_config import run_search
        except ModuleNotFoundError as error:
            if error.name not in ("optuna", "sqlalchemy"):
                raise
            from kd_lightning.errors import MissingExtraError

            raise MissingExtraError(f"{error.name} is not installed: pip install 'kd-lightning[sweep]'") from error
        from kd_lightning.sweeps.confirmation import drop_confirm, parse_confirm, run_confirmation

        wanted, launch = parse_confirm(self.config.confirm), self.launcher.launch
        found = run_search(self.config, self.hydra_context.config_loader, launch, drop_confirm(arguments))
        run_confirmation(self.config, launch, wanted, found.jobs, found.shared.space.fixed, found.unfinished)
