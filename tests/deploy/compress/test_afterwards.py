"""Pruned after the training: how sparse, and to how many bytes."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning.config.instantiate import build_node
from kd_lightning.deploy.compress.afterwards import (
    count_zipped,
    find_sparsity,
    prune_afterwards,
    zip_files,
    zip_weights,
)
from kd_lightning.deploy.trained_model import load_trained_model
from kd_lightning.training.compression.base import list_large
from kd_lightning.training.compression.magnitude_pruning import measure_sparsity, prune_weights
from tests.deploy.runs import FinishedRun


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(100, 80), nn.Linear(80, 10))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_it_is_as_sparse_as_it_must_be(share: float) -> None:
    one = network()
    wanted = int(share * zip_weights(one))
    sparsity = find_sparsity(one, wanted)
    assert measure_sparsity(one) == 0, "it stays as it is"
    assert sparsity is not None
    for each, fits in ((sparsity, True), (sparsity - 0.05, False)):
        pruned = network()
        prune_weights(list_large(pruned), each)
        assert (zip_weights(pruned) <= wanted) == fits


def test_what_is_small_already_is_not_pruned_and_what_cannot_be_so_small_is_none() -> None:
    one = network()
    assert find_sparsity(one, zip_weights(one)) == 0.0
    assert find_sparsity(one, 1) is None


def test_bytes_are_those_of_a_deflated_stream(tmp_path: Path) -> None:
    text = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(text[:1000])
    (tmp_path / "b").write_bytes(text[1000:])
    assert zip_files([tmp_path / "a", tmp_path / "b"]) == len(zlib.compress(text)) == count_zipped([text])


def test_the_model_stays_as_it_is(own_networks: FinishedRun) -> None:
    model = load_trained_model(own_networks.run, build_node)
    pruned = prune_afterwards(model, 0.5)
    assert measure_sparsity(pruned.network) == pytest.approx(0.5, abs=0.01)
    assert measure_sparsity(model.network) < 0.1
    assert (pruned.name, pruned.labels) == (model.name, model.labels)
