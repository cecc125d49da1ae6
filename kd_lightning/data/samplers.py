"""Which rows go into which batch: functions of the seed, the step and the process, of nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from kd_lightning.errors import ConfigError
from kd_lightning.seeds import derive_seed


class StepPart(list[int]):
    """Rows of one of several batches that make an optimizer step.

    Args:
        rows: Its own.
        step: Those of the whole step.
    """

    def __init__(self, rows: list[int], step: list[int]) -> None:
        super().__init__(rows)
        self.step = step

    def __reduce__(self) -> tuple[type[StepPart], tuple[list[int], list[int]]]:
        return StepPart, (list(self), self.step)  # to loader processes: a list's own way gives the constructor nothing


class TrainingBatches(Sampler[list[int]]):
    """Batches cut from an endless stream of permutations; the permutation of epoch e is f(seed, e).

    Optimizer step s takes rows [s * batch_size, (s + 1) * batch_size) of the stream (after ``skip`` steps), split evenly
    over the accumulated batches and the processes: the rows of a step do not depend on how many of either there are.
    Every batch is full, and a ``StepPart`` where a step has several.

    Args:
        ids: [N] row ids to draw from.
        batch_size: Rows of one optimizer step in all.
        steps: Optimizer steps of the whole stage; ``len`` is ``steps * accumulate`` however much is already done.
        seed: Another seed, another order.
        start: Optimizer steps already done.
        skip: Optimizer steps of earlier stages, whose rows are passed over: distillation goes on where pre-training
            stopped, and sees no row sooner again than the student alone does.
        accumulate: Batches for each optimizer step.
        rank: This process.
        world: How many processes.
        views_of: Rows of the table, where a batch names views and no rows: that of a row in epoch e is ``e * views_of + row``.
            0 = rows.

    Raises:
        ConfigError: ``batch_size`` does not divide evenly.
    """

    def __init__(
        self,
        ids: Tensor,
        batch_size: int,
        steps: int,
        seed: int,
        start: int = 0,
        skip: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        views_of: int = 0,
    ) -> None:
        if batch_size % (accumulate * world):
            raise ConfigError(
                f"data.batch_size {batch_size} does not divide over {world} devices x {accumulate} accumulated batches: "
                f"choose a multiple of {accumulate * world}"
            )
        self.ids = ids
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.start = start
        self.skip = skip
        self.accumulate = accumulate
        self.rank = rank
        self.world = world
        self.views_of = views_of
        self._epoch = -1
        self._order: list[int] = []

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        micro = self.batch_size // self.accumulate
        mine = micro // self.world
        for batch in range(self.start * self.accumulate, self.steps * self.accumulate):
            first = self.skip * self.batch_size + batch * micro + self.rank * mine
            rows = self._stream(first, mine)
            if mine < self.batch_size:
                step = self.skip + batch // self.accumulate
                yield StepPart(rows, self._stream(step * self.batch_size, self.batch_size))
            else:
                yield rows

    def _stream(self, first: int, count: int) -> list[int]:
        rows: list[int] = []
        while len(rows) < count:
            epoch, offset = divmod(first + len(rows), len(self.ids))
            rows += self._permutation(epoch)[offset : offset + count - len(rows)]
        return rows

    def _permutation(self, epoch: int) -> list[int]:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            order = self.ids[torch.randperm(len(self.ids), generator=generator)]
            self._order = (order + epoch * self.views_of).tolist()
            self._epoch = epoch
        return self._order


class EvaluationBatches(Sampler[list[int]]):
    """Every row exactly once over all processes: process r takes rows r, r + world, r + 2 world, ...

    Nothing is padded, so metrics count N rows, not the next multiple. A process without any row gets one batch ``[-1]``,
    which the data set turns into a row that does not count: every process must take part in the metrics' reduction.
    """

    def __init__(self, rows: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.mine = list(range(rank, rows, world)) or [-1]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.mine) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self.mine), self.batch_size):
            yield self.mine[first : first + self.batch_size]
