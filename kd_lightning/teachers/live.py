"""The teacher as a frozen network that runs beside the student."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kd_lightning.models.taps import check_taps, tap_network
from kd_lightning.tasks.base import Task, why_whole
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.folding import make_cheaper
from kd_lightning.types import Batch, Outputs


class LiveTeacher(TeacherOutputs):
    """Runs the frozen network under ``no_grad`` on every batch.

    Frozen means three things here: no parameter asks for a gradient; the network is in eval mode and ``train()`` keeps
    it there (Lightning and users call it on whole trees, and BatchNorm statistics move in train mode even when no
    parameter does); and no gradient graph is built.

    Args:
        network: The trained teacher; frozen in place.
        task: Knows how to get logits from a network and a batch.
        folded: Before it first runs, its batch norms are put into the convolutions before them, and its images are laid with
            their channels last in memory, where ``inference.py`` finds that both can be. False = it runs as it was trained.
    """

    def __init__(self, network: nn.Module, task: Task, folded: bool = True) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.task = task
        self.to_fold = folded
        self._hashes: tuple[str, str] | None = None
        self.paths: dict[str, str] = {}
        self.by_rows = False
        self.eval()

    def connect(self, taps: Mapping[str, str], by_rows: bool = False) -> None:
        check_taps(self.network, taps, "teacher")
        self.paths = dict(taps)
        self.by_rows = by_rows and why_whole(self.network, taps.values()) is None

    def train(self, mode: bool = True) -> LiveTeacher:
        """Stays in eval mode whatever ``mode`` says."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        self._fold()
        return self._said(self.network, batch)

    def networks(self) -> list[nn.Module]:
        self._fold()
        return [self.network]

    def _said(self, network: nn.Module, batch: Batch) -> Outputs:
        logits = self.task.linear_logits if self.by_rows else self.task.logits
        if not self.paths:
            return Outputs(logits(network, batch))
        with tap_network(network, self.paths) as features:
            made = logits(network, batch)
        return Outputs(made, features)

    @torch.no_grad()
    def _fold(self) -> None:
        if not self.to_fold:
            return
        self.to_fold = False  # once
        sample = next(self.network.parameters(), torch.empty(0))

        def said(network: nn.Module) -> list[Tensor]:
            example = self.task.example_batch()
            batch = {key: each.to(sample.dtype) if each.is_floating_point() else each for key, each in example.items()}
            outputs = self._said(network, batch)
            return [outputs.logits, *outputs.features.values()]

        parts = [path.partition(":") for path in self.paths.values()]
        kept = {path for path, *_ in parts} | {f"{path}.{child}" for path, _, child in parts}
        with torch.autocast("cpu", enabled=False):
            cheaper = make_cheaper(self.network, said, kept)
        if cheaper is not self.network:
            self._hashes = hash_state(self.network), hash_state(cheaper)
            self.network = cheaper.to(sample.device)

    def content_hash(self) -> str:
        """That of the network as it was given, as long as what was made of it is unchanged."""
        found = hash_state(self.network)
        return self._hashes[0] if self._hashes is not None and found == self._hashes[1] else found


def hash_state(network: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    tensors = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
