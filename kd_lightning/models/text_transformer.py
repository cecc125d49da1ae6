"""Transformer encoder that classifies texts, or each of their tokens: pre-norm blocks, learned positions, linear head.

Vaswani et al. 2017; pre-norm and initial values as in ``transformer_lm.py``, but every token attends to all of its text. With
LN layer norm:

    x = embedding(ids) + positions
    x = x + attention(LN(x)),  x = x + mlp(LN(x))          once per block
    attention(x) = softmax(Q K^T / sqrt(width / heads) over the tokens) V, per head
    logits = head(mean over the tokens of LN(x))           or of LN(x) at each token

Shapes: B batch, T positions, D width, H heads, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lightning.errors import ConfigError, SequenceTooLongError
from kd_lightning.models._checks import check_dropout, check_positive_integers
from kd_lightning.models.narrowing import WidthMap
from kd_lightning.models.pooling import MaxPooling, MeanPooling
from kd_lightning.models.token_embedding import PADDING_ID, TokenEmbedding, mask_of
from kd_lightning.models.transformer_lm import INITIAL_STD
from kd_lightning.models.transformer_widths import map_pre_norm_widths


class SelfAttention(nn.Module):
    """Each position attends to all tokens of its text: [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix ``states`` [B, T, D] over the positions where ``mask`` [B, T] bool is True, None = all; result [B, T, D]."""
        query, key, value = self.qkv(states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        attended = None if mask is None else mask[:, None, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attended, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def tap_parts(self) -> dict[str, tuple[str, Callable[[Tensor], Tensor]]]:
        """What can be tapped within (see ``taps.py``): ``query``, ``key``, ``value``, [B, T, D], the heads side by side."""
        return {
            "query": ("qkv", lambda qkv: qkv.chunk(3, dim=-1)[0]),
            "key": ("qkv", lambda qkv: qkv.chunk(3, dim=-1)[1]),
            "value": ("qkv", lambda qkv: qkv.chunk(3, dim=-1)[2]),
        }


class EncoderBlock(nn.Module):
    """Attention and a two-layer network, each normed before and added to its input: [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """One block on the residual stream ``states`` [B, T, D]; ``mask`` [B, T] bool, True = a token, None = all are."""
        states = states + self.dropout(self.attention(self.attention_norm(states), mask))
        return states + self.dropout(self.mlp(self.mlp_norm(states)))


class TextTransformer(nn.Module):
    """Classify texts, or each of their tokens, with a transformer encoder that is trained from scratch.

    To tap: ``embedding``, ``blocks.<i>`` and ``norm`` [B, T, D], ``blocks.<i>.attention:query`` (``:key``, ``:value``)
    likewise, ``pooling`` [B, D], and ``features`` [B, D], which is what ``body`` returns; without pooling, [B, T, D].

    Args:
        num_classes: C, >= 1.
        vocab_size: number of token ids, >= 1.
        tokenizer: makes the ids; see ``kd_lightning.data.tokenizers.base``. Kept as an attribute.
        width: D, width of the residual stream, >= 1, divisible by ``heads``.
        layers: number of blocks, >= 1.
        heads: H, attention heads of each block, >= 1.
        mlp_width: width of each block's inner layer, >= 1.
        max_length: longest T, in tokens, >= 1; at least the tokenizer's.
        pooling: as in ``BiLSTM``; None = ``MeanPooling``.
        dropout: probability in [0, 1) on the embedding, the attention weights, each residual branch and what the head reads.

    Returns:
        logits [B, C], with ``EachToken`` [B, T, C], for ids [B, T] int64, T <= ``max_length``, and attention_mask [B, T] bool
        (True = a token; None = all are), one token in each row at least.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.
        SequenceTooLongError: the tokenizer gives more than ``max_length`` tokens; from ``body`` and ``forward``, T is greater.
        VocabMismatchError: the tokenizer's vocabulary, or on a CPU an id, is outside of ``vocab_size``.

    Example:
        >>> network = TextTransformer(3, vocab_size=11, tokenizer=None, width=8, layers=1, heads=2, mlp_width=16)
        >>> ids, mask = torch.tensor([[5, 7], [5, 0]]), torch.tensor([[True, True], [True, False]])
        >>> network.body(ids, mask).shape, network(ids, attention_mask=mask).shape
        (torch.Size([2, 8]), torch.Size([2, 3]))

    Reference:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017.
    """

    def __init__(
        self,
        num_classes: int,
        vocab_size: int,
        tokenizer: Any,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        mlp_width: int = 512,
        max_length: int = 128,
        pooling: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "width": width, "layers": layers, "heads": heads, "mlp_width": mlp_width}
        check_positive_integers("TextTransformer", **sizes, max_length=max_length)
        check_dropout("TextTransformer", dropout)
        if width % heads:
            raise ConfigError(f"TextTransformer: heads={heads} does not divide width={width}; set heads to a divisor")
        tokens = getattr(tokenizer, "max_length", max_length)
        if tokens > max_length:
            raise SequenceTooLongError(
                f"TextTransformer: tokenizer.max_length={tokens} is more than max_length={max_length}; set both to the same"
            )

        self.tokenizer = tokenizer
        self.max_length = max_length
        self.embedding = TokenEmbedding("TextTransformer", vocab_size, width, tokenizer)
        self.positions = nn.Embedding(max_length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, mlp_width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.pooling = MeanPooling() if pooling is None else pooling
        self.features = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        self._initialize(layers)

    def _initialize(self, layers: int) -> None:
        """As ``TransformerLM``: weights N(0, 0.02^2), biases 0, what a block adds smaller with depth; and 0 for padding."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight")):
                nn.init.normal_(parameter, std=INITIAL_STD / math.sqrt(2 * layers))  # 2 * layers branches are summed
        with torch.no_grad():
            self.embedding.weight[PADDING_ID] = 0.0

    def map_widths(self) -> WidthMap:
        """See ``NarrowsWidths``."""
        why = (
            "MaxPooling takes the largest value of each feature, and a narrower student's features are rotated: give it "
            "MeanPooling or the teacher's width, or set student.init=null"
        )
        fixed = why if isinstance(self.pooling, MaxPooling) else None
        return map_pre_norm_widths(len(self.blocks), self.count_heads(), head_bias=True, fixed=fixed)

    def count_heads(self) -> int:
        """See ``NarrowsWidths``."""
        return int(self.blocks[0].attention.heads)  # type: ignore[union-attr, arg-type]

    def body(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Features [B, D], with ``EachToken`` [B, T, D], that the head reads."""
        length = ids.shape[1]
        if length > self.max_length:
            raise SequenceTooLongError(
                f"TextTransformer: a text has {length} tokens and max_length={self.max_length}; lower tokenizer.max_length or "
                "raise max_length"
            )
        mask = mask_of(ids, attention_mask)
        states = self.dropout(self.embedding(ids, mask) + self.positions.weight[:length])  # [B, T, D]
        for block in self.blocks:
            states = block(states, mask)
        return self.features(self.pooling(self.norm(states), mask))

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [B, C] of the texts, or [B, T, C] of the tokens."""
        return self.head(self.body(ids, attention_mask))
