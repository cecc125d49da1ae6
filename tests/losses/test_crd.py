"""CRD: the contrast by loops, what the banks remember, and a run that is stopped and goes on as if it had not been."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.contrast import contrastive_nats
from kd_lightning.losses.relations.crd import CRD, Contrast, row_feature
from kd_lightning.types import Aligned, Outputs
from tests.losses.relations import MASK, PAIR, features
from tests.support.processes import in_two
from tests.support.tiny import experiment
from tests.training.test_resume import Stop, StopAfter, run, stored

ROWS = 8
INDEX = torch.tensor([6, 0, 3, 5, 1])
ALIGNED = Aligned(None, MASK, MASK, INDEX)


def built(**settings: Any) -> CRD:
    torch.manual_seed(0)
    loss = CRD(PAIR, **{"width": 4, **settings})
    loss.expect_rows(ROWS)
    loss.build({"0": features(0, 3)}, {"0": features(1, 2)})
    return loss.double()


def value(loss: CRD, student: Tensor, teacher: Tensor, aligned: Aligned = ALIGNED) -> Tensor:
    logits = torch.zeros(5, 2)
    return loss(Outputs(logits, {"0": student}), Outputs(logits, {"0": teacher}), aligned, 1.0)


def embeddings(loss: CRD, side: int, feature: Tensor) -> list[list[float]]:
    weight, bias = (parameter.tolist() for parameter in loss.contrasts["0"].embeddings[side].parameters())
    found = []
    for row in feature.tolist():
        mapped = [sum(w * x for w, x in zip(ws, row, strict=True)) + b for ws, b in zip(weight, bias, strict=True)]
        found.append([each / math.hypot(*mapped) for each in mapped])
    return found


def contrast_loss(anchors: list[list[float]], bank: list[list[float]], kept: list[int]) -> float:
    """By the paper's h, with all other rows as negatives and Z from this batch; mean over the rows that count."""

    def power(i: int, row: int) -> float:
        return math.exp(sum(a * b for a, b in zip(anchors[i], bank[row], strict=True)) / 0.07)

    index = INDEX.tolist()
    others = {i: [row for row in range(ROWS) if row != index[i]] for i in kept}
    powers = [power(i, row) for i in kept for row in range(ROWS)]
    z = ROWS * sum(powers) / len(powers)
    total = 0.0
    for i in kept:
        h = {row: power(i, row) / z / (power(i, row) / z + len(others[i]) / ROWS) for row in range(ROWS)}
        total -= math.log(h[index[i]]) + sum(math.log(1 - h[row]) for row in others[i])
    return total / len(kept)


def test_it_is_the_paper_s_formula_with_the_authors_normalizer() -> None:
    loss, student, teacher = built(), features(0, 3), features(1, 2)
    banks = loss.contrasts["0"].banks.tolist()
    kept = MASK.nonzero().flatten().tolist()
    expected = contrast_loss(embeddings(loss, 0, student), banks[1], kept)
    expected += contrast_loss(embeddings(loss, 1, teacher), banks[0], kept)
    assert value(loss, student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    def after_the_first_batch(student: Tensor) -> Tensor:
        loss = built()
        loss.contrasts["0"].log_means.fill_(0.3)  # else the normalizer moves with the student, and counts as fixed
        return value(loss, student, features(1, 2))

    assert torch.autograd.gradcheck(after_the_first_batch, features(0, 3).requires_grad_())


def test_the_normalizer_is_that_of_the_first_batch_that_counts() -> None:
    loss, teacher = built(), features(1, 2)
    nothing = replace(ALIGNED, mask=torch.zeros_like(MASK))
    assert value(loss, features(0, 3), teacher, nothing).item() == 0
    contrast = loss.contrasts["0"]
    assert contrast.log_means.isnan().all()
    value(loss, features(0, 3), teacher)
    first = contrast.log_means.clone()
    value(loss, features(2, 3), teacher)
    assert torch.equal(contrast.log_means, first)
    assert first.isfinite().all()


def test_banks_learn_of_the_rows_that_count() -> None:
    loss, student, teacher = built(), features(0, 3), features(1, 2)
    before = loss.contrasts["0"].banks.clone()
    value(loss, student, teacher).backward()  # the gradient is of the banks as they were
    after = loss.contrasts["0"].banks
    for side, feature in enumerate((student, teacher)):
        new = torch.tensor(embeddings(loss, side, feature), dtype=torch.float64)
        for i, row in enumerate(INDEX.tolist()):
            mixed = 0.5 * before[side, row] + 0.5 * new[i] if MASK[i] else before[side, row]
            torch.testing.assert_close(after[side, row], mixed / mixed.norm())
        for row in set(range(ROWS)) - set(INDEX.tolist()):
            assert torch.equal(after[side, row], before[side, row])


def test_others_are_never_the_row_itself_and_follow_the_seed() -> None:
    loss = built(negatives=5)
    torch.manual_seed(1)
    drawn = torch.cat([loss.other_rows(INDEX) for _ in range(50)], dim=1)
    assert drawn.shape == (5, 250)
    for own, row in zip(INDEX.tolist(), drawn.tolist(), strict=True):
        assert set(row) == set(range(ROWS)) - {own}
    torch.manual_seed(1)
    assert torch.equal(loss.other_rows(INDEX), drawn[:, :5])
    every = built(negatives=7).other_rows(INDEX)
    assert [row.tolist() for row in every] == [[j for j in range(ROWS) if j != own] for own in INDEX.tolist()]


def test_a_row_s_feature_is_the_mean_of_what_counts_of_it() -> None:
    words = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert row_feature(words, mask).tolist() == [[2.0, 3.0], [0.0, 0.0]]
    assert row_feature(words, torch.tensor([True, True])).tolist() == [[2.0, 3.0], [8.0, 9.0]]
    assert row_feature(words.reshape(2, 1, 2, 3), torch.tensor([True, True])).tolist() == [[2.5], [8.5]]
    assert row_feature(words[:, 0], mask).tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_far_similarities_are_finite() -> None:
    own = torch.tensor([-1.0, 1.0], requires_grad=True)
    found = contrastive_nats(own, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), 1e-4, torch.tensor(0.0)).sum()
    assert found.isfinite()
    assert torch.autograd.grad(found, own)[0].isfinite().all()


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"negatives": 0}, {"contrast_temperature": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}]
)
def test_impossible_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"loss\.crd"):
        CRD(PAIR, **wrong)


def test_it_needs_to_know_the_rows() -> None:
    with pytest.raises(ConfigError, match="no other row"):
        CRD(PAIR).expect_rows(1)
    with pytest.raises(ConfigError, match="which row is which"):
        value(built(), features(0, 3), features(1, 2), replace(ALIGNED, index=None))


NODE = {
    "_target_": "kd_lightning.losses.relations.crd.CRD",
    "match": [{"student": "first", "teacher": "first"}],
    "width": 4,
    "negatives": 6,
    "weight": 0.8,
}


def test_a_stopped_run_goes_on_with_its_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"loss__crd": NODE, "teacher__steps": 1, "student__pretrain_steps": 0, "student__steps": 6}
    run(tmp_path / "whole", **changes)
    whole = stored(tmp_path / "whole")

    def stopped_and_resumed(folder: Path) -> dict[str, bytes]:
        with pytest.raises(Stop):
            run(folder, [StopAfter(1 + 6 + 4)], **changes)
        run(folder, **changes)
        return stored(folder)

    assert stopped_and_resumed(tmp_path / "stopped") == whole
    weights = next((tmp_path / "whole" / "store" / "distill").glob("*/weights.safetensors"))
    student = experiment(tmp_path / "whole", **changes).builder.network("student")
    assert set(load_file(weights)) == set(student.state_dict())

    # The positive control: banks that are not in the checkpoints begin at random again.
    register = Contrast.register_buffer
    monkeypatch.setattr(Contrast, "register_buffer", lambda *given: register(*given, persistent=False))
    assert stopped_and_resumed(tmp_path / "forgetful") != whole


def test_in_two_processes_the_banks_learn_of_all_rows(tmp_path: Path) -> None:
    """An epoch of pre-training: 5 steps of 8 of the 40 rows, 4 in each process."""
    sizes = {"teacher__steps": 1, "student__steps": 6, "student__pretrain_steps": 5, "validate_every": 5}
    one = experiment(tmp_path, loss__crd=NODE, **sizes, **in_two())
    one.run()
    carried = load_file(one.entry("pretrain").path("losses.safetensors"))
    (name,) = (name for name in carried if name.endswith("banks"))
    start = one.builder.losses()["crd"].state_dict()[name.removeprefix("crd.")]
    moved = (carried[name] != start).any(dim=-1)
    assert moved.shape == (2, 40)
    assert moved.all()


CLASSES = [0, 1, 0, 1, 0, 1, 0, 1]
"""Of the training rows."""


def test_rows_of_its_own_class_are_no_negatives_once_their_labels_were_read() -> None:
    loss, student, teacher = built(), features(0, 3), features(1, 2)
    contrast = loss.contrasts["0"]
    contrast.log_means.fill_(0.3)
    labeled = torch.tensor([True, True, True, False, True])  # of rows 6, 0, 3, 5, 1; row 3 does not count
    aligned = Aligned(torch.tensor([CLASSES[i] for i in INDEX.tolist()]), MASK, labeled, INDEX)
    banks = contrast.banks.tolist()
    index, kept = INDEX.tolist(), MASK.nonzero().flatten().tolist()
    known = {index[i] for i in range(5) if labeled[i] and MASK[i]}
    expected = 0.0
    for anchors, bank in ((embeddings(loss, 0, student), banks[1]), (embeddings(loss, 1, teacher), banks[0])):
        for i in kept:
            own = CLASSES[index[i]] if index[i] in known else None
            others = [j for j in range(ROWS) if j != index[i] and (own is None or j not in known or CLASSES[j] != own)]
            even = 0.3 + math.log(len(others))

            def logit(row: int, anchor: list[float] = anchors[i], bank: list[list[float]] = bank) -> float:
                return sum(a * b for a, b in zip(anchor, bank[row], strict=True)) / 0.07

            told = math.log1p(math.exp(even - logit(index[i])))
            expected += (told + sum(math.log1p(math.exp(logit(j) - even)) for j in others)) / len(kept)
    assert value(loss, student, teacher, aligned).item() == pytest.approx(expected, abs=1e-6)
    assert [contrast.classes[row].item() for row in range(ROWS)] == [
        CLASSES[row] if row in known else -1 for row in range(ROWS)
    ]
    every = built(same_class=True)
    every.contrasts["0"].log_means.fill_(0.3)
    assert value(every, student, teacher, aligned).item() != pytest.approx(expected, abs=1e-3)
    assert (every.contrasts["0"].classes == -1).all()


def test_a_row_without_negatives_adds_nothing() -> None:
    own = torch.tensor([0.3, 0.2], dtype=torch.float64, requires_grad=True)
    others = torch.tensor([[0.1, 0.5], [0.4, 0.1]], dtype=torch.float64, requires_grad=True)
    allowed = torch.tensor([[True, False], [False, False]])
    found = contrastive_nats(own, others, 0.5, torch.tensor(0.1, dtype=torch.float64), allowed)
    assert found[1] == 0
    assert found[0] == contrastive_nats(own[:1], others[:1, :1], 0.5, torch.tensor(0.1, dtype=torch.float64))[0]
    for gradient in torch.autograd.grad(found.sum(), (own, others)):
        assert gradient.isfinite().all()
        assert not gradient[1].any()
