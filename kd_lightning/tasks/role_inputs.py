"""What tasks have in common whose networks read token ids of their own tokenizers: the columns of a role, and their masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_lightning.data.collate import collate_rows
from kd_lightning.data.table import Table
from kd_lightning.data.texts import TYPE_IDS, role_column
from kd_lightning.data.words import IDS
from kd_lightning.errors import ConfigError
from kd_lightning.types import ATTENTION_MASK, Batch, NetworkInputs

TOKEN_TYPE_IDS = "token_type_ids"
"""What networks that tell the two texts of a pair apart call the numbers 0 and 1."""
EXAMPLE_IDS = 4
"""Ids of the example batch are below this: every vocabulary has them."""


def collate_roles(table: Table, rows: Tensor) -> Batch:
    """Some rows [B] int64 as a batch, with an attention mask beside the ids of each role."""
    masks = {name: mask_name(name) for name in table.columns if name.endswith(f"_{IDS}")}
    return collate_rows(table, rows, masks=masks)


def choose_role(table: Table, role: str) -> Table:
    """The rows with what the networks of a role read of them, and nothing else."""
    names = [name for name in (role_column(role, IDS), role_column(role, TYPE_IDS)) if name in table]
    return Table({name: table.column(name) for name in names}, table.ids)


def read_role(batch: Batch, role: str) -> NetworkInputs:
    """What the networks of a role are called with."""
    ids, types = role_column(role, IDS), role_column(role, TYPE_IDS)
    keywords = {ATTENTION_MASK: batch[mask_name(ids)]}
    if types in batch:
        keywords[TOKEN_TYPE_IDS] = batch[types]
    return NetworkInputs((batch[ids],), keywords)


def example_columns(role: str, ids: Tensor) -> dict[str, Tensor]:
    """The columns of a role for ids [B, T] without padding."""
    name = role_column(role, IDS)
    return {name: ids, mask_name(name): torch.ones_like(ids, dtype=torch.bool)}


def mask_name(ids: str) -> str:
    """What the attention mask of a column of ids is called in a batch."""
    return f"{ids}_mask"


def check_logit_rows(logits: Tensor, expected: tuple[int, ...], network: nn.Module) -> Tensor:
    """The same logits [..., C], one row of them for each text, or for each token.

    Args:
        logits: Of the network, or what its head makes them of.
        expected: Their leading dimensions, [B] for texts or [B, T] for tokens.
        network: For the message.

    Raises:
        ConfigError: The network answers for the other kind.
    """
    if logits.shape[:-1] != expected:
        texts, tokens = "for each text as a whole", "for each token"
        wanted, other = (texts, tokens) if len(expected) == 1 else (tokens, texts)
        fix = "one that pools, as bilstm or hf" if len(expected) == 1 else "a tagger, as bilstm_tagger or hf_tagger"
        raise ConfigError(f"{type(network).__name__} answers {other}, and the task asks {wanted}: choose {fix}")
    return logits
