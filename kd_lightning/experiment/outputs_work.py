"""Having a teacher's outputs at hand as a stage's work: decided to be live or stored, and written where somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.pending import Steps
from kd_lightning.experiment.settings import TeacherSource
from kd_lightning.experiment.stage import Stage
from kd_lightning.experiment.stored_or_live import choose_source, find_taken_up
from kd_lightning.experiment.stored_outputs import open_source
from kd_lightning.experiment.train_stage import stored


@dataclass
class OutputsWork:
    """Decides where the outputs come from, and has them written where that is the disk.

    Attributes:
        builder: The experiment's.
        role: Whose network teaches.
        network: Loads the trained teacher.
        readers: The stages that would read a source, in order.
        sources: Where they may come from, the stored ones first.
    """

    builder: Builder
    role: str
    network: Callable[[], nn.Module]
    readers: Callable[[TeacherSource], Sequence[Stage]]
    sources: Sequence[TeacherSource]
    _source: TeacherSource | None = field(default=None, init=False)

    @property
    def open(self) -> bool:
        """Where they come from is decided when the stage is done."""
        return len(self.sources) > 1

    @property
    def decided(self) -> TeacherSource:
        """Where they come from, once that is known."""
        found = self._source or (None if self.open else self.sources[0])
        assert found is not None, "a stage that reads the outputs comes after the one that has them at hand"
        return found

    def foresee(self) -> bool:
        """Take the source that the stage would find taken up; False = there is none, and one stands in for it."""
        taken_up = find_taken_up(self.builder, self.readers, self.sources) if self.open else None
        self._source = taken_up[0] if taken_up else self.sources[-1]
        return taken_up is not None or not self.open

    def obtain(self, stage: Stage) -> Steps[None]:
        """See ``Work``; it leaves no record: nothing depends on where the outputs come from."""
        yield from ()  # whoever writes rows waits for nothing that a run of this process holds
        context, builder = self.builder.context, self.builder
        source = choose_source(builder, self.role, self.sources, self.readers, self.network)
        needed = not all(stored(context.place(reader), context.force(reader)) for reader in self.readers(source))
        self._source = open_source(builder, self.role, source, self.network, stage.name) if needed else source
        if self._source.shards is None and stage.shown:
            reason = "it is live" if needed else "all that reads them is stored"
            context.board.done(stage.name, f"not needed: {reason}")
