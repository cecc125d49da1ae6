"""A teacher that the user brings: checked, measured on validation, and from then on an entry like any other."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kd_lightning import turns
from kd_lightning.callbacks.checkpoints import save_weights
from kd_lightning.data.base import RowsDataset
from kd_lightning.errors import CheckpointCorruptError
from kd_lightning.evaluation import validated
from kd_lightning.recipe import SUPERVISED_CODE, Recipe, Settings
from kd_lightning.stage import WEIGHTS, note
from kd_lightning.store import Entry, content_key, file_digest, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.types import Batch
from kd_lightning.weights import find_teacher, load_teacher


def take_teacher(recipe: Recipe, checkpoint: str) -> tuple[Entry, Settings]:
    """The entry and record of the teacher in a file or run folder, keyed by its bytes.

    Raises:
        CheckpointCorruptError: It cannot be read.
        ClassMismatchError: Its sizes are not those configured.
        ConfigError: It is of another architecture.
        VocabMismatchError: It was trained with another tokenizer.
    """
    path = find_teacher(checkpoint)
    board, task = recipe.board, recipe.task
    ingredients: Settings = {
        "task": recipe.settings["task"],
        "network": recipe.network_settings("teacher"),
        "data": recipe.fingerprint,
        "matmul": recipe.settings["matmul"],
        "channels_last": recipe.channels_last,
        "trainer": recipe.counted_trainer,
        "chunked": recipe.chunked("teacher"),
    }
    ingredients |= {"weights": file_digest(path), "code": recipe.code(SUPERVISED_CODE, ingredients)}
    entry = recipe.store.entry("teacher", content_key(ingredients))
    with entry.lock(waiting=lambda: board.say("teacher: another process is at it, waiting")):
        if entry.problem() is not None:
            network = load_teacher(recipe.network("teacher"), path, recipe.tokenizer_digest)
            rows = recipe.rows("teacher", 1, only_labelled=False)
            first = RowsDataset(recipe.prepared.splits["val"], channels_last=recipe.channels_last).__getitems__([0])
            turns.computed(lambda: check_answers(network, task, first, path))
            entry.clear()
            board.start("teacher")
            chunked = recipe.chunked("teacher")
            val = turns.computed(lambda: validated(network, task, rows, recipe.trainer.trainer, entry.folder, chunked))
            adopt(entry, network, val, ingredients, str(path), task.monitor)
        record = entry.read_json("result.json")
    board.done("teacher", note(record, f"brought: {path}"))
    return entry, record


def check_answers(network: nn.Module, task: Task, batch: Batch, path: Path) -> None:
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
            f"teacher.checkpoint={path}: its logits of the first validation rows are not finite (its largest weight is "
            f"{largest:.4g}): choose another file"
        )


def adopt(entry: Entry, network: nn.Module, val: float, ingredients: Settings, origin: str, metric: str) -> None:
    """Publish a network from outside as a finished teacher."""
    save_weights(network, entry.path(WEIGHTS))
    publish_json(entry.path("description.json"), {"stage": "teacher", "key": entry.key, **ingredients})
    record = {"stage": "teacher", "metric": metric, "val": val, "steps": 0, "best_step": 0, "seconds": 0.0}
    publish_json(entry.path("result.json"), {**record, "store_key": entry.key, "origin": origin, "reused": False})
    entry.finish([WEIGHTS, "description.json", "result.json"])
