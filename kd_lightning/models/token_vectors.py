"""A start from a teacher of another kind: its vector of each token of the student's vocabulary, cut to the student's width.

Tulkens & van Dongen 2024 (model2vec). With h_1 ... h_L the teacher's last hidden states for the text of a token alone, its own
marks of beginning and end included:

    v = mean_l h_l,   e = rank_weight * scale * P^T (v - mean of all v)

P [D, E] are the E leading principal components of the N vectors v, by variance. ``scale`` makes the mean square of all
numbers 1, as it is at random, so that learning rates for the one start are right for the other.

Shapes: N tokens, L tokens of the teacher for one of them, D the teacher's width, E the student's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models.pooling import MeanPooling
from kd_lightning.models.principal import find_leading_directions

TOKENS_AT_ONCE = 256


@runtime_checkable
class EncodesTokens(Protocol):
    """A network whose hidden states say what a token means: the teacher of such a start."""

    def hidden_states(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states [B, T, D] for ids [B, T] int64 and attention_mask [B, T] bool, True = a token."""
        ...


@runtime_checkable
class StartsFromTokens(Protocol):
    """A network that can begin with what an ``EncodesTokens`` makes of its vocabulary."""

    def start_from_tokens(self, ids: Tensor, vectors: Tensor, *, as_outputs: bool = False) -> None:
        """Take over the vectors [N, D] of the tokens ``ids`` [N] int64, ascending; other tokens mean nothing.

        With ``as_outputs`` they are also what the network should answer to a text of this token alone, as nearly as it can.

        Raises:
            KDError: They do not fit it.
        """
        ...


@torch.no_grad()
def embed_token_texts(teacher: nn.Module, rows: Sequence[Sequence[int]], *, as_outputs: bool = False) -> Tensor:
    """A vector for each row: the mean of the teacher's hidden states.

    Args:
        teacher: An ``EncodesTokens``; put into eval mode.
        rows: N rows of the teacher's ids, one in each at least.
        as_outputs: The vector is what the teacher answers instead, however it pools.

    Returns:
        [N, D] float32.
    """
    assert isinstance(teacher, EncodesTokens)
    teacher.eval()
    pooling = MeanPooling()
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # little padding
    found: list[Tensor] = []
    for start in range(0, len(order), TOKENS_AT_ONCE):
        batch = [torch.tensor(rows[row]) for row in order[start : start + TOKENS_AT_ONCE]]
        lengths = torch.tensor([len(each) for each in batch])
        ids = nn.utils.rnn.pad_sequence(batch, batch_first=True)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        found.append(
            teacher(ids, attention_mask=mask) if as_outputs else pooling(teacher.hidden_states(ids, mask), mask)
        )
    vectors = torch.cat(found)
    return torch.empty_like(vectors).index_copy_(0, torch.tensor(order), vectors)


def project_on_components(vectors: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Vectors as their leading principal components, with a mean square of 1.

    Args:
        vectors: [N, D].
        width: E, at most the smaller of N and D.

    Returns:
        The components [N, E], each column with mean 0, the first one with the largest variance; and the way back [D, E]:
        ``components @ way_back.T`` is nearest to the vectors without their mean. The sign of a component, which principal
        components leave open, is that which makes the largest of its D numbers positive.

    Raises:
        ConfigError: ``width`` is too large.

    Example:
        >>> project_on_components(torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]), 1)[0].round(decimals=3).flatten()
        tensor([-1.2250,  1.2250,  0.0000])

    Reference:
        Tulkens & van Dongen, Model2Vec: Fast State-of-the-Art Static Embeddings, 2024.
    """
    count, own = vectors.shape
    most = min(count, own)
    if width > most:
        raise ConfigError(
            f"student.init=teacher: embedding={width} is more than the {most} principal components of {count} tokens' vectors "
            f"of width {own}: set student.model.embedding to at most that"
        )
    centered = vectors.double() - vectors.double().mean(dim=0)
    directions, _ = find_leading_directions(centered.T @ centered, width)
    projected = centered @ directions
    scale = projected.square().mean().sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    return (projected / scale).to(vectors.dtype), (directions * scale).to(vectors.dtype)


def zipf_weights(count: int) -> Tensor:
    """``log(1 + rank)`` [count] for tokens in the order of their frequency, so that frequent ones, as *the*, say little.

    By Zipf's law a token's frequency is about 1 / rank, so no corpus is needed: model2vec's stand-in for the weights of Arora
    et al., A Simple but Tough-to-Beat Baseline for Sentence Embeddings, ICLR 2017.

    Example:
        >>> zipf_weights(3)
        tensor([0.6931, 1.0986, 1.3863])
    """
    return torch.arange(1, count + 1).log1p()
