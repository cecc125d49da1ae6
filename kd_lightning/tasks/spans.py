"""F1 of spans of words, as named entities are judged: a span counts where its first word, its last and its type are all right.

Tags are ``O``, ``B-TYPE`` and ``I-TYPE`` (IOB2). A span begins at a ``B``, and at an ``I`` that does not go on with a span of
its type; it ends before the next one begins and before an ``O``. So do ``conlleval`` and the default mode of ``seqeval``.

Reference: Tjong Kim Sang & De Meulder, Introduction to the CoNLL-2003 Shared Task, CoNLL 2003.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.errors import ConfigError
from kd_lightning.tasks.metrics import RowMetric, most_probable

OUTSIDE, BEGIN, INSIDE = range(3)
TAG = re.compile(r"(?P<kind>[BI])(?:-(?P<type>.+))?", re.DOTALL)


class SpanF1(RowMetric):
    """``2 hits / (predicted spans + true spans)`` over all rows of a split, all types together; 0 where there are no spans.

    A row's ``sums`` are twice its hits, its ``counts`` the spans of both kinds: F1 is a ratio of sums over rows, so models can
    be chosen and compared on it, and its intervals come from drawing rows, as those of a mean.

    Args:
        labels: Names of the classes, in the order of their numbers: ``O`` and tags that begin with ``B`` or ``I``.
        ignored: Types whose spans do not count, as ``V`` where predicates are given (Carreras & Marquez, CoNLL 2005).

    Raises:
        ConfigError: A label is none of these, or there is no tag at all.

    Example:
        >>> metric = SpanF1(["O", "B-city", "I-city"])
        >>> targets, logits = torch.tensor([[1, 2, 0, 1]]), torch.eye(3)[torch.tensor([[1, 2, 0, 0]])]
        >>> metric.update(logits, targets, torch.ones(1, 4, dtype=torch.bool), torch.tensor([0]))
        >>> metric.compute()
        tensor(0.6667, dtype=torch.float64)
    """

    higher_is_better = True
    words: list[Tensor]
    kinds: Tensor
    types: Tensor

    def __init__(self, labels: Sequence[str], ignored: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        kinds, types = parse_tags(labels, ignored)
        # One more, outside, for classes beyond the data's: a teacher may know more.
        self.register_buffer("kinds", torch.tensor([*kinds, OUTSIDE]), persistent=False)
        self.register_buffer("types", torch.tensor([*types, 0]), persistent=False)
        self.add_state("words", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        true, guessed = (self._find_spans(classes, mask) for classes in (targets, most_probable(logits)))
        same = (true == guessed).all(dim=-1) & (true[..., 0] > 0)
        self.sums.append(2.0 * same.sum(dim=1))
        self.counts.append((true[..., 0] > 0).sum(dim=1) + (guessed[..., 0] > 0).sum(dim=1))
        self.words.append(mask.sum(dim=1))
        self.index.append(index)

    def rows(self) -> dict[str, Tensor]:
        """As ``RowMetric.rows``, of all rows with words: those without spans are drawn, too."""
        index, words, sums, counts = (
            dim_zero_cat(getattr(self, name)).cpu() for name in ("index", "words", "sums", "counts")
        )
        order = torch.argsort(index, stable=True)
        order = order[words[order] > 0]
        return {"index": index[order], "sums": sums[order].double(), "counts": counts[order]}

    def _find_spans(self, classes: Tensor, mask: Tensor) -> Tensor:
        """Of each word [B, W] at which a span begins, its type (from 1) and its last position; else 0: [B, W, 2]."""
        known = classes.clamp(max=len(self.kinds) - 1)
        kinds, types = self.kinds[known].where(mask, OUTSIDE), self.types[known].where(mask, 0)
        before, after = F.pad(types, (1, -1)), F.pad(types, (-1, 1))
        begins = (kinds == BEGIN) | ((kinds == INSIDE) & (before != types))
        ends = (kinds != OUTSIDE) & (F.pad(begins, (-1, 1)) | (after != types))
        positions = torch.arange(mask.shape[1], device=mask.device).expand_as(types)
        # The nearest end from here on.
        last = positions.where(ends, mask.shape[1]).flip(1).cummin(dim=1).values.flip(1)
        return torch.stack([types, last], dim=-1) * begins[..., None]

    def compute(self) -> Tensor:
        rows = self.rows()
        return rows["sums"].sum() / rows["counts"].sum().clamp(min=1)


def parse_tags(labels: Sequence[str], ignored: Sequence[str] = ()) -> tuple[list[int], list[int]]:
    """Of each label its kind (``OUTSIDE``, ``BEGIN`` or ``INSIDE``) and the number of its type, 0 outside; ignored types are.

    Raises:
        ConfigError: See ``SpanF1``.

    Example:
        >>> parse_tags(["O", "B-city", "B-person", "I-city"])
        ([0, 1, 1, 2], [0, 1, 2, 1])
    """
    numbers: dict[str, int] = {}
    kinds, types = [], []
    for label in map(str, labels):
        found = TAG.fullmatch(label)
        if found is None and label != "O":
            raise ConfigError(
                f"task.metrics.span_f1: {label!r} is no tag of a span, as O, B-city and I-city are: of other tags, as parts of "
                "speech, choose task=pos_tagging"
            )
        if found is not None and found["type"] in ignored:
            found = None
        kinds.append(OUTSIDE if found is None else BEGIN if found["kind"] == "B" else INSIDE)
        types.append(0 if found is None else numbers.setdefault(found["type"] or "", len(numbers) + 1))
    if not numbers:
        raise ConfigError("task.metrics.span_f1: no label is a tag of a span, as B-city: choose task=pos_tagging")
    return kinds, types
