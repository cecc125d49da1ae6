"""Agreement, calibration and class scores: against loops and torchmetrics, however the rows are batched or shared."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from kd_lightning.tasks.calibration import calibration_error
from kd_lightning.tasks.class_scores import score_classes
from kd_lightning.tasks.predictions import Predictions
from tests.tasks.test_metrics import CLASSES, LENGTH, ROWS, example

PARTS = [[0, 1, 2, 3, 4, 5, 6, 7, 8]], [[8, 2, 4], [0, 5], [7, 6, 1, 3]], [[row] for row in range(ROWS)]


def fed(data: dict[str, Tensor], parts: list[list[int]]) -> Predictions:
    metric = Predictions()
    for rows in parts:
        metric.update(*(data[name][rows] for name in ("logits", "targets", "mask", "index")))
    return metric


def naive(data: dict[str, Tensor]) -> list[tuple[int, float, int]]:
    """Predicted class, its probability and target of each counted position, by loops."""
    found = []
    for row in range(ROWS):
        for position in range(LENGTH):
            if data["mask"][row, position]:
                logits = data["logits"][row, position].tolist()
                masses = [math.exp(value) for value in logits]
                found.append(
                    (logits.index(max(logits)), max(masses) / sum(masses), int(data["targets"][row, position]))
                )
    return found


def naive_error(positions: list[tuple[int, float, int]]) -> float:
    """Guo et al.'s formula, bin by bin."""
    error = 0.0
    for m in range(1, 16):
        inside = [p for p in positions if (m - 1) / 15 < p[1] <= m / 15]
        if inside:
            accuracy = sum(predicted == target for predicted, _, target in inside) / len(inside)
            confidence = sum(confidence for _, confidence, _ in inside) / len(inside)
            error += len(inside) / len(positions) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("parts", PARTS)
def test_positions_are_those_of_a_loop_in_the_order_of_rows(parts: list[list[int]]) -> None:
    data = example()
    found, expected = fed(data, parts).positions(), naive(data)
    assert found["predicted"].tolist() == [predicted for predicted, _, _ in expected]
    assert found["targets"].tolist() == [target for _, _, target in expected]
    assert found["confidence"].tolist() == pytest.approx([confidence for _, confidence, _ in expected], rel=1e-6)


@pytest.mark.parametrize("parts", PARTS)
def test_calibration_error_is_the_papers_and_the_same_bits_however_batched(parts: list[list[int]]) -> None:
    data = example()
    found = fed(data, parts).compute()
    assert torch.equal(found, fed(data, PARTS[0]).compute())
    assert found.item() == pytest.approx(naive_error(naive(data)), abs=1e-6)
    logits, targets = data["logits"][data["mask"]], data["targets"][data["mask"]]
    assert found.item() == pytest.approx(multiclass_calibration_error(logits, targets, CLASSES).item(), abs=1e-6)


def test_rows_shared_by_two_processes_give_the_same_bits() -> None:
    data = example()
    shares = [fed(data, [[row] for row in range(rank, ROWS, 2)]) for rank in (0, 1)]
    for name in ("predicted", "confidence", "targets", "counts", "index"):  # how torchmetrics gathers
        getattr(shares[0], name).extend(getattr(shares[1], name))
    assert torch.equal(shares[0].compute(), fed(data, PARTS[0]).compute())
    assert all(
        torch.equal(tensor, fed(data, PARTS[0]).positions()[name]) for name, tensor in shares[0].positions().items()
    )


def test_edges_of_the_bins() -> None:
    def error(confidence: list[float], correct: list[bool]) -> float:
        return calibration_error(torch.tensor(confidence), torch.tensor(correct))

    assert error([1.0, 1.0], [True, True]) == 0.0
    assert error([1.0, 1.0, 1.0, 1.0], [True, True, True, False]) == 0.25
    assert error([0.5, 0.5], [True, False]) == 0.0
    # Two bins that are wrong in opposite directions do not cancel.
    assert error([0.75, 0.25], [False, True]) == 0.75
    assert math.isnan(error([math.nan, 0.5], [True, True]))
    assert math.isnan(error([], []))


def test_class_scores_are_those_of_torchmetrics_and_undefined_ones_are_none() -> None:
    generator = torch.Generator().manual_seed(1)
    predicted, targets = torch.randint(4, (60,), generator=generator), torch.randint(4, (60,), generator=generator)
    found = score_classes(predicted, targets, 4)
    for name, oracle in (
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ):
        assert found[name] == pytest.approx(oracle(predicted, targets, 4, average="none").tolist(), abs=1e-6)
    # Class 2 was never predicted, class 1 never a target, class 3 neither; a class above the data's is just wrong.
    assert score_classes(torch.tensor([0, 1, 7]), torch.tensor([0, 2, 0]), 4) == {
        "rows": [2, 0, 1, 0],
        "precision": [1.0, 0.0, None, None],
        "recall": [0.5, None, 0.0, None],
        "f1": [2 / 3, 0.0, 0.0, None],
    }


def test_scores_of_whole_rows_have_classes_and_those_of_positions_have_none() -> None:
    data = example()
    by_position = fed(data, PARTS[0]).scores(CLASSES)
    expected = naive(data)
    assert set(by_position) == {"positions", "majority_share", "accuracy", "calibration_error", "predicted_classes"}
    assert by_position["positions"] == len(expected)
    assert by_position["majority_share"] == Counter(t for _, _, t in expected).most_common(1)[0][1] / len(expected)
    assert by_position["accuracy"] == sum(predicted == target for predicted, _, target in expected) / len(expected)
    metric = Predictions()
    logits, targets = data["logits"][:, 0], data["targets"][:, 0]
    metric.update(logits, targets, torch.ones(ROWS, dtype=torch.bool), data["index"])
    by_row = metric.scores(CLASSES)
    assert by_row["predicted_classes"] == len(set(logits.argmax(-1).tolist()))
    assert by_row["macro_f1"] == pytest.approx(multiclass_f1_score(logits, targets, CLASSES, average="macro").item())
    assert by_row["by_class"]["recall"] == score_classes(logits.argmax(-1), targets, CLASSES)["recall"]


def test_wild_logits_where_nothing_counts_change_nothing() -> None:
    data = example()
    wild = {**data, "logits": data["logits"].masked_fill(~data["mask"].unsqueeze(-1), math.nan)}
    assert torch.equal(fed(wild, PARTS[0]).compute(), fed(data, PARTS[0]).compute())
