"""Vision transformer that classifies images: square patches, the encoder of ``text_transformer.py``, mean, linear head.

Dosovitskiy et al. 2021, without the class token: the mean over patches does as well (their appendix D.3). With LN layer norm:

    x = W patch + positions                                 for each patch
    x = x + attention(LN(x)),  x = x + mlp(LN(x))           once per block
    logits = head(mean over the patches of LN(x))

Shapes: B batch, T patches, D width, H heads, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models._checks import check_dropout, check_positive_integers, check_widths
from kd_lightning.models.text_transformer import EncoderBlock, initialize_encoder


class VisionTransformer(nn.Module):
    """Classify images with a transformer encoder over their patches.

    To tap: ``blocks.<i>`` and ``norm`` [B, T, D], ``blocks.<i>.attention:query`` (``:key``, ``:value``) likewise, and
    ``features`` [B, D], which is what ``body`` returns.

    Args:
        num_classes: C, >= 1.
        shape: of an image: channels, height, width, each >= 1.
        patch: height and width of a patch in pixels, >= 1; a divisor of height and width.
        width: D, width of the residual stream, >= 1, divisible by ``heads``.
        layers: number of blocks, >= 1.
        heads: H, attention heads of each block, >= 1.
        mlp_width: width of each block's inner layer, >= 1.
        dropout: probability in [0, 1) on the patches, the attention weights, each residual branch and what the head reads.

    Returns:
        logits [B, C] for inputs [B, *shape] float.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.

    Example:
        >>> import torch
        >>> network = VisionTransformer(10, (3, 8, 8), patch=4, width=8, layers=1, heads=2, mlp_width=16)
        >>> inputs = torch.zeros(2, 3, 8, 8)
        >>> network.body(inputs).shape, network(inputs).shape
        (torch.Size([2, 8]), torch.Size([2, 10]))

    Reference:
        Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021.
    """

    def __init__(
        self,
        num_classes: int,
        shape: Sequence[int],
        patch: int = 4,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        mlp_width: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "patch": patch, "width": width, "layers": layers, "heads": heads}
        check_positive_integers("VisionTransformer", **sizes, mlp_width=mlp_width)
        check_dropout("VisionTransformer", dropout)
        sides = check_widths("VisionTransformer", "shape", shape, at_least=1)
        if len(sides) != 3:
            raise ConfigError(
                f"VisionTransformer: shape={list(shape)} is no image; set it to [channels, height, width]"
            )
        channels, height, wide = sides
        if height % patch or wide % patch:
            raise ConfigError(
                f"VisionTransformer: patch={patch} does not divide images of {height} x {wide}; set patch to a divisor"
            )
        if width % heads:
            raise ConfigError(f"VisionTransformer: heads={heads} does not divide width={width}; set heads to a divisor")

        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.positions = nn.Embedding(height // patch * (wide // patch), width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, mlp_width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.features = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        initialize_encoder(self, layers)

    def body(self, inputs: Tensor) -> Tensor:
        """Features [B, D] that the head reads, for images ``inputs`` [B, *shape]."""
        states = self.dropout(self.patches(inputs).flatten(2).mT + self.positions.weight)  # [B, T, D]
        for block in self.blocks:
            states = block(states)
        return self.features(self.norm(states).mean(dim=1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C] for images ``inputs`` [B, *shape]."""
        return self.head(self.body(inputs))
