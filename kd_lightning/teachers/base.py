"""Where the teacher's Outputs come from: a live network, or rows on disk, by the same interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from kd_lightning.types import Batch, Outputs


class TeacherOutputs(nn.Module):
    """Gives the teacher's Outputs for a batch, without gradient."""

    @property
    def keeps_logits(self) -> bool:
        """The logits are the teacher's, but for rounding; False = they only have its probabilities. Ask once connected."""
        return True

    def connect(self, taps: Mapping[str, str], by_rows: bool = False) -> None:
        """Promise the features in ``taps`` (name -> module path in the teacher). Called once, before training.

        Args:
            taps: The features asked for.
            by_rows: The logits will be read by rows, so that whole ones need not be made.

        Raises:
            TapError: Something asked for cannot be served.
        """
        raise NotImplementedError

    def forward(self, batch: Batch) -> Outputs:
        """Logits [..., C] and the promised features for the rows of ``batch``."""
        raise NotImplementedError

    def networks(self) -> list[nn.Module]:
        """The networks that run from now on; asked for once connected, to compile them."""
        return list(self.children())

    def counted(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """What of its settings the outputs depend on, once connected: a node that builds the same. By default all.

        Args:
            node: The settings it was built from.
        """
        return node

    def content_hash(self) -> str:
        """A digest of everything that the outputs depend on: equal before and after a fit, or the teacher moved."""
        raise NotImplementedError
