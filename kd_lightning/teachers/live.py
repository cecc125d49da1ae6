"""The teacher as a frozen network that runs beside the student."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from kd_lightning.taps import check_taps, tapped
from kd_lightning.tasks.base import Task, why_whole
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.inference import fold_batch_norms, recorded, takes_channels_last
from kd_lightning.types import Batch, Outputs


class LiveTeacher(TeacherOutputs):
    """Runs the frozen network under ``no_grad`` on every batch.

    Frozen means three things here: no parameter asks for a gradient; the network is in eval mode and ``train()`` keeps
    it there (Lightning and users call it on whole trees, and BatchNorm statistics move in train mode even when no
    parameter does); and no gradient graph is built.

    Args:
        network: The trained teacher; frozen in place, and folded where that is asked for.
        task: Knows how to get logits from a network and a batch.
        folded: Batch norms are put into the convolutions before them, and images lie in memory with their channels last,
            where ``inference.py`` finds that both can be. False = the network runs as it was trained.
    """

    def __init__(self, network: nn.Module, task: Task, folded: bool = True) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.task = task
        self.folded = folded
        self._hashes: tuple[str, str] | None = None
        self.paths: dict[str, str] = {}
        self.by_rows = False
        self.eval()

    def connect(self, taps: Mapping[str, str], by_rows: bool = False) -> None:
        check_taps(self.network, taps, "teacher")
        self.paths = dict(taps)
        self.by_rows = by_rows and why_whole(self.network, taps.values()) is None
        if self.folded:
            self._fold()

    def _fold(self) -> None:
        graph = recorded(self.network)
        if graph is None:
            return
        given = state_hash(self.network)
        if fold_batch_norms(self.network, graph, [path.partition(":")[0] for path in self.paths.values()]):
            self._hashes = given, state_hash(self.network)
        if not self.paths and takes_channels_last(graph):
            convert_conv2d_weight_memory_format(self.network, torch.channels_last)

    def train(self, mode: bool = True) -> LiveTeacher:
        """Stays in eval mode whatever ``mode`` says."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        logits = self.task.linear_logits if self.by_rows else self.task.logits
        if not self.paths:
            return Outputs(logits(self.network, batch))
        with tapped(self.network, self.paths) as features:
            made = logits(self.network, batch)
        return Outputs(made, features)

    def content_hash(self) -> str:
        """That of the network as it was given, if it is still what was made of it."""
        found = state_hash(self.network)
        return self._hashes[0] if self._hashes is not None and found == self._hashes[1] else found


def state_hash(network: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    tensors = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
