"""What the frozen teacher says of validation and test rows, where no row has a label: the targets that models are measured on.

Made once for all runs, as token ids are, and not by each validation: the teacher never changes. In float32 whatever the
``teacher_outputs`` of the training rows are stored in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from kd_lightning.data.labels import LABELED
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.data.source import Prepared, PreparedPieces
from kd_lightning.data.table import Table
from kd_lightning.experiment.context import Context
from kd_lightning.experiment.settings import TEACHER
from kd_lightning.models.weights import find_weights
from kd_lightning.store import content_key, file_digest
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.embed_rows import embed_table

TEACHER_VECTORS = "teacher_vectors"
"""What they are called in the store."""
MEASURED_SPLITS = ("val", "test")
VECTORS_CODE = ("kd_lightning.tasks.embed_rows",)
"""All that decides how rows are put together, split and summed up is there: a key holds no module of this room."""


@dataclass(frozen=True)
class TeacherVectors:
    """Vectors of a teacher that is brought.

    Attributes:
        context: The experiment's.
        task: As the teacher reads it.
        network: Builds the teacher with its weights.
        device: Where it runs.
    """

    context: Context
    task: Task
    network: Callable[[], nn.Module]
    device: Callable[[], torch.device]

    def key(self, rows: str) -> str:
        """Of the vectors in the store.

        Args:
            rows: Fingerprint of the rows.
        """
        settings, teacher = self.context.settings, self.context.settings[TEACHER]
        checkpoint = teacher["checkpoint"]
        nodes = {"network": teacher["model"], "task": {"_target_": settings["task"]["_target_"]}}  # without its metrics
        weights = file_digest(find_weights(checkpoint, "teacher.checkpoint", TEACHER)) if checkpoint else None
        return content_key(
            {
                **nodes,
                "rows": rows,
                "weights": weights,
                "matmul_precision": settings["matmul_precision"],
                "code": self.context.code(VECTORS_CODE, nodes),
            }
        )

    def add(self, prepared: Prepared, rows: str) -> Prepared:
        """The rows with the teacher's vectors as the targets [N, D] of those that models are measured on.

        Args:
            prepared: Rows as networks read them.
            rows: As in ``key``.

        Raises:
            KDError: The teacher cannot be taken as it is, or says what is not finite.
        """
        entry = self.context.store.entry(TEACHER_VECTORS, self.key(rows))

        def made() -> Prepared:
            with entry.lock(waiting=lambda: self.context.board.say("data: another process asks the teacher, waiting")):
                if entry.problem() is not None:
                    network = self.network().to(self.device()).eval()
                    count = sum(len(prepared.splits[split]) for split in MEASURED_SPLITS)
                    self.context.board.say(f"data: the teacher embeds {count} validation and test rows, once")
                    entry.clear()
                    write_prepared(entry, PreparedPieces(self._make_pieces(network, prepared)))
                return read_prepared(entry)[0]

        vectors: Prepared = self.context.once((TEACHER_VECTORS, str(entry.folder)), made)
        splits = dict(prepared.splits)
        for split in MEASURED_SPLITS:
            splits[split] = splits[split].with_column("targets", vectors.splits[split].column("targets"))
        return replace(prepared, splits=splits)

    def _make_pieces(self, network: nn.Module, prepared: Prepared) -> Iterator[tuple[str, Table]]:
        for split in MEASURED_SPLITS:
            for vectors in embed_table(network, self.task, prepared.splits[split]):
                yield split, Table({"targets": vectors})


def drop_labels(prepared: Prepared) -> Prepared:
    """The rows without what a source may know of their labels: targets are zeros, and no training row has one to read."""
    splits = {split: table.with_column("targets", torch.zeros(len(table))) for split, table in prepared.splits.items()}
    splits["train"] = splits["train"].with_column(LABELED, torch.zeros(len(splits["train"]), dtype=torch.bool))
    return replace(prepared, splits=splits)
