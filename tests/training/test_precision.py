"""bf16-mixed on the CPU: every stage and the evaluation run in it, what is stored stays float32."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.precision import PlainMixedPrecision, with_possible_precision
from tests.support.cli import kd, text_words, texts
from tests.support.processes import in_two
from tests.support.tiny import experiment
from tests.training.test_resume import STAGES


class Types(pl.Callback):
    """Keeps the types that the networks compute in, and those of the losses."""

    def __init__(self, found: dict[str, set[torch.dtype]]) -> None:
        self.found = found

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        def note(name: str) -> Any:
            return lambda _module, _args, output: self.found.setdefault(name, set()).add(output.dtype)

        module.network.register_forward_hook(note("student"))
        if isinstance(module, DistillationModule):
            module.teacher.network.register_forward_hook(note("teacher"))  # type: ignore[union-attr, operator]

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        self.found.setdefault("losses", set()).update(term.dtype for term in module.terms.values())


def run(outputs: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, set[torch.dtype]]]:
    found: dict[str, set[torch.dtype]] = {}
    one = experiment(outputs, **changes)
    one.builder.__dict__["trainer"] = replace(one.builder.trainer, callbacks=lambda: [Types(found)])
    return one.run().records, found


def weights(outputs: Path) -> list[Tensor]:
    return [t for path in outputs.glob("store/*/*/weights.safetensors") for t in load_file(path).values()]


def test_all_stages_compute_in_bfloat16_and_store_float32(tmp_path: Path) -> None:
    records, found = run(tmp_path, trainer__precision="bf16-mixed")
    assert found == {"student": {torch.bfloat16}, "teacher": {torch.bfloat16}, "losses": {torch.float32}}
    assert set(records) == set(STAGES)
    assert all(math.isfinite(record["val"]) and math.isfinite(record["test"]) for record in records.values())
    assert {tensor.dtype for tensor in weights(tmp_path) if tensor.is_floating_point()} == {torch.float32}
    full, plain = run(tmp_path)
    assert plain == {name: {torch.float32} for name in plain}
    for stage in STAGES:
        assert records[stage]["store_key"] != full[stage]["store_key"]
        assert records[stage]["val"] != full[stage]["val"]
        assert records[stage]["val"] == pytest.approx(full[stage]["val"], rel=0.1)


def test_gradients_of_a_fused_optimizer_are_clipped(tmp_path: Path) -> None:
    """Lightning refuses that under mixed precision, unless told that the gradients are not scaled."""
    run(tmp_path / "not", trainer__precision="bf16-mixed")
    run(tmp_path / "clipped", trainer__precision="bf16-mixed", trainer__gradient_clip_val=1e-3)
    pairs = zip(weights(tmp_path / "not"), weights(tmp_path / "clipped"), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


def test_in_two_processes_as_well(tmp_path: Path) -> None:
    records = experiment(tmp_path, trainer__precision="bf16-mixed", **in_two()).run().records
    assert all(math.isfinite(record["val"]) and math.isfinite(record["test"]) for record in records.values())


def test_an_lstm_runs_where_the_cpu_has_no_bfloat16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default networks. On such a CPU torch's own way ends in an error of oneDNN."""
    words = text_words(texts(tmp_path / "texts"))
    answer = kd(capsys, "run", *words, "trainer.precision=bf16-mixed", f"outputs={tmp_path / 'outputs'}")
    assert answer.code == 0, answer.err


def test_the_way_around_is_taken_only_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    for supported in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda found=supported: found)
        for precision in ("bf16-mixed", "32-true"):
            trainer = with_possible_precision(pl.Trainer(accelerator="cpu", precision=precision, logger=False))
            taken = isinstance(trainer.precision_plugin, PlainMixedPrecision)
            assert taken == (precision == "bf16-mixed" and not supported)
            assert trainer.precision == precision
    with trainer.precision_plugin.forward_context():
        assert torch.backends.mkldnn.enabled
    before = torch.backends.mkldnn.enabled
    with PlainMixedPrecision("bf16-mixed", "cpu").forward_context():
        assert not torch.backends.mkldnn.enabled
        assert torch.is_autocast_enabled("cpu")
    assert torch.backends.mkldnn.enabled == before
