"""Every combination once, in order: Optuna's grid for trials that are asked for and told one by one.

Optuna's own sampler stops the loop of ``Study.optimize``, which nobody runs here, and never comes back to a combination
whose trial failed. This one leaves out what is complete, pruned or at work, and what failed in this very sweep: running
the same command again runs the failed ones, and only those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from kd_lightning.sweeps.search.space import SearchedParameter, are_same_value

FIXED = "fixed_params"
"""Where Optuna keeps the values of a trial that was put into the queue."""


class Grid(BaseSampler):
    """Hands out combinations that nobody has had.

    Args:
        parameters: Each with its choices; the last one varies fastest.
    """

    def __init__(self, parameters: Sequence[SearchedParameter]) -> None:
        names = [parameter.name for parameter in parameters]
        values = [[value for value, _ in parameter.choices] for parameter in parameters]
        self.cells = [dict(zip(names, cell, strict=True)) for cell in itertools.product(*values)]
        self._free = list(self.cells)
        self._cell: dict[str, Any] = {}

    def leave_out(self, taken: Iterable[Mapping[str, Any]]) -> int:
        """These are not to be handed out; the number of combinations that are left."""
        known = list(taken)
        self._free = [cell for cell in self.cells if not any(are_equal_cells(cell, other) for other in known)]
        return len(self._free)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if FIXED not in trial.system_attrs:
            self._cell = self._free.pop(0)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._cell[param_name]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


def are_equal_cells(cell: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """The same values under the same names."""
    return cell.keys() == params.keys() and all(are_same_value(value, params[name]) for name, value in cell.items())
