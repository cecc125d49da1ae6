"""Bag of words: the mean of a text's word vectors, without any order.

Joulin et al. 2017 (fastText); Iyyer et al. 2015 with a hidden layer. With x_t the embeddings of a text's L tokens:

    logits = head(h),  h = mean_t x_t  or  relu(W mean_t x_t + b)

Shapes: B batch, T positions, E width of the embedding, D width that the head reads, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import VocabMismatchError
from kd_lightning.models._checks import check_dropout, check_flags, check_positive_integers
from kd_lightning.models.pooling import MeanPooling
from kd_lightning.models.token_embedding import TokenEmbedding, mask_of
from kd_lightning.models.token_vectors import project_on_components, zipf_weights


class StaticEmbedding(nn.Module):
    """Classify texts by the words in them: the smallest and fastest student.

    To tap: ``embedding`` [B, T, E], 0 at padding, ``pooling`` [B, E], and ``features`` [B, D], which is what ``body`` returns.

    Args:
        num_classes: C, >= 1.
        vocab_size: number of token ids, >= 1.
        tokenizer: makes the ids; see ``kd_lightning.data.tokenizers.base``. Kept as an attribute.
        embedding: E, width of the token embedding, >= 1.
        hidden: D, width of a hidden layer with ReLU, >= 1; None = there is none, and D is E.
        dropout: probability in [0, 1) on what the head reads.
        zipf: a start from a teacher's vectors gives frequent tokens shorter ones: ``zipf_weights``.

    Returns:
        logits [B, C] for ids [B, T] int64 and attention_mask [B, T] bool (True = a token; None = all are), one token in each
        row at least.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.
        VocabMismatchError: the tokenizer's vocabulary, or on a CPU an id, is outside of ``vocab_size``.

    Example:
        >>> import torch
        >>> network = StaticEmbedding(num_classes=3, vocab_size=11, tokenizer=None, embedding=4)
        >>> ids, mask = torch.tensor([[5, 7], [5, 0]]), torch.tensor([[True, True], [True, False]])
        >>> network.body(ids, mask).shape, network(ids, attention_mask=mask).shape
        (torch.Size([2, 4]), torch.Size([2, 3]))

    Reference:
        Joulin et al., Bag of Tricks for Efficient Text Classification, EACL 2017; Iyyer et al., Deep Unordered Composition
        Rivals Syntactic Methods for Text Classification, ACL 2015.
    """

    def __init__(
        self,
        num_classes: int,
        vocab_size: int,
        tokenizer: Any,
        embedding: int = 64,
        hidden: int | None = None,
        dropout: float = 0.0,
        zipf: bool = True,
    ) -> None:
        super().__init__()
        check_positive_integers("StaticEmbedding", num_classes=num_classes)
        check_dropout("StaticEmbedding", dropout)
        check_flags("StaticEmbedding", zipf=zipf)
        self.tokenizer = tokenizer
        self.zipf = zipf
        self.embedding = TokenEmbedding("StaticEmbedding", vocab_size, embedding, tokenizer)
        self.pooling = MeanPooling()
        layers: list[nn.Module] = []
        if hidden is not None:
            check_positive_integers("StaticEmbedding", hidden=hidden)
            layers = [nn.Linear(embedding, hidden), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Dropout(dropout))
        self.head = nn.Linear(embedding if hidden is None else hidden, num_classes)

    @torch.no_grad()
    def start_from_tokens(self, ids: Tensor, vectors: Tensor, *, as_outputs: bool = False) -> None:
        """See ``StartsFromTokens``: the embedding begins with the vectors' principal components, 0 for all other tokens.

        As outputs, the head begins with the way back from these, so that the answer to a text is, but for what the components
        leave out and ``zipf``, the mean of its tokens' vectors; a network with a hidden layer cannot.

        Raises:
            ConfigError: The vectors have fewer components than E.
            VocabMismatchError: An id is outside of the vocabulary.
        """
        weight = self.embedding.weight
        if int(ids[-1]) >= len(weight):
            raise VocabMismatchError(
                f"student.init=teacher: the tokenizer has the id {int(ids[-1])} and the vocabulary {len(weight)} ids: raise "
                "student.model.vocab_size"
            )
        start, way_back = project_on_components(vectors, weight.shape[1])
        if self.zipf:
            weights = zipf_weights(len(ids))
            start *= (weights / weights.square().mean().sqrt())[:, None]
        weight.zero_()
        weight[ids] = start
        if (
            as_outputs and len(self.features) == 1 and self.head.weight.shape == way_back.shape
        ):  # dropout alone lies between
            self.head.weight.copy_(way_back)
            self.head.bias.copy_(vectors.mean(dim=0))

    def body(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Features [B, D] that the head reads."""
        mask = mask_of(ids, attention_mask)
        return self.features(self.pooling(self.embedding(ids, mask), mask))

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [B, C] of the texts."""
        return self.head(self.body(ids, attention_mask))
