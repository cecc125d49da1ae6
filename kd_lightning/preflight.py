"""What is checked before the first step: that networks, data and budget fit together."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kd_lightning.data.base import Prepared, RowsDataset, check_classes
from kd_lightning.errors import ConfigError, KDError
from kd_lightning.tasks.base import Task


def check_network(network: nn.Module, task: Task, prepared: Prepared, who: str, batch_size: int) -> None:
    """The network reads two rows of the data and answers with the task's classes.

    Args:
        network: Untrained.
        task: The task.
        prepared: The data.
        who: ``teacher`` or ``student``, for the message.
        batch_size: Rows of a step.

    Raises:
        ClassMismatchError: Another number of classes.
        ConfigError: The network cannot read the rows, or BatchNorm would see one row at a time.
    """
    rows = RowsDataset(prepared.splits["val"])
    batch = rows.__getitems__(list(range(min(2, len(rows)))))
    network.eval()
    try:
        with torch.no_grad():
            logits = task.logits(network, batch)
    except KDError:
        raise
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        shape = tuple(batch["inputs"].shape[1:])
        raise ConfigError(
            f"the {who} ({type(network).__name__}) cannot read rows of shape {shape}: {str(error).splitlines()[0]}; set "
            f"the {who}'s sizes to the data's"
        ) from error
    check_classes(logits.shape[-1], task.num_classes, who)
    if batch_size == 1 and any(isinstance(module, _BatchNorm) for module in network.modules()):
        raise ConfigError(
            f"data.batch_size is 1, and the {who} has BatchNorm, which needs at least 2 rows: set it higher"
        )
