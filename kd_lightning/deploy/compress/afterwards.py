"""Models pruned after their training, without another step: what pruning alone is worth."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torch import nn

from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.training.compression.base import list_large
from kd_lightning.training.compression.magnitude_pruning import prune_weights

CLOSE = 0.02
"""How far the bytes of a pruned network may be from those that are wanted, as a share of them."""
TRIES = 12
BYTES_AT_ONCE = 1 << 20


def prune_afterwards(model: TrainedModel, sparsity: float) -> TrainedModel:
    """The model with the smallest weights of each layer zero; the given one stays as it is.

    Args:
        model: Any.
        sparsity: Share of the weights of each matrix, embedding and convolution, in [0, 1].
    """
    network = copy.deepcopy(model.network)
    prune_weights(list_large(network), sparsity)
    return replace(model, network=network)


def find_sparsity(network: nn.Module, wanted: int) -> float | None:
    """How sparse the network must be for its zipped weights to be no larger than so many bytes.

    Args:
        network: Stays as it is.
        wanted: Bytes, as ``zip_weights`` counts them.

    Returns:
        None where biases and norms alone are more.
    """

    def size_at(sparsity: float) -> int:
        pruned = copy.deepcopy(network)
        prune_weights(list_large(pruned), sparsity)
        return zip_weights(pruned)

    if size_at(0.0) <= wanted:
        return 0.0
    if size_at(1.0) > wanted:
        return None
    low, high = 0.0, 1.0
    for _ in range(TRIES):
        middle = (low + high) / 2
        size = size_at(middle)
        low, high = (middle, high) if size > wanted else (low, middle)
        if (1 - CLOSE) * wanted <= size <= wanted:
            break
    return high


def zip_weights(network: nn.Module) -> int:
    """Bytes of a network's parameters, zipped in haste."""
    pieces = (each.detach().cpu().contiguous().numpy().tobytes() for each in network.parameters())
    return count_zipped(pieces, zlib.Z_BEST_SPEED)


def zip_files(paths: Iterable[Path]) -> int:
    """Bytes of files, zipped one after the other."""
    return count_zipped(piece for path in paths for piece in read_pieces(path))


def read_pieces(path: Path) -> Iterable[bytes]:
    """A file's bytes, a piece at a time."""
    with path.open("rb") as file:
        while piece := file.read(BYTES_AT_ONCE):
            yield piece


def count_zipped(pieces: Iterable[bytes], level: int = zlib.Z_DEFAULT_COMPRESSION) -> int:
    """Bytes of the pieces as one stream of DEFLATE."""
    packer = zlib.compressobj(level)
    return sum(len(packer.compress(piece)) for piece in pieces) + len(packer.flush())
