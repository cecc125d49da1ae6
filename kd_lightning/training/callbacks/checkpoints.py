"""The best weights of a stage and the points from which it can go on after a crash.

Both lie in the stage's folder. A new best is written before the checkpoint that speaks of it, and files are removed
only after the checkpoint that no longer needs them: a kill at any moment leaves a state to resume from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import Tensor, nn

from kd_lightning.errors import NonFiniteLossError
from kd_lightning.process import stopping
from kd_lightning.store import TEMPORARY, publish_file, publish_json, write_error
from kd_lightning.training.callbacks.metrics_log import PREFIX, MetricsLog
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, checkpoint_problem
from kd_lightning.training.loss_state import carried_files, carried_path, to_keep
from kd_lightning.training.sharding import HasState, gather_network, local_part
from kd_lightning.training.supervised import SupervisedModule

TRAINED = "trained.json"
"""Written last by a training: how it went. Where it stands, there is nothing left to train."""
KEPT = 2  # the newest, and one to fall back on should the newest be damaged


class Checkpoints(pl.Callback):
    """Chooses on validation, and saves every n steps and at every new best.

    Args:
        folder: The stage's folder.
        every_n_steps: Steps between two resume points; a crash costs at most that many.
        monitor: The task's metric.
        mode: ``min`` or ``max``.
        metrics_log: Flushed before every checkpoint, so that no line is lost that the checkpoint has passed.
    """

    def __init__(self, folder: Path, every_n_steps: int, monitor: str, mode: str, metrics_log: MetricsLog) -> None:
        self.folder = folder
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.mode = mode
        self.metrics_log = metrics_log  # not `log`: Lightning puts its own function under that name
        self.best_step = -1
        self.best_value = math.nan
        self.stopped = False
        self._seconds_before = 0.0
        self._started = 0.0
        self.clock: Callable[[], float] = time.perf_counter
        """Seconds of this training's own: others may be trained with it."""
        self.asked_to_stop: Callable[[pl.Trainer], bool] = asked_to_stop

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_step": self.best_step,
            "best_value": self.best_value,
            "seconds": self.seconds(),
            "stopped": self.stopped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_step = state_dict["best_step"]
        self.best_value = state_dict["best_value"]
        self._seconds_before = state_dict["seconds"]
        self.stopped = state_dict["stopped"]

    def seconds(self) -> float:
        """Wall-clock seconds of training and validation, over all attempts."""
        return self._seconds_before + self.clock() - self._started

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        stopping.note_sigterm()  # Lightning has put its own handler in front by now
        self._started = self.clock()
        if self.stopped:  # by an early stop, whose wish Lightning does not keep in its checkpoints
            trainer.should_stop = True
        if trainer.is_global_zero:
            for path in [*best_files(self.folder), *carried_files(self.folder)]:
                if step_of(path) > self.best_step:
                    path.unlink()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if step == trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate after the last step, whatever the interval
            return
        if self._validates(trainer, batch_idx):
            return  # the validation saves, and stops if it must: between a step and its validation is no resume point
        stop = self.asked_to_stop(trainer)
        if stop or step % self.every_n_steps == 0:
            self.save(trainer, module)
        if stop:
            raise stopping.Terminated

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[PREFIX + self.monitor])
        assert isinstance(module, SupervisedModule)
        if module.may_be_kept(trainer.global_step) and is_better(value, self.best_value, self.mode):
            self.best_step, self.best_value = trainer.global_step, value
            check_weights(module.network, trainer.global_step)
            with module.deployed():
                weights, carried = gather_network(module.network), to_keep(module)
                if trainer.is_global_zero:
                    if carried is not None:
                        save_weights(carried, carried_path(self.folder, self.best_step))
                    save_weights(weights, best_path(self.folder, self.best_step))
        if trainer.global_step < trainer.max_steps:
            self.save(trainer, module)
            if self.asked_to_stop(trainer):
                raise stopping.Terminated

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, SupervisedModule)
        if trainer.is_global_zero:
            publish_json(
                self.folder / TRAINED,
                {
                    "steps": trainer.global_step,
                    "best_step": self.best_step,
                    "best_value": self.best_value,
                    "seconds": round(self.seconds(), 3),
                    **module.record(),
                },
            )

    def save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A resume point at this step; older ones are removed afterwards.

        Raises:
            NonFiniteLossError: A weight is NaN or infinite; nothing is written or removed.
            CheckpointWriteError: The file could not be written.
        """
        assert isinstance(module, SupervisedModule)
        module.check_finite()
        check_weights(module, trainer.global_step)
        self.metrics_log.flush(trainer)
        self.stopped = trainer.should_stop
        trainer.save_checkpoint(self.folder / f"resume-{trainer.global_step:09d}.ckpt", weights_only=False)
        if trainer.is_global_zero:
            for path in resume_files(self.folder)[:-KEPT]:
                AtomicCheckpointIO().remove_checkpoint(path)
            for path in [*best_files(self.folder)[:-KEPT], *carried_files(self.folder)[:-KEPT]]:
                path.unlink()

    @staticmethod
    def _validates(trainer: pl.Trainer, batch_idx: int) -> bool:
        """A validation follows this batch, and with it a save."""
        interval = trainer.val_check_batch
        return interval is not None and (batch_idx + 1) % interval == 0


def asked_to_stop(trainer: pl.Trainer) -> bool:
    """SIGTERM has come to this process, or to any other of the same training: all stop at the same step."""
    if trainer.world_size == 1:
        return stopping.is_stop_requested()
    return trainer.strategy.reduce_boolean_decision(stopping.is_stop_requested(), all=False)


def is_better(value: float, best: float, mode: str) -> bool:
    """``value`` beats ``best``; what is not finite never does, and anything beats the NaN of a start."""
    if not math.isfinite(value):
        return False
    if math.isnan(best):
        return True
    return value < best if mode == "min" else value > best


def best_path(folder: Path, step: int) -> Path:
    """Where the best weights of a step stand."""
    return folder / f"best-{step:09d}.safetensors"


def best_files(folder: Path) -> list[Path]:
    """The kept best weights, oldest first."""
    return sorted(folder.glob("best-*.safetensors"))


def resume_files(folder: Path) -> list[Path]:
    """The resume points, oldest first."""
    return sorted(folder.glob("resume-*.ckpt"))


def step_of(path: Path) -> int:
    """The optimizer step in a file name of ours."""
    return int(path.stem.rpartition("-")[2])


def newest_resume_point(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest resume point that is whole, and a sentence for each one that was refused."""
    refused: list[str] = []
    for path in reversed(resume_files(folder)):
        problem = checkpoint_problem(path)
        if not problem:
            return path, refused
        refused.append(f"checkpoint {path} {problem}: refused")
    return None, refused


def save_weights(network: HasState, path: Path) -> None:
    """Write a network's parameters and buffers as safetensors, atomically; tied tensors once."""
    draft = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        draft.unlink(missing_ok=True)
        save_model(_Apart(network), str(draft))  # type: ignore[arg-type]  # it only asks for the state
    except (OSError, RuntimeError, SafetensorError) as error:
        raise write_error(path, error) from error
    publish_file(draft, path)


class _Apart:
    """A network's state in which no tensor lies in the middle of a larger memory, as an LSTM's weights do on a GPU, where
    cuDNN wants them side by side; safetensors refuses those. Tied tensors stay tied.

    Args:
        network: Whose.
    """

    def __init__(self, network: HasState) -> None:
        self.network = network

    def state_dict(self) -> dict[str, Tensor]:
        copies: dict[Any, Tensor] = {}
        found = {}
        for name, tensor in self.network.state_dict().items():
            if tensor.untyped_storage().nbytes() != tensor.nbytes:
                place = tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()
                tensor = copies.setdefault(place, tensor.clone())
            found[name] = tensor
        return found


def check_weights(module: nn.Module, step: int) -> None:
    """All parameters and buffers are finite, as far as this process holds them.

    Raises:
        NonFiniteLossError: One is not.
    """
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(local_part(tensor)).all()):
            raise NonFiniteLossError(
                f"{name} holds NaN or infinity after step {step}: lower optimizer.lr, or set "
                "trainer.gradient_clip_val=1; the checkpoints before this step are kept"
            )
