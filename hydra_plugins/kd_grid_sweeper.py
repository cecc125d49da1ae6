"""Hydra sweeper ``basic``: every combination; afterwards the chosen one again on fresh seeds, where that is asked for.

Thin on purpose: Hydra imports every plugin at every start.
"""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Hydra's grid, and what ``confirm=N`` adds to it.

    Args:
        max_batch_size: As of Hydra's.
        params: Likewise.
    """

    def sweep(self, arguments: list[str]) -> Any:
        from kd_lightning.sweeps.confirmation import drop_confirm, parse_confirm, run_confirmation

        assert self.config is not None
        assert self.launcher is not None
        wanted = parse_confirm(self.config.confirm)
        returns = super().sweep(drop_confirm(arguments))
        jobs = [words for batch in self.overrides or [] for words in batch]
        run_confirmation(
            self.config, self.launcher.launch, wanted, len(jobs), [word for words in jobs for word in words]
        )
        return returns
