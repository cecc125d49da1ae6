"""A teacher that the user brings: checked, measured on validation, and from then on an entry like any other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from kd_lightning.data.datamodule import RowsDataset
from kd_lightning.errors import CheckpointCorruptError
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.evaluation import validate_network
from kd_lightning.experiment.pending import Steps
from kd_lightning.experiment.settings import TEACHER, Settings
from kd_lightning.experiment.stage import Stage
from kd_lightning.experiment.train_stage import note
from kd_lightning.store import Entry, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.training.callbacks.checkpoints import save_weights
from kd_lightning.training.fit import WEIGHTS
from kd_lightning.types import Batch


@dataclass(frozen=True)
class PretrainedWork:
    """Takes over a file, the teacher of a run folder or a pretrained model, once for all runs: its key is that of its bytes.

    Attributes:
        builder: The experiment's.
        checkpoint: The file or the folder; None = the model of the teacher's settings comes with its weights.
    """

    builder: Builder
    checkpoint: str | None

    def obtain(self, stage: Stage) -> Steps[Settings]:
        """See ``Work``.

        Raises:
            CheckpointCorruptError: It cannot be read.
            ClassMismatchError: Its sizes are not those configured.
            ConfigError: It is of another architecture; or a model that is to be taken as it is starts at random.
            VocabMismatchError: It was trained with another tokenizer.
        """
        yield from ()
        board = self.builder.context.board
        entry = self.builder.context.place(stage)
        with entry.lock(waiting=lambda: board.say(f"{stage.name}: another process is at it, waiting")):
            if entry.problem() is not None:
                self._take(stage, entry)
            record = entry.read_json("result.json")
        board.done(stage.name, note(record, f"brought: {record['origin']}"))
        return record

    def _take(self, stage: Stage, entry: Entry) -> None:
        """Check the weights, measure them and publish them."""
        builder, dataset = self.builder, self.builder.dataset
        task, chunked = builder.task_of(TEACHER), builder.chunked(TEACHER)
        network, origin = builder.brought_teacher()
        rows = dataset.rows(TEACHER, 1, only_labeled=False)
        channels_last = bool(builder.settings["channels_last"])
        first = RowsDataset(dataset.prepared.splits["val"], task.collate, channels_last).__getitems__([0])
        check_answers(network, task, first, f"teacher.{'checkpoint' if self.checkpoint else 'model.path'}={origin}")
        entry.clear()
        builder.context.board.start(stage.name)
        val = validate_network(network, task, rows, builder.trainer.trainer, entry.folder, chunked)
        adopt(stage, entry, network, val, origin, task.monitor)


def check_answers(network: nn.Module, task: Task, batch: Batch, whose: str) -> None:
    """What the network says of some rows is finite.

    Raises:
        CheckpointCorruptError: It is not: the weights are finite, and too large to compute with.
    """
    with torch.no_grad():
        logits = task.logits(network.eval(), batch)
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):  # the largest: a class may be forbidden by -inf
        largest = max(
            (float(tensor.detach().abs().max()) for tensor in network.parameters() if tensor.numel()), default=0.0
        )
        raise CheckpointCorruptError(
            f"{whose}: its logits of the first validation rows are not finite (its largest weight is "
            f"{largest:.4g}): choose another file"
        )


def adopt(stage: Stage, entry: Entry, network: nn.Module, val: float, origin: str, metric: str) -> None:
    """Publish a network from outside as a finished stage."""
    save_weights(network, entry.path(WEIGHTS))
    publish_json(entry.path("description.json"), {"stage": stage.name, "key": entry.key, **stage.contents})
    record = {"stage": stage.name, "metric": metric, "val": val, "steps": 0, "best_step": 0, "seconds": 0.0}
    publish_json(entry.path("result.json"), {**record, "store_key": entry.key, "origin": origin, "reused": False})
    entry.finish([WEIGHTS, "description.json", "result.json"])
