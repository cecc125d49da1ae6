"""Convolutional network that classifies texts: the strongest response of each filter anywhere in the text.

Kim 2014. With x_t the embeddings and W_w the filters of width w:

    features = [relu(max_t (W_w [x_t ... x_{t + w - 1}] + b_w)) for each width w],  logits = head(features)

Shapes: B batch, T positions, E width of the embedding, F filters of each width, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lightning.models._checks import check_dropout, check_positive_integers, check_widths
from kd_lightning.models.pooling import MaxPooling
from kd_lightning.models.token_embedding import TokenEmbedding, mask_of


class WindowFilters(nn.Module):
    """The strongest response of each filter over the windows of a text: [B, T, E] -> [B, F].

    A window lies wholly in its text, but for the one window of a text that is shorter; that is filled up with 0.
    """

    def __init__(self, embedding: int, filters: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.convolution = nn.Conv1d(embedding, filters, width)
        self.pooling = MaxPooling()

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Read ``states`` [B, T, E], 0 at padding, of which ``mask`` [B, T] bool tells the tokens; padding is at the end."""
        beyond = self.width - 1
        responses = self.convolution(F.pad(states.transpose(1, 2), (0, beyond))).transpose(1, 2)  # [B, T, F]
        last_token = F.pad(mask, (0, beyond), value=False)[:, beyond:]  # [B, T]: of the window that starts here
        starts = last_token | (torch.arange(mask.shape[1], device=mask.device) == 0)
        return F.relu(self.pooling(responses, starts))


class TextCNN(nn.Module):
    """Classify texts by the short sequences of words that they contain.

    To tap: ``embedding`` [B, T, E], 0 at padding, ``filters.<i>`` [B, F] of the i-th width, and ``features`` [B, F * widths],
    which is what ``body`` returns.

    Args:
        num_classes: C, >= 1.
        vocab_size: number of token ids, >= 1.
        tokenizer: makes the ids; see ``kd_lightning.data.tokenizers.base``. Kept as an attribute.
        embedding: E, width of the token embedding, >= 1.
        widths: tokens that a filter sees at once, each >= 1; texts may be shorter.
        channels: F, filters of each width, >= 1.
        dropout: probability in [0, 1) on what the head reads.

    Returns:
        logits [B, C] for ids [B, T] int64 and attention_mask [B, T] bool (True = a token; None = all are), padding at the end.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.
        VocabMismatchError: the tokenizer's vocabulary, or on a CPU an id, is outside of ``vocab_size``.

    Example:
        >>> network = TextCNN(num_classes=3, vocab_size=11, tokenizer=None, embedding=4, channels=5)
        >>> ids, mask = torch.tensor([[5, 7], [5, 0]]), torch.tensor([[True, True], [True, False]])
        >>> network.body(ids, mask).shape, network(ids, attention_mask=mask).shape
        (torch.Size([2, 15]), torch.Size([2, 3]))

    Reference:
        Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014. The embedding starts at random.
    """

    def __init__(
        self,
        num_classes: int,
        vocab_size: int,
        tokenizer: Any,
        embedding: int = 128,
        widths: Sequence[int] = (3, 4, 5),
        channels: int = 100,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive_integers("TextCNN", num_classes=num_classes, channels=channels)
        widths = check_widths("TextCNN", "widths", widths, at_least=1)
        check_dropout("TextCNN", dropout)
        self.tokenizer = tokenizer
        self.embedding = TokenEmbedding("TextCNN", vocab_size, embedding, tokenizer)
        self.filters = nn.ModuleList(WindowFilters(embedding, channels, width) for width in widths)
        self.features = nn.Dropout(dropout)
        self.head = nn.Linear(len(widths) * channels, num_classes)

    def body(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Features [B, F * widths] that the head reads."""
        mask = mask_of(ids, attention_mask)
        states = self.embedding(ids, mask)
        return self.features(torch.cat([filters(states, mask) for filters in self.filters], dim=-1))

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [B, C] of the texts."""
        return self.head(self.body(ids, attention_mask))
