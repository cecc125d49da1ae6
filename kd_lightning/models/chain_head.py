"""Tags of a text that depend on each other: a linear-chain conditional random field, which answers with marginals.

Lafferty, McCallum & Pereira 2001. With emissions e_t = W x_t + b of the T tokens of a text, a transition A and what begins and
ends a text, s and z, a sequence y of tags has the score

    score(y) = s[y_1] + sum_t e_t[y_t] + sum_t A[y_t-1, y_t] + z[y_T],    p(y) = exp score(y) / sum over all sequences

and the logits of token t are its log-marginals ``log p(y_t = c)``, a log-softmax over c, by forward-backward in log space:

    a_1 = s + e_1,  a_t[c] = e_t[c] + logsumexp_b (a_t-1[b] + A[b, c])
    z_T = z,        z_t[b] = logsumexp_c (A[b, c] + e_t+1[c] + z_t+1[c])
    log p(y_t = c) = log_softmax_c (a_t[c] + z_t[c])

So every loss, metric and prediction by token is one of marginals: the hard loss is the mean ``-log p(y_t)``, not ``-log p(y)``
of whole sequences (Kakade, Teh & Roweis 2002), the soft loss compares marginals with what the teacher says of the token (the
posterior distillation of Wang et al. 2020, where the teacher has a chain, too), and the tag that is predicted is the most
probable one of each token, not that of the most probable sequence (Viterbi). The chain is one of tokens: those that nobody
labels, as all but the first of a word, are summed over.

Shapes: B batch, T positions, D width, C tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChainHead(nn.Linear):
    """A linear head whose answer for a token depends on those for the others; begins as one for which it does not.

    Not a plain ``nn.Linear`` for ``why_whole``: it reads a whole text, so its logits cannot be made by rows.

    Args:
        in_features: D.
        num_classes: C.

    Example:
        >>> head = ChainHead(4, 3)
        >>> states = torch.randn(2, 5, 4)
        >>> mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
        >>> torch.allclose(head(states, mask)[mask].exp().sum(dim=-1), torch.ones(7))
        True

    References:
        Lafferty, McCallum & Pereira, Conditional Random Fields, ICML 2001.
        Kakade, Teh & Roweis, An Alternate Objective Function for Markovian Fields, ICML 2002.
        Wang et al., Structure-Level Knowledge Distillation For Multilingual Sequence Labeling, ACL 2020.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes)
        self.transitions = nn.Parameter(torch.zeros(num_classes, num_classes))  # [from, to]
        self.first = nn.Parameter(torch.zeros(num_classes))
        self.last = nn.Parameter(torch.zeros(num_classes))

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-marginals [B, T, C], 0 at padding, float32 or wider.

        Args:
            states: [B, T, D].
            mask: [B, T] bool, True = a token; padding is at the end. None = all are.
        """
        emissions = super().forward(states)
        emissions = emissions.to(torch.promote_types(emissions.dtype, torch.float32))
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if mask is None else mask
        sums = self._sum_before(emissions) + self._sum_after(emissions, mask)
        return F.log_softmax(sums, dim=-1).masked_fill(~mask[..., None], 0.0)

    def _sum_before(self, emissions: Tensor) -> Tensor:
        """a [B, T, C]: all beginnings that end in a tag. What it is at padding, no token reads."""
        sums = [self.first + emissions[:, 0]]
        for emission in emissions.unbind(dim=1)[1:]:
            sums.append(emission + (sums[-1][:, :, None] + self.transitions).logsumexp(dim=1))
        return torch.stack(sums, dim=1)

    def _sum_after(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """z [B, T, C]: all that may follow a tag; ``last`` from a text's last token on."""
        sums = [self.last.expand_as(emissions[:, 0])]
        steps = zip(emissions.unbind(dim=1)[:0:-1], mask.unbind(dim=1)[:0:-1], strict=True)
        for emission, goes_on in steps:
            more = (self.transitions + (emission + sums[-1])[:, None]).logsumexp(dim=2)
            sums.append(torch.where(goes_on[:, None], more, self.last))
        return torch.stack(sums[::-1], dim=1)
