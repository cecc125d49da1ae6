"""Token ids to vectors, as all networks read them that classify texts. Shapes: B batch, T positions, E width."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import VocabMismatchError
from kd_lightning.models._checks import check_positive_integers

PADDING_ID = 0


class TokenEmbedding(nn.Embedding):
    """A vector for each token, and 0 where there is none; the padding token's is 0 and is not trained.

    Args:
        owner: Name of the network, for messages.
        vocab_size: Number of token ids, >= 1.
        width: E, >= 1.
        tokenizer: The network's. One with a ``vocab_size`` of its own must not give ids that the network lacks.

    Raises:
        ConfigError: A size is of the wrong type or out of range.
        VocabMismatchError: The tokenizer's vocabulary is larger; from ``forward`` on a CPU, an id is outside the vocabulary.
    """

    def __init__(self, owner: str, vocab_size: int, width: int, tokenizer: Any) -> None:
        check_positive_integers(owner, vocab_size=vocab_size, embedding=width)
        tokens = getattr(tokenizer, "vocab_size", vocab_size)  # one that comes with a model does not say
        if tokens > vocab_size:
            raise VocabMismatchError(
                f"{owner}: tokenizer.vocab_size={tokens} is more than vocab_size={vocab_size}; set both to the same"
            )
        super().__init__(vocab_size, width, padding_idx=PADDING_ID)
        self.owner = owner

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]  # the mask belongs to the ids
        """[B, T, E] of ``ids`` [B, T] int64; 0 where ``mask`` [B, T] is False, whatever id stands there."""
        try:
            vectors = super().forward(ids.masked_fill(~mask, PADDING_ID))
        except IndexError as error:
            raise VocabMismatchError(
                f"{self.owner}: a token id is outside the vocabulary of {self.num_embeddings}: set vocab_size to that of the "
                "tokenizer"
            ) from error
        return vectors.masked_fill(~mask[..., None], 0.0)


def mask_of(ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The attention mask [B, T] bool; where none is given, every id [B, T] is a token's."""
    return torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask
