"""On a GPU: the same losses and results as elsewhere, and no step waits for the host. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.terms import Divergence, HardTerm, SoftTerm
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.models.weights import load_weights
from kd_lightning.training.callbacks.checkpoints import save_weights
from kd_lightning.types import LinearLogits
from tests.losses.functional.test_chunked import ALL, DIVERGENCES, SOME, N, head, targets, teacher_head
from tests.support.tiny import experiment
from tests.teachers.test_inference import BATCH, folded, norms, residual
from tests.training.test_chunked_losses import NETWORKS
from tests.training.test_resume import STAGES, Stop, StopAfter, run
from tests.training.together.test_one_fit import JOBS, one, side_by_side, stored

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
]
GPU: dict[str, Any] = {"trainer__accelerator": "gpu"}


def loss_and_gradients(divergence: Divergence, device: str, **how: Any) -> list[torch.Tensor]:
    student, teacher = head(), teacher_head()
    parts = [tensor.detach().to(device).requires_grad_() for tensor in (student.hidden, student.weight, student.bias)]
    soft = [SoftTerm(divergence, 2.0, 0.7)]
    hard = HardTerm(targets().to(device), ALL.to(device), 0.3, label_smoothing=0.1)
    taught = LinearLogits(teacher.hidden.to(device), teacher.weight.to(device))
    loss = chunked_loss(LinearLogits(*parts), taught, SOME.to(device), hard, soft, rows=N // 2, **how).total
    return [tensor.detach().cpu() for tensor in (loss, *torch.autograd.grad(loss, parts))]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
def test_losses_by_chunks_are_those_of_the_cpu(divergence: Divergence, compiled: bool) -> None:
    found = loss_and_gradients(divergence, "cuda", compiled=compiled)
    for one_, other in zip(found, loss_and_gradients(divergence, "cpu"), strict=True):
        torch.testing.assert_close(one_, other, rtol=1e-9, atol=1e-11)


def weights(outputs: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.parent.name: load_file(path) for path in sorted(outputs.rglob("weights.safetensors"))}


HIDDEN = {"_target_": "kd_lightning.teachers.stored.hidden.Hidden", "dtype": "fp16"}
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunked": {**NETWORKS, "chunked_loss": True},
    "cached": {**NETWORKS, "chunked_loss": True, "teacher_outputs": HIDDEN},
    "bf16": {"trainer__precision": "bf16-mixed"},
    "clipped": {"trainer__gradient_clip_val": 1.0},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_is_the_same_twice_and_near_that_of_the_cpu(name: str, tmp_path: Path) -> None:
    found = experiment(tmp_path / "gpu", **GPU, **CHANGES[name]).run().records
    again = experiment(tmp_path / "again", **GPU, **CHANGES[name]).run().records
    on_cpu = experiment(tmp_path / "cpu", **CHANGES[name]).run().records
    for stage in STAGES:
        assert found[stage]["test"] == again[stage]["test"]
        assert found[stage]["test"] == pytest.approx(on_cpu[stage]["test"], rel=0.05, abs=0.02)
    one_, other = weights(tmp_path / "gpu"), weights(tmp_path / "again")
    assert all(torch.equal(one_[key][name_], other[key][name_]) for key in one_ for name_ in one_[key])


def test_a_folded_teacher_says_the_same() -> None:
    plain, teacher = folded(residual(), folded=False).cuda(), folded(residual()).cuda()
    rows = {name: tensor.cuda() for name, tensor in BATCH.items()}
    found, expected = teacher(rows).logits, plain(rows).logits
    assert found.is_cuda
    assert (norms(plain.network), norms(teacher.network)) == (6, 0)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 * float(expected.abs().max()))  # TF32


def test_an_lstm_can_be_saved_loaded_and_gone_on_with(tmp_path: Path) -> None:
    network = LSTMLM(vocab_size=7, embedding=3, hidden=4, layers=2).cuda()  # cuDNN packs its weights
    save_weights(network, tmp_path / "lstm.safetensors")
    found = load_weights(LSTMLM(vocab_size=7, embedding=3, hidden=4, layers=2), tmp_path / "lstm.safetensors")
    assert all(torch.equal(found.state_dict()[name], tensor.cpu()) for name, tensor in network.state_dict().items())


def test_a_run_that_is_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    run(tmp_path / "whole", **GPU)
    with pytest.raises(Stop):
        run(tmp_path / "parts", [StopAfter(17)], **GPU)
    run(tmp_path / "parts", **GPU)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key][name], parts[key][name]) for key in whole for name in whole[key])


@pytest.mark.parametrize("stack", [False, True], ids=["step by step", "stacked"])
def test_a_cohort_gives_what_separate_runs_give(stack: bool, tmp_path: Path) -> None:
    separate = []
    for job in JOBS:
        alone = one(tmp_path / "separate", **GPU, **job)
        alone.run()
        separate.append(stored(alone))
    found, errors, _ = side_by_side(tmp_path / "cohort", [GPU | job for job in JOBS], stack=stack)
    assert errors == [None] * len(JOBS)
    if stack:
        assert any("stacked" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]
    else:
        assert [stored(each) for each in found] == separate


class NoWaiting(pl.Callback):
    """The host may not wait for the GPU inside a step, beyond the first two, in which libraries set themselves up."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.steps += 1
        torch.cuda.set_sync_debug_mode("error" if self.steps > 2 else "default")

    def on_train_batch_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", CHANGES)
def test_no_step_waits_for_the_gpu(name: str, tmp_path: Path) -> None:
    watch = NoWaiting()
    try:
        run(tmp_path, [watch], **GPU, **CHANGES[name], log_every=1000, checkpoint_every=1000)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch.steps > 20


def test_compiled_networks_and_losses(tmp_path: Path) -> None:
    plain = experiment(tmp_path / "plain", **GPU, **CHANGES["chunked"]).run().records
    compiled = experiment(tmp_path / "compiled", **GPU, **CHANGES["chunked"], compile=True).run().records
    for stage in STAGES:
        assert compiled[stage]["test"] == pytest.approx(plain[stage]["test"], abs=0.05)  # dropout draws other numbers


def test_ddp_with_one_gpu(tmp_path: Path) -> None:
    strategy = {"trainer__strategy": {"_target_": "kd_lightning.training.distributed.strategies.SpawnedDDP"}}
    plain = experiment(tmp_path / "plain", **GPU).run().records
    found = experiment(tmp_path / "ddp", **GPU, **strategy).run().records
    for stage in STAGES:
        assert found[stage]["test"] == pytest.approx(plain[stage]["test"], abs=0.02)
