"""Evaluation by parts of a batch: the numbers of whole logits, of as many rows at a time as the budget holds, one at least."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from kd_lightning.losses.functional.chunked import loss as chunked
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.models.mlp import MLP
from kd_lightning.tasks.batched_logits import logits_by_parts
from kd_lightning.tasks.examples import ArrayExample, TokenExample
from kd_lightning.tasks.metrics import Accuracy, Perplexity
from kd_lightning.tasks.position import PositionTask
from kd_lightning.tasks.predictions import Predictions

CLASSES, ROWS, CONTEXT = 50, 7, 5
TASK = PositionTask(
    CLASSES, {"perplexity": Perplexity(), "accuracy": Accuracy()}, "perplexity", TokenExample(CLASSES, CONTEXT)
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return LSTMLM(CLASSES, embedding=4, hidden=6, layers=1).eval().double()


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(CLASSES, (ROWS, CONTEXT + 1), generator=generator)
    mask = torch.rand(ROWS, CONTEXT, generator=generator) < 0.7
    labeled = torch.arange(ROWS) != 2
    return {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "mask": mask,
        "labeled": labeled,
        "index": torch.arange(ROWS) + 10,
    }


def evaluated(by_parts: bool) -> tuple[dict[str, float], list[int]]:
    metrics, lengths = TASK.metrics(), []
    with torch.no_grad():
        for part, logits in logits_by_parts(TASK, network(), batch(), by_parts):
            lengths.append(len(logits))
            TASK.update(metrics, logits, TASK.align(part, logits), part)
    return {name: float(value) for name, value in metrics.compute().items()}, lengths


def test_predictions_are_those_of_whole_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "FEWEST_ROWS", 10)
    monkeypatch.setitem(chunked.LOGIT_CHUNK_BYTES, "cpu", 1)

    def predictions(by_parts: bool) -> Predictions:
        found = Predictions()
        metrics = MetricCollection({"predictions": found}, compute_groups=False)
        with torch.no_grad():
            for part, logits in logits_by_parts(TASK, network(), batch(), by_parts):
                assert not by_parts or len(logits) <= 2  # whole logits are never there
                TASK.update(metrics, logits, TASK.align(part, logits), part)
        return found

    whole, parts = predictions(by_parts=False), predictions(by_parts=True)
    assert torch.equal(parts.positions()["predicted"], whole.positions()["predicted"])
    assert len(whole.positions()["predicted"]) == int((batch()["mask"] & batch()["labeled"][:, None]).sum())
    assert parts.scores(CLASSES) == pytest.approx(whole.scores(CLASSES), rel=1e-6)


@pytest.mark.parametrize(("fewest", "lengths"), [(1, [1] * 7), (10, [2, 2, 2, 1]), (64, [7])])
def test_metrics_are_those_of_whole_logits(fewest: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "FEWEST_ROWS", fewest)
    monkeypatch.setitem(chunked.LOGIT_CHUNK_BYTES, "cpu", 1)
    whole, one = evaluated(by_parts=False)
    found, parts = evaluated(by_parts=True)
    assert (one, parts) == ([ROWS], lengths)
    assert found == pytest.approx(whole, rel=1e-6)


def test_logits_of_a_part_are_those_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "FEWEST_ROWS", 10)
    monkeypatch.setitem(chunked.LOGIT_CHUNK_BYTES, "cpu", 1)
    whole = network()(batch()["inputs"])
    parts = list(logits_by_parts(TASK, network(), batch(), chunked=True))
    torch.testing.assert_close(torch.cat([logits for _, logits in parts]), whole)
    assert torch.equal(torch.cat([part["index"] for part, _ in parts]), batch()["index"])


def test_an_image_is_one_position() -> None:
    task = PositionTask(3, {"accuracy": Accuracy()}, "accuracy", ArrayExample([4]))
    rows = {"inputs": torch.randn(130, 4), "targets": torch.zeros(130, dtype=torch.int64), "index": torch.arange(130)}
    torch.manual_seed(0)
    small = MLP(num_classes=3, in_features=4).eval()
    (part, logits), *more = logits_by_parts(task, small, rows, chunked=True)
    assert (len(part["index"]), tuple(logits.shape), more) == (130, (130, 3), [])
