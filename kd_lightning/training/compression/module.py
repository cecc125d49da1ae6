"""Distilling a student that is made small on the way."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.training.compression.base import Compression, check_compression
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.types import Batch


class CompressedDistillationModule(DistillationModule):
    """A ``DistillationModule`` whose student computes as it will be deployed, and is kept so.

    Args:
        compression: What makes it small.
        more: As in ``DistillationModule``.

    Raises:
        ConfigError: The network is to be compiled, or cannot be made small so.
    """

    def __init__(self, compression: Compression, **more: Any) -> None:
        super().__init__(**more)
        check_compression(compression, "compress")
        compression.check(self.network)
        if self.compiled:
            raise ConfigError(
                "compress changes the student at every step, which compile=true does not see: set compile=false"
            )
        self.compression = compression
        self._in_a_step = ExitStack()

    def deployed(self) -> AbstractContextManager[None]:
        return self.compression.deployed(self.network)

    def may_be_kept(self, taken: int) -> bool:
        return self.compression.is_complete(self.network, taken, self.steps)

    def configure_optimizers(self) -> Any:
        found = super().configure_optimizers()
        self.compression.watch(found["optimizer"], self.network, self.steps, lambda: self.global_step)
        return found

    def refuse_splitting(self) -> None:
        raise ConfigError("compress looks at whole weights, which trainer=fsdp spreads over processes: use trainer=ddp")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._in_a_step.enter_context(self.deployed())
        try:
            return super().training_step(batch, batch_idx)
        except BaseException:
            self._in_a_step.close()
            raise

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with self._in_a_step:  # the gradients are those at the weights with which the loss was computed
            super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with self.deployed():
            super().validation_step(batch, batch_idx)
