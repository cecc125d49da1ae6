"""Transformer language model: a small pre-norm GPT with learned positions.

Vaswani et al. 2017; pre-norm and initial values after GPT-2 (Radford et al. 2019). With LN layer norm:

    x = embedding(inputs) + positions
    x = x + attention(LN(x)),  x = x + mlp(LN(x))          once per block
    attention(x) = softmax(Q K^T / sqrt(width / heads) + causal mask) V, per head
    logits = head(LN(x))

Shapes: B batch, T positions, C vocabulary, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import ConfigError, SequenceTooLongError
from kd_lightning.models._checks import check_dropout, check_flags, check_positive_integers
from kd_lightning.models.narrowing import WidthMap
from kd_lightning.models.transformer_widths import map_pre_norm_widths

INITIAL_STD = 0.02  # of all weights, as in GPT-2: with tied weights the first logits are near 0 and the loss near log C


class CausalSelfAttention(nn.Module):
    """Each position attends to itself and to those before it: [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Mix ``hidden`` [B, T, D] over positions; result [B, T, D]."""
        query, key, value = self.heads_apart(self.qkv(hidden))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)  # [B, H, T, D/H]
        return self.out(mixed.transpose(1, 2).flatten(2))

    def heads_apart(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value, each [B, H, T, D/H], of what ``qkv`` returns [B, T, 3 D]."""
        return qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def tap_parts(self) -> dict[str, tuple[str, Callable[[Tensor], Tensor]]]:
        """What can be tapped within (see ``taps.py``): all of it is made of what ``qkv`` returns.

        ``query``, ``key``, ``value``: [B, T, D], the heads side by side. ``scores``: [B, H, T, T] by query and key, before
        the softmax, the lowest finite number where a position does not attend. ``attention``: their softmax, float32 or
        wider, without dropout.
        """
        return {
            "query": ("qkv", lambda qkv: qkv.chunk(3, dim=-1)[0]),
            "key": ("qkv", lambda qkv: qkv.chunk(3, dim=-1)[1]),
            "value": ("qkv", lambda qkv: qkv.chunk(3, dim=-1)[2]),
            "scores": ("qkv", self.scores),
            "attention": ("qkv", self.attention),
        }

    def scores(self, qkv: Tensor) -> Tensor:
        """[B, H, T, T] of what ``qkv`` returns [B, T, 3 D]."""
        query, key, _ = self.heads_apart(qkv)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, torch.finfo(scores.dtype).min)

    def attention(self, qkv: Tensor) -> Tensor:
        """[B, H, T, T] of what ``qkv`` returns [B, T, 3 D]."""
        scores = self.scores(qkv)
        return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))


class Block(nn.Module):
    """Attention and a two-layer network, each normed before and added to its input: [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads, dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """One block on the residual stream ``hidden`` [B, T, D]."""
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden)))
        return hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))


class TransformerLM(nn.Module):
    """Predict the next token at every position with a pre-norm transformer.

    ``logits = head(norm(blocks(embedding(inputs) + positions)))``; attention is causal, so that ``logits[:, t]``
    depends on ``inputs[:, : t + 1]`` alone. The output of the module ``norm`` is what ``body`` returns: tap that one,
    or ``blocks.<i>``.

    Args:
        vocab_size: C, number of token ids, >= 1.
        width: D, width of the residual stream, >= 1, divisible by ``heads``.
        layers: number of blocks, >= 1.
        heads: H, attention heads per block, >= 1.
        mlp_ratio: width of each block's inner layer in units of ``width``, > 0.
        max_length: longest T, in positions, >= 1.
        dropout: probability in [0, 1) on the embedding, the attention weights and each residual branch.
        tie_weights: let the head use the embedding matrix.

    Returns:
        logits [B, T, C] for inputs [B, T] int64 with T <= ``max_length``. The head has no bias.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.
        SequenceTooLongError: from ``body`` and ``forward``, when T > ``max_length``.

    Example:
        >>> import torch
        >>> network = TransformerLM(vocab_size=11, width=8, layers=1, heads=2, max_length=5)
        >>> inputs = torch.zeros(2, 5, dtype=torch.int64)
        >>> network.body(inputs).shape, network(inputs).shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5, 11]))

    Reference:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017; Radford et al., Language Models are Unsupervised
        Multitask Learners, 2019.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        max_length: int = 256,
        dropout: float = 0.0,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        check_positive_integers(
            "TransformerLM", vocab_size=vocab_size, width=width, layers=layers, heads=heads, max_length=max_length
        )
        check_dropout("TransformerLM", dropout)
        check_flags("TransformerLM", tie_weights=tie_weights)
        if width % heads:
            raise ConfigError(f"TransformerLM: heads={heads} does not divide width={width}; set heads to a divisor")
        mlp_width = _mlp_width(width, mlp_ratio)

        self.max_length = max_length
        self.embedding = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        if tie_weights:
            self.head.weight = self.embedding.weight
        self._initialize(layers)

    def _initialize(self, layers: int) -> None:
        """Weights N(0, 0.02^2), biases 0; what a block adds is scaled so that the stream's variance stays bounded."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith(("attention.out.weight", "mlp.2.weight")):
                nn.init.normal_(parameter, std=INITIAL_STD / math.sqrt(2 * layers))  # 2 * layers branches are summed

    def map_widths(self) -> WidthMap:
        """See ``NarrowsWidths``."""
        return map_pre_norm_widths(len(self.blocks), self.count_heads(), head_bias=False)

    def count_heads(self) -> int:
        """See ``NarrowsWidths``."""
        return int(self.blocks[0].attention.heads)  # type: ignore[union-attr, arg-type]

    def body(self, inputs: Tensor) -> Tensor:
        """Hidden states [B, T, D] that the head reads, for token ids ``inputs`` [B, T] int64."""
        length = inputs.shape[1]
        if length > self.max_length:
            raise SequenceTooLongError(
                f"TransformerLM: the input has {length} positions and max_length={self.max_length}; "
                "shorten the context or raise max_length"
            )
        hidden = self.dropout(self.embedding(inputs) + self.positions.weight[:length])  # [B, T, D]
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, C] of the token after each position, for token ids ``inputs`` [B, T] int64."""
        return self.head(self.body(inputs))


def _mlp_width(width: int, mlp_ratio: object) -> int:
    """Width of a block's inner layer, at least 1."""
    if isinstance(mlp_ratio, int | float) and not isinstance(mlp_ratio, bool) and math.isfinite(mlp_ratio):
        mlp_width = int(width * mlp_ratio)
        if mlp_width >= 1:
            return mlp_width
    raise ConfigError(
        f"TransformerLM: mlp_ratio={mlp_ratio!r} leaves the inner layer no width; set mlp_ratio to a number of at "
        f"least 1/width = {1 / width:g}"
    )
