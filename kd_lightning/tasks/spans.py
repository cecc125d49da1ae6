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

from kd_lightning.errors import ConfigError
from kd_lightning.tasks.metrics import BatchMetric, most_probable

OUTSIDE, BEGIN, INSIDE = range(3)
TAG = re.compile(r"(?P<kind>[BI])(?:-(?P<type>.+))?", re.DOTALL)


class SpanF1(BatchMetric):
    """``2 hits / (predicted spans + true spans)`` over all rows of a split, all types together; 0 where there are no spans.

    Args:
        labels: Names of the classes, in the order of their numbers: ``O`` and tags that begin with ``B`` or ``I``.

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
    hits: Tensor
    predicted: Tensor
    true: Tensor
    kinds: Tensor
    types: Tensor

    def __init__(self, labels: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        kinds, types = parse_tags(labels)
        # One more, outside, for classes beyond the data's: a teacher may know more.
        self.register_buffer("kinds", torch.tensor([*kinds, OUTSIDE]), persistent=False)
        self.register_buffer("types", torch.tensor([*types, 0]), persistent=False)
        for name in ("hits", "predicted", "true"):
            self.add_state(name, default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        true, guessed = (self._find_spans(classes, mask) for classes in (targets, most_probable(logits)))
        same = (true == guessed).all(dim=-1) & (true[..., 0] > 0)
        self.hits += same.sum()
        self.true += (true[..., 0] > 0).sum()
        self.predicted += (guessed[..., 0] > 0).sum()

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
        spans = self.predicted + self.true
        return 2 * self.hits.double() / spans.clamp(min=1)


def parse_tags(labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Of each label its kind (``OUTSIDE``, ``BEGIN`` or ``INSIDE``) and the number of its type, 0 outside.

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
        kinds.append(OUTSIDE if found is None else BEGIN if found["kind"] == "B" else INSIDE)
        types.append(0 if found is None else numbers.setdefault(found["type"] or "", len(numbers) + 1))
    if not numbers:
        raise ConfigError("task.metrics.span_f1: no label is a tag of a span, as B-city: choose task=pos_tagging")
    return kinds, types
