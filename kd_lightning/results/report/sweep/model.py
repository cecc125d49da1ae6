"""Everything that the files of a sweep report show, computed once: the page and the Markdown file only lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kd_lightning.results.report.sweep.cells import SortedTable
from kd_lightning.results.report.sweep.curves import SweepCurves, read_sweep_curves
from kd_lightning.results.report.sweep.files import Pool
from kd_lightning.results.report.sweep.gain_chart import GainChart, make_gain_chart
from kd_lightning.results.report.sweep.heat_map import HeatMap, choose_default_pair, make_heat_map
from kd_lightning.results.report.sweep.levels import SweptParameter, read_parameters
from kd_lightning.results.report.sweep.numbers import Differences
from kd_lightning.results.report.sweep.pair_table import make_pair_table
from kd_lightning.results.report.sweep.parallel import Parallel, make_parallel_chart
from kd_lightning.results.report.sweep.pareto import Tradeoff, list_tradeoffs
from kd_lightning.results.report.sweep.table import choose_gain_format, make_configuration_table, make_job_table
from kd_lightning.results.statistics.over_seeds import Configuration, list_configurations, list_confirmations
from kd_lightning.results.statistics.pairwise import compare_with_chosen
from kd_lightning.results.statistics.seed_groups import group_exploring_jobs
from kd_lightning.results.statistics.sweep_sentences import sweep_sentences


@dataclass(frozen=True)
class Report:
    """A pool with all that is derived from it."""

    pool: Pool

    @cached_property
    def configurations(self) -> list[Configuration]:
        """With their verdicts."""
        return list_configurations(self.pool.judged)

    @cached_property
    def confirmations(self) -> list[Configuration]:
        """The chosen configuration on fresh seeds."""
        return list_confirmations(self.pool.judged)

    @cached_property
    def sentences(self) -> list[str]:
        """What the sweep shows, most important first."""
        return sweep_sentences(self.pool.judged, self.planned)

    @property
    def planned(self) -> int | None:
        """Jobs that there will be, where every sweep knows it."""
        plans = [sweep.planned for sweep in self.pool.sweeps]
        singles = len(self.pool.jobs) - sum(len(sweep.jobs) for sweep in self.pool.sweeps)
        known = [plan for plan in plans if plan is not None]
        return sum(known) + singles if plans and len(known) == len(plans) else None

    @cached_property
    def jobs(self) -> SortedTable:
        """One row a job."""
        return make_job_table(self.pool, [*self.configurations, *self.confirmations])

    @cached_property
    def means(self) -> SortedTable:
        """One row a configuration."""
        return make_configuration_table(self.pool, self.configurations)

    @cached_property
    def pairs(self) -> SortedTable | None:
        """The other configurations against the chosen one; None where there is nothing to compare."""
        found = compare_with_chosen(group_exploring_jobs(self.pool.judged), self.configurations)
        shown = {c.metric: choose_gain_format(self.pool, c.metric, c.mode) for c in self.configurations}
        return make_pair_table(found, self.pool.metric, shown) if found else None

    @cached_property
    def swept(self) -> list[SweptParameter]:
        """What was varied, seeds last."""
        return read_parameters(self.pool.jobs, self.pool.varied)

    @cached_property
    def heat(self) -> HeatMap | None:
        """The default heat map; None where fewer than two parameters were swept or nothing was measured."""
        pair = choose_default_pair(self.swept)
        return make_heat_map(self.pool, *pair) if pair and self.pool.scored else None

    @cached_property
    def gain_chart(self) -> GainChart | None:
        """Each configuration's gain."""
        found = [c for c in self.configurations if c.metric == self.pool.metric]
        return make_gain_chart(self.pool, found, self.gains, bool(self.confirmations))

    @cached_property
    def tradeoffs(self) -> list[Tradeoff]:
        """Quality against size."""
        return list_tradeoffs(self.pool, self.configurations)

    @cached_property
    def curves(self) -> SweepCurves | None:
        """Learning curves of all jobs."""
        return read_sweep_curves(self.pool, self.configurations)

    @cached_property
    def parallel(self) -> Parallel | None:
        """Parallel coordinates."""
        return make_parallel_chart(self.pool, self.swept, self.configurations)

    @cached_property
    def gains(self) -> Differences:
        """How gains are written."""
        return choose_gain_format(self.pool)

    @property
    def share(self) -> bool:
        """The metric is read as percent."""
        return self.gains.factor != 1.0

    @cached_property
    def chosen(self) -> frozenset[int]:
        """Jobs of the chosen configuration."""
        return frozenset(number for c in self.configurations if c.chosen for number in c.jobs)
