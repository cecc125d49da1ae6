"""Strategies for several devices: ``trainer=ddp`` and ``trainer=fsdp``.

Each stage starts its processes and is joined by them (see ``launcher``): the pipeline itself runs once.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.strategy import Strategy

from kd_lightning.training.distributed.launcher import RankLauncher
from kd_lightning.training.sharding import gather_whole, restore_module, split_optimizer_state

START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Spawned(ParallelStrategy):
    """What both have in common: their processes, and how these agree.

    Args:
        start_method: See ``RankLauncher``.
        options: Of the strategy proper.
    """

    def __init__(self, start_method: str = START, **options: Any) -> None:
        super().__init__(**options)
        self.start_method = start_method
        # Whatever scheduler runs us: it started one process, the others are ours.
        self.cluster_environment = LightningEnvironment()
        self._words: Any = None

    def _configure_launcher(self) -> None:
        assert self.parallel_devices is not None
        self._launcher = RankLauncher(len(self.parallel_devices), self.start_method)

    def setup_environment(self) -> None:
        super().setup_environment()
        if dist.get_backend() != "gloo":
            self._words = dist.new_group(backend="gloo")

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Over the CPUs: asked at every step, it must not make the hosts wait for their devices."""
        count = torch.tensor(int(decision))
        dist.all_reduce(count, group=self._words)
        return bool(count == self.world_size) if all else bool(count)


class SpawnedDDP(Spawned, DDPStrategy):
    """Every process has the whole student; gradients are averaged.

    Args:
        start_method: See ``RankLauncher``.
        find_unused_parameters: True where some trained parameters do not take part in every step.
    """

    def __init__(self, start_method: str = START, find_unused_parameters: bool = False) -> None:
        super().__init__(start_method, find_unused_parameters=find_unused_parameters)


class SpawnedModelParallel(Spawned, ModelParallelStrategy):
    """FSDP2: every process has a part of each of the student's parameters, and of the optimizer's state.

    The teacher is not trained: every process has all of it. Resume points hold whole tensors, in the same form as those
    of one process.

    Args:
        start_method: See ``RankLauncher``.
    """

    def __init__(self, start_method: str = START) -> None:
        super().__init__(start_method, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_processes, 1
        super().setup_environment()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._share_buffers()

    def on_validation_start(self) -> None:
        self._share_buffers()

    def _share_buffers(self) -> None:
        """Rank 0's count, as with DDP: else each process would validate with BatchNorm statistics of its own."""
        assert self.lightning_module is not None
        for buffer in self.lightning_module.buffers():
            if buffer.is_floating_point():
                dist.broadcast(buffer, src=0)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return gather_whole(self.lightning_module.state_dict(), keep=self.is_global_zero)

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        return gather_whole(optimizer.state_dict(), keep=self.is_global_zero)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        Strategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Any, strict: bool = True) -> None:
        assert self.lightning_module is not None
        restore_module(self.lightning_module, checkpoint["state_dict"])

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(split_optimizer_state(state, optimizer))
