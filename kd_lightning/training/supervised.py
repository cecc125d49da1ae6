"""Training on labels: the teacher, and the student alone (the baseline).

The base of every stage: optimizer and learning-rate curve, a seed for each step, a stop at the first loss that is not
finite, and evaluation by the task's metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kd_lightning.errors import NonFiniteLossError
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.seeds import derive_seed
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.batched_logits import logits_by_parts
from kd_lightning.training.compilation import compile_network, compiling
from kd_lightning.training.sharding import shard_network
from kd_lightning.types import STEP_SHARE, Batch

Schedule = Callable[[float], float]
"""Progress in [0, 1] -> value."""
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class QuickModule(pl.LightningModule):
    """A ``LightningModule`` that takes less time to be told which of its hooks is at work."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning tells it 49 times a step; nn.Module's own way looks through all parameters, buffers and submodules first.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)


class SupervisedModule(QuickModule):
    """Minimizes the task's hard loss.

    Args:
        network: What is trained; ``state_dict`` holds it under ``network.``.
        task: How to get logits, a loss and metrics from a batch.
        optimizer: Parameters -> optimizer.
        scheduler: Progress -> factor of the learning rate.
        seed: Of everything random inside a step (dropout).
        first_step: Steps of the learning-rate curve done by earlier stages.
        total_steps: Steps of the whole curve; a student's covers pre-training and distillation together.
        compiled: True = the network is compiled when the training begins; names and weights stay as they are.
        chunked: True = losses and metrics are computed by chunks of rows, from a network with ``body`` and a linear ``head``.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        optimizer: OptimizerFactory,
        scheduler: Schedule,
        seed: int,
        total_steps: int,
        first_step: int = 0,
        compiled: bool = False,
        chunked: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.chunked = chunked
        self.compiled = compiled
        self.task = task
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.seed = seed
        self.first_step = first_step
        self.total_steps = total_steps
        self.metrics = task.metrics()
        self.terms: dict[str, Tensor] = {}
        """The last step's loss and its terms, unweighted, detached, still on the device."""
        self._unchecked: list[tuple[int, dict[str, Tensor]]] = []

    def configure_model(self) -> None:
        # Here and not before: a compiled network cannot travel to another process, and a split one is made there.
        if self.device_mesh is not None:
            self.chunked = False  # the head's weights are spread over the devices, and come together in its call alone
            for part in self.trained_parts():
                shard_network(part, self.device_mesh["data_parallel"])
        if self.compiled:
            self.compile_networks()

    def trained_parts(self) -> list[nn.Module]:
        """The modules whose parameters are trained; each is called as a whole."""
        return [self.network]

    def compile_networks(self) -> None:
        """Compile what is called at every step."""
        compile_network(self.network, self.chunked)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch and its terms by name, all scalars."""
        if self.chunked:
            student = self.task.linear_logits(self.network, batch)
            aligned = self.task.align(batch, student.hidden)
            hard = chunked_loss(
                student, None, aligned.mask, self.task.hard_term(aligned, 1.0), compiled=self.compiled
            ).total
        else:
            logits = self.task.logits(self.network, batch)
            hard = self.task.loss(logits, self.task.align(batch, logits), batch)
        return hard, {"hard": hard}

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        # A fused optimizer says that it can take gradients that are still scaled, and Lightning then refuses to clip them
        # under mixed precision. Ours never gets scaled ones: Lightning unscales those of float16 before it clips.
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]

        def factor(step: int) -> float:
            # The middle of the step: at its edges a warm-up would begin, and a cosine end, with a rate of 0.
            return self.scheduler((self.first_step + step + 0.5) / self.total_steps)

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # A seed for each step: what is random in step k does not depend on how the run came to step k.
        seed_device(derive_seed(self.seed, "step", batch_idx, self.global_rank), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with compiling(self.compiled):
            loss, terms = self.losses(batch)
        if STEP_SHARE in batch:
            share = batch[STEP_SHARE][0]
            loss, terms = loss * share, {name: term * share for name, term in terms.items()}
        self.terms = {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}
        self._unchecked.append((self.global_step, self.terms))
        if loss.device.type == "cpu":
            self.check_finite(batch)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with compiling(self.compiled):
            super().backward(loss, *args, **kwargs)

    def check_finite(self, batch: Batch | None = None) -> None:
        """Look at the losses not yet looked at: every step on the CPU; elsewhere, where a look makes the host wait,
        whenever values are logged or saved.

        Raises:
            NonFiniteLossError: One is NaN or infinite; names the step and the term.
        """
        unchecked, self._unchecked = self._unchecked, []
        for step, terms in unchecked:
            if not math.isfinite(terms["loss"].item()):
                self.explain(step, terms, batch)

    def explain(self, step: int, terms: dict[str, Tensor], batch: Batch | None) -> None:
        """Raise for a loss that is not finite, naming the first term that is to blame."""
        values = {name: term.item() for name, term in terms.items()}
        name = next((n for n, v in values.items() if n != "loss" and not math.isfinite(v)), "loss")
        advice = "lower optimizer.lr, or set trainer.gradient_clip_val=1; the checkpoints before this step are kept"
        if step + self.first_step == 0:
            advice = "no step was taken before it, so look at the inputs, the network, and what the term is made of"
        raise NonFiniteLossError(
            f"term {name!r} is {values[name]} at step {step} of the {self.network.__class__.__name__}: {advice}"
        )

    def in_force(self, step: int) -> dict[str, Any]:
        """Numbers, beside the terms, that change over the stage and held at the step after ``step`` others; for the log."""
        return {}

    def deployed(self) -> AbstractContextManager[None]:
        """Within, the network is as it will be used, and is kept so."""
        return nullcontext()

    def may_be_kept(self, taken: int) -> bool:
        """The network after so many steps of the stage may be the one that is kept."""
        return True

    def carried(self) -> nn.Module | None:
        """What the student's next stage goes on from besides the network; None = nothing, or this is the last stage."""
        return None

    def record(self) -> dict[str, Any]:
        """What the stage's record says of this training beyond its length and result; asked for at its end."""
        return {}

    def on_validation_epoch_start(self) -> None:
        self.metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with compiling(self.compiled):
            for part, logits in logits_by_parts(self.task, self.network, batch, self.chunked):
                self.task.update(self.metrics, logits, self.task.align(part, logits), part)

    def on_validation_epoch_end(self) -> None:
        # compute() gathers the rows of all processes, so every process logs the same value.
        values = {f"val_{name}": float(value) for name, value in self.metrics.compute().items()}
        # Reduced all the same, or Lightning warns; the mean of equal values is that value.
        # Lightning would tell loggers the step before this one; ``MetricsLog`` tells them.
        self.log_dict(values, sync_dist=True, logger=False)

    def on_test_epoch_start(self) -> None:
        self.metrics.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the CPU and the device that trains.

    Not ``torch.manual_seed``: while CUDA is not in use, that keeps a call with a formatted stack trace for later, every
    time (0.7 ms a step, measured, and a list that grows).
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
