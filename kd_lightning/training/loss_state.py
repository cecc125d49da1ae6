"""What losses own that goes on from pre-training into distillation: kept with the best weights, loaded before step one.

Part of the key of the stages whose losses have any.
"""

from __future__ import annotations

from pathlib import Path

from kd_lightning.models.weights import load_weights
from kd_lightning.store import Entry, publish
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.sharding import HasState, gather_network
from kd_lightning.training.supervised import SupervisedModule

CARRIED = "losses.safetensors"
"""What losses own that the next stage goes on from; where there is any."""


def to_keep(module: SupervisedModule) -> HasState | None:
    """What the module's losses own now, where its stage hands that on. All processes take part."""
    carried = module.carried()
    return None if carried is None else gather_network(carried)


def settle_losses(entry: Entry, step: int) -> list[str]:
    """Have what was kept at the best step in the entry; the names of the files, if any."""
    path = carried_path(entry.folder, step)
    if not path.is_file():
        return []
    publish(entry.path(CARRIED), path.read_bytes())
    return [CARRIED]


def continue_losses(module: DistillationModule, earlier: Entry) -> None:
    """Give the module's losses what those of the earlier stage had."""
    lasting = module.lasting()
    if lasting:
        load_weights(lasting, earlier.path(CARRIED))


def carried_path(folder: Path, step: int) -> Path:
    """Where that stands what the next stage goes on from besides the best weights of a step."""
    return folder / f"carried-{step:09d}.safetensors"


def carried_files(folder: Path) -> list[Path]:
    """What is kept of it, oldest first."""
    return sorted(folder.glob("carried-*.safetensors"))
