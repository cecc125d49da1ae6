"""Bidirectional LSTM that classifies texts, or their tokens: embedding, layers that read both ways, pooling, linear head.

Hochreiter & Schmidhuber 1997; Schuster & Paliwal 1997. One layer, with the LSTM of ``lstm_lm.py`` read twice:

    h_t = [lstm(x_1 ... x_t), lstm'(x_L ... x_t)]          L tokens of the text, t <= L
    logits = head(pooling(h_1 ... h_L))

Shapes: B batch, T positions, E width of what a layer reads, H hidden, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models._checks import check_dropout, check_flags, check_positive_integers
from kd_lightning.models.chain_head import ChainHead
from kd_lightning.models.pooling import EachToken, MaxPooling
from kd_lightning.models.token_embedding import TokenEmbedding, mask_of


class BidirectionalLSTM(nn.Module):
    """One layer: [B, T, E] -> [B, T, 2 H], 0 at padding.

    Each text is turned round by itself, so that the way back begins at its last token and no step reads padding first. Other
    than packed sequences, that needs no lengths on the CPU, for which a GPU would wait, and shapes do not depend on values.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Read ``states`` [B, T, E], of which ``mask`` [B, T] bool tells the tokens; padding is at the end."""
        positions, lengths = torch.arange(mask.shape[1], device=mask.device), mask.sum(dim=1, keepdim=True)
        turned = torch.where(mask, lengths - 1 - positions, positions)[..., None]  # [B, T, 1]; its own inverse
        ahead, _ = self.ahead(states)
        # Not ``take_along_dim``, which torch.export follows for the shape of one batch alone.
        back, _ = self.back(states.gather(1, turned.expand_as(states)))
        both = torch.cat([ahead, back.gather(1, turned.expand_as(back))], dim=-1)
        return both.masked_fill(~mask[..., None], 0.0)


class BiLSTM(nn.Module):
    """Classify texts, or each of their tokens, with LSTM layers that read them both ways.

    To tap: ``embedding`` [B, T, E], ``layers.<i>`` [B, T, 2 H] (both 0 at padding), ``pooling`` [B, 2 H], and ``features``
    [B, 2 H], which is what ``body`` returns; without pooling, the last two are [B, T, 2 H].

    Args:
        num_classes: C, >= 1.
        vocab_size: number of token ids, >= 1.
        tokenizer: makes the ids; see ``kd_lightning.data.tokenizers.base``. Kept as an attribute.
        embedding: width of the token embedding, >= 1.
        hidden: H, width of each direction, >= 1.
        layers: number of layers, >= 1.
        pooling: module that makes one vector of a text's: ``MaxPooling`` (the default) or ``MeanPooling``; or none of them,
            for logits of each token: ``EachToken``.
        dropout: probability in [0, 1) on the embedding, between layers and on what the head reads.
        crf: with ``EachToken``, the tags of a text depend on each other: the head is a ``ChainHead``.

    Returns:
        logits [B, C], with ``EachToken`` [B, T, C], for ids [B, T] int64 and attention_mask [B, T] bool (True = a token; None =
        all are), one token in each row at least, padding at the end.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.
        VocabMismatchError: the tokenizer's vocabulary, or on a CPU an id, is outside of ``vocab_size``.

    Example:
        >>> network = BiLSTM(num_classes=3, vocab_size=11, tokenizer=None, embedding=4, hidden=6)
        >>> ids, mask = torch.tensor([[5, 7], [5, 0]]), torch.tensor([[True, True], [True, False]])
        >>> network.body(ids, mask).shape, network(ids, attention_mask=mask).shape
        (torch.Size([2, 12]), torch.Size([2, 3]))

    Reference:
        Conneau et al., Supervised Learning of Universal Sentence Representations, EMNLP 2017 (max pooling).
    """

    def __init__(
        self,
        num_classes: int,
        vocab_size: int,
        tokenizer: Any,
        embedding: int = 128,
        hidden: int = 128,
        layers: int = 1,
        pooling: nn.Module | None = None,
        dropout: float = 0.0,
        crf: bool = False,
    ) -> None:
        super().__init__()
        check_positive_integers("BiLSTM", num_classes=num_classes, hidden=hidden, layers=layers)
        check_dropout("BiLSTM", dropout)
        check_flags("BiLSTM", crf=crf)
        if crf and not isinstance(pooling, EachToken):
            raise ConfigError("BiLSTM: crf=true is for a tag at each token: set crf to false, or choose bilstm_tagger")
        self.tokenizer = tokenizer
        self.embedding = TokenEmbedding("BiLSTM", vocab_size, embedding, tokenizer)
        widths = (embedding, *[2 * hidden] * (layers - 1))
        self.layers = nn.ModuleList(BidirectionalLSTM(width, hidden) for width in widths)
        self.pooling = MaxPooling() if pooling is None else pooling
        self.dropout = nn.Dropout(dropout)  # on what each layer reads
        self.features = nn.Dropout(dropout)
        self.head: nn.Linear = (ChainHead if crf else nn.Linear)(2 * hidden, num_classes)

    def body(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Features [B, 2 H], with ``EachToken`` [B, T, 2 H], that the head reads."""
        mask = mask_of(ids, attention_mask)
        states = self.embedding(ids, mask)
        for layer in self.layers:
            states = layer(self.dropout(states), mask)
        return self.features(self.pooling(states, mask))

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [B, C] of the texts, or [B, T, C] of the tokens."""
        features = self.body(ids, attention_mask)
        return self.head(features, attention_mask) if isinstance(self.head, ChainHead) else self.head(features)
