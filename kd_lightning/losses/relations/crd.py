"""Contrastive representation distillation: the two networks' views of a row are to be told from those of other rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.projections import channels_last
from kd_lightning.losses.features.samples import counted_rows
from kd_lightning.losses.functional.all_reduce import rows_of_all_processes
from kd_lightning.losses.functional.contrast import contrastive_nats, log_mean_exp
from kd_lightning.losses.functional.precision import at_least_float32, exact_matmul, without_autocast
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.relations import normalize_vectors
from kd_lightning.losses.labels import usable_labels
from kd_lightning.types import Aligned, Outputs


class CRD(FeatureLoss):
    """Contrastive loss of embeddings, against what the other network has said of this row and of others before.

    Formula: ``mean_rows contrastive(student, bank of the teacher) + contrastive(teacher, bank of the student)``, see
    ``contrastive_nats``; nats per row. Embeddings are trained linear maps of both features, at length 1. A bank has the
    running embedding of every training row, found by ``aligned.index``; it starts at random. Pixels, and positions that
    count, are averaged into the row's feature.

    Of ``negatives`` rows drawn, those known to be of the row's own class are left out: the bank remembers the label of each row
    that it has seen, where the student may read it. Tasks with a label for each position have no class of a row, and take
    all.

    The banks are in resume points and in no exported network. On several devices all have the same banks, of the rows that
    any of them sees; the normalizer is that of the first device's first batch.

    Args:
        match: Pairs of modules, see ``features.py``.
        width: Channels of the embeddings.
        negatives: Other rows for each row, drawn anew at each step from the step's seed; all others if there are no more.
        same_class: True = rows of the row's own class are among its negatives, too, and no label is read.
        contrast_temperature: Of the similarities, > 0.
        momentum: Share of the old embedding in a bank's new one, in [0, 1).
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; a number is out of range; or the task gives no ``aligned.index``.

    Reference: Tian, Krishnan, Isola 2020, "Contrastive Representation Distillation", section 3, and the authors' code for
    the banks; all defaults are theirs, for CIFAR-100. They draw ``negatives`` rows from other classes, ours are fewer by the
    share of the row's own class.
    """

    def __init__(
        self,
        match: Sequence[TapPair],
        width: int = 128,
        negatives: int = 16384,
        contrast_temperature: float = 0.07,
        momentum: float = 0.5,
        same_class: bool = False,
        weight: float = 0.8,
    ) -> None:
        super().__init__("crd", match, weight)
        if width < 1 or negatives < 1:
            raise ConfigError(f"loss.crd: width={width}, negatives={negatives}: at least 1 is expected")
        if not contrast_temperature > 0:
            raise ConfigError(f"loss.crd.contrast_temperature={contrast_temperature}: above 0 is expected")
        if not 0 <= momentum < 1:
            raise ConfigError(f"loss.crd.momentum={momentum}: a number in [0, 1) is expected")
        self.width = width
        self.negatives = negatives
        self.contrast_temperature = contrast_temperature
        self.momentum = momentum
        self.same_class = same_class
        self.contrasts = nn.ModuleDict()
        self.rows = 0

    def expect_rows(self, rows: int) -> None:
        if rows < 2:
            raise ConfigError(f"loss.crd: {rows} training rows: there is no other row to tell a row from")
        self.rows = rows

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        for tap in self.taps:
            widths = (channels_last(student[tap]).shape[-1], channels_last(teacher[tap]).shape[-1])
            self.contrasts[tap] = Contrast(widths, self.width, self.rows, self.contrast_temperature, self.momentum)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        index, counted = aligned.index, counted_rows(aligned.mask)
        if index is None:
            raise ConfigError("loss.crd needs to know which row is which: let the task's align give `index`")
        others, labels = self.other_rows(index), self.labels(aligned)
        values = []
        for tap in self.taps:
            both = [row_feature(outputs.features[tap], aligned.mask) for outputs in (student, teacher)]
            values.append(masked_mean(self.contrasts[tap](*both, index, labels, others, counted), counted))
        return sum(values[1:], values[0]) / len(values)

    def labels(self, aligned: Aligned) -> Tensor:
        """[B] int64: the class of each row; -1 where it is not to be read, or rows have none."""
        targets, labeled = usable_labels(aligned)
        if self.same_class or targets.dim() > 1:
            return torch.full((len(targets),), -1, device=targets.device)
        return torch.where(labeled, targets, -1)

    def other_rows(self, index: Tensor) -> Tensor:
        """[B, N] int64: rows other than each of ``index`` [B]; N = min(negatives, rows - 1)."""
        ranks = torch.arange(self.rows - 1, device=index.device).expand(len(index), -1)
        if self.negatives < self.rows - 1:
            ranks = torch.randint(self.rows - 1, (len(index), self.negatives), device=index.device)
        return ranks + (ranks >= index[:, None])


class Contrast(nn.Module):
    """Embeddings and banks of one pair of modules.

    Args:
        widths: Channels of the student's and of the teacher's feature.
        width: Channels of the embeddings.
        rows: M, the training rows.
        temperature: Of the similarities.
        momentum: Share of the old embedding in a bank's new one.
    """

    banks: Tensor
    classes: Tensor
    log_means: Tensor

    def __init__(self, widths: tuple[int, int], width: int, rows: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.embeddings = nn.ModuleList(nn.Linear(channels, width) for channels in widths)
        self.register_buffer("banks", normalize_vectors(torch.randn(2, rows, width)))
        self.register_buffer("classes", torch.full((rows,), -1))  # of the rows seen; -1 = not known
        self.register_buffer("log_means", torch.full((2,), torch.nan))  # of the first batch, and kept

    def forward(
        self, student: Tensor, teacher: Tensor, index: Tensor, labels: Tensor, others: Tensor, counted: Tensor
    ) -> Tensor:
        """Nats of each row; the banks learn of the rows that count.

        Args:
            student: [B, D], float32 or wider.
            teacher: [B, D of the teacher], likewise.
            index: [B] int64.
            labels: [B] int64, -1 = not known.
            others: [B, N] int64.
            counted: [B] bool.

        Returns:
            [B].
        """
        self.remember_labels(index, labels)
        allowed = (labels[:, None] < 0) | (self.classes[others] != labels[:, None])
        embedded = [embed(*both) for both in zip(self.embeddings, (student, teacher), strict=True)]
        # A copy: the banks change below, and the gradient needs them as they are.
        banks = at_least_float32(self.banks.clone()).to(embedded[0].dtype)
        nats = [self.nats(side, embedded[side], banks[1 - side], index, others, allowed, counted) for side in (0, 1)]
        for side in (0, 1):
            self.remember(side, embedded[side].detach(), banks[side], index, counted)
        return nats[0] + nats[1]

    def nats(
        self,
        side: int,
        anchors: Tensor,
        bank: Tensor,
        index: Tensor,
        others: Tensor,
        allowed: Tensor,
        counted: Tensor,
    ) -> Tensor:
        """Of the anchors [B, D'] of one side against the other's bank [M, D']; [B]."""
        # With all rows, and then a choice: numbers are gathered, B x N of them, and not vectors.
        similarities = exact_matmul(anchors, bank.T)
        own, other = similarities.gather(1, index[:, None])[:, 0], similarities.gather(1, others)
        with torch.no_grad():
            first = log_mean_exp(own, other, self.temperature, counted, allowed).to(self.log_means.dtype)
            self.log_means[side] = torch.where(self.log_means[side].isnan(), first, self.log_means[side])
        log_mean = self.log_means[side].nan_to_num().to(anchors.dtype)
        return contrastive_nats(own, other, self.temperature, log_mean, allowed)

    @torch.no_grad()
    def remember_labels(self, index: Tensor, labels: Tensor) -> None:
        """Note the classes of the rows ``index`` where they are known; those of all processes."""
        index, labels = rows_of_all_processes(index), rows_of_all_processes(labels)
        self.classes[index] = torch.where(labels < 0, self.classes[index], labels)

    @torch.no_grad()
    def remember(self, side: int, embedded: Tensor, bank: Tensor, index: Tensor, counted: Tensor) -> None:
        """Move the bank's rows ``index`` towards their new embeddings [B, D']; those of all processes."""
        # Else DDP, which hands out the first process' buffers before each step, would forget what the others have seen.
        embedded, index, counted = (rows_of_all_processes(each) for each in (embedded, index, counted))
        old = bank[index]
        new = normalize_vectors(self.momentum * old + (1 - self.momentum) * embedded)
        self.banks[side, index] = torch.where(counted[:, None], new, old).to(self.banks.dtype)


def embed(layer: nn.Module, feature: Tensor) -> Tensor:
    """[B, D'] at length 1, in the feature's type: divided by the temperature, a half's rounding would be large."""
    # Called, and not taken apart: a layer that is spread over devices is gathered in its call alone.
    with without_autocast(feature):
        return normalize_vectors(layer(feature.to(next(layer.parameters()).dtype)).to(feature.dtype))


def row_feature(feature: Tensor, mask: Tensor) -> Tensor:
    """One vector for each row: the mean over its pixels, or over its positions that count.

    Args:
        feature: [B, D], [B, T, D] or [B, D, H, W].
        mask: [B] or [B, T] bool.

    Returns:
        [B, D], float32 or wider; 0 for rows that do not count.
    """
    places = channels_last(feature).flatten(1, -2) if feature.dim() > 2 else feature[:, None]  # [B, places, D]
    by_position = mask.dim() > 1 and places.shape[:2] == mask.shape
    counted = mask if by_position else counted_rows(mask)[:, None].expand(places.shape[:2])
    total = torch.where(counted[..., None], at_least_float32(places), 0.0).sum(dim=1)
    return total / counted.sum(dim=1, keepdim=True).clamp(min=1)
