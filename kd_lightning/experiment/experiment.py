"""One run: its scheme's stages, each found in the store, resumed or run; then the models compared on the test split, once.

Settings come as plain data and ``build`` turns a node with a ``_target_`` into its object: nothing here knows Hydra.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.experiment import stage_keys
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.built_checks import check_built
from kd_lightning.experiment.claims import Claims
from kd_lightning.experiment.console import Line
from kd_lightning.experiment.context import Context
from kd_lightning.experiment.driver import look_ahead, serial
from kd_lightning.experiment.evaluation import evaluate_model
from kd_lightning.experiment.parts import Parts
from kd_lightning.experiment.pending import Steps, run_alone
from kd_lightning.experiment.settings import STUDENT, Build, Settings
from kd_lightning.experiment.stage import DATA, TEST, Comparison, Stage, Stages, TrainedStage
from kd_lightning.experiment.train_stage import stored
from kd_lightning.results.sweep_folder import WAITS
from kd_lightning.store import Entry
from kd_lightning.training.fit import WEIGHTS, StageBoard
from kd_lightning.training.matmul import matmul_precision


@dataclass(frozen=True)
class Found:
    """What a run has found.

    Attributes:
        comparison: The models, by name.
        records: What each stage has recorded, in the order in which they were done; with the test, of those compared.
        rows: Test rows of each stage that is compared, as from ``evaluate_model``.
    """

    comparison: Comparison
    records: dict[str, Settings]
    rows: dict[str, Settings]


class Experiment:
    """One run.

    Args:
        settings: As in ``Context``, and so the others.
        build: Likewise.
        packages: Likewise.
        board: Likewise.
        name: Likewise.
        claims: Likewise.
        made: Likewise; None = nothing yet.

    Attributes:
        stages: What the scheme asks for, in order.
        planned: What it will compare.

    Raises:
        KDError: The scheme or the task cannot be built, or ``force`` names no stage.
    """

    def __init__(
        self,
        settings: Settings,
        build: Build,
        packages: Sequence[str],
        board: StageBoard,
        name: str = "run",
        claims: Claims | None = None,
        made: dict[Hashable, Any] | None = None,
    ) -> None:
        self.context = Context(settings, build, packages, board, name, claims, {} if made is None else made)
        self.builder = Builder(self.context)
        self.scheme: Callable[[Parts], Stages] = build(settings["scheme"])
        self.parts = Parts(self.builder, self.scheme)
        self.stages, self.planned = look_ahead(self.scheme(self.parts))
        check_force(settings["force"], self.stages)
        self.builder.judged = self.planned["distilled"].name
        self._records: dict[str, Settings] = {}

    @property
    def lines(self) -> list[Line]:
        """What progress shows, in order."""
        shown = [Line(stage.name, stage.title, stage.steps, stage.unit) for stage in self.stages if stage.shown]
        return [Line(DATA, "split data", 0), *shown, Line(TEST, "test once", 0)]

    def run(self) -> Found:
        """All stages and the test of all models.

        Raises:
            KDError: Something in the settings or the data is wrong; nothing has been trained then.
        """
        return run_alone(self.steps())

    def steps(self) -> Steps[Found]:
        """The same, told what it waits for; others of this process that run meanwhile have its ``matmul_precision``."""
        with matmul_precision(self.context.settings["matmul_precision"]):
            self.check()
            compared = yield from serial(self.scheme(self.parts), self._obtain, elsewhere=self._at_work_elsewhere)
            return self._tested(compared)

    def check(self) -> None:
        """See ``check_built``."""
        check_built(self.builder, self.stages, self.planned)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return {stage.name: stage for stage in self.stages}[name]

    def entry(self, name: str) -> Entry:
        """Its place in the store."""
        return self.context.place(self.stage(name))

    def obtain(self, name: str) -> None:
        """Have the result of one stage at hand; those before it are stored."""
        with matmul_precision(self.context.settings["matmul_precision"]):
            run_alone(self._obtain(self.stage(name)))

    def _obtain(self, stage: Stage, beside: Sequence[Stage] = ()) -> Steps[None]:
        self.stages = [stage if each.name == stage.name else each for each in self.stages]
        with self._claimed(stage, beside):
            record = yield from stage.work.obtain(stage)
        if record is not None:
            self._records[stage.name] = record
            if self.context.claims and not record["reused"]:
                self.context.claims.note_done(stage.name)

    def _claimed(self, stage: Stage, beside: Sequence[Stage]) -> AbstractContextManager[None]:
        """Around the work on a stage: no other job of the sweep is at it, and others may be at those beside it."""
        claims = self.context.claims
        wanted = [each for each in (stage, *beside) if each.shown and not self.is_stored(each)] if claims else []
        if claims is None or stage not in wanted:
            return nullcontext()
        waiting = partial(self.context.board.update, stage.name, 0, WAITS)
        if self.context.settings["logger"]:  # whoever did a stage besides would not be among the job's trackers
            wanted = [stage]
        (name, left), *others = [(f"{each.name}/{each.key}", self._steps_from(each)) for each in wanted]
        return claims.claim(name, left, waiting, others)

    def is_stored(self, stage: Stage) -> bool:
        """It can be reused, by the look of it: its files are not read."""
        return stored(self.context.place(stage), self.context.force(stage), digests=False)

    def _steps_from(self, stage: Stage) -> int:
        """Optimizer steps of the scheme from a stage on."""
        names = [each.name for each in self.stages]
        return sum(each.steps for each in self.stages[names.index(stage.name) :])

    def _at_work_elsewhere(self, stage: Stage) -> bool:
        """Another process is training it."""
        return isinstance(stage, TrainedStage) and self.context.place(stage).busy()

    def _tested(self, compared: Comparison) -> Found:
        """The models on the test split."""
        builder, board = self.builder, self.context.board
        board.start(TEST)
        records, rows = dict(self._records), {}
        for stage in compared.models.values():
            record, rows[stage.name] = evaluate_model(
                entry=self.context.store.entry(TEST, stage_keys.tested(builder, stage)),
                network=partial(self.parts.trained, stage),
                task=builder.task_of(stage.role),
                data=builder.dataset.rows(STUDENT, 1, only_labeled=False),
                trainer=builder.trainer.trainer,
                board=board,
                chunked=builder.chunked(stage.role),
            )
            size = self.context.place(stage).path(WEIGHTS).stat().st_size
            records[stage.name] |= {**record, "megabytes": size / 1e6}
        board.done(TEST, f"{len(rows)} models on {len(builder.dataset.prepared.splits['test'])} rows")
        return Found(compared, records, rows)


def check_force(force: Iterable[Any], stages: Iterable[Stage]) -> None:
    """``force`` names stages that the scheme trains.

    Raises:
        ConfigError: It names another.
    """
    names = [stage.name for stage in stages if isinstance(stage, TrainedStage)]
    for name in force:
        if name not in names:
            raise ConfigError(f"force={name}: not one of {', '.join(names)}{did_you_mean(str(name), names)}")
