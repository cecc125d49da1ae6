"""Every network of ``conf/model`` can be exported, and answers as before. Files are found by glob: a new one is tested when its
YAML is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_lightning.cli.predict import make_answer
from kd_lightning.deploy.export.bundle import write_parts
from kd_lightning.deploy.export.formats import FORMATS
from kd_lightning.deploy.export.inference import Model
from kd_lightning.deploy.export.parity import list_rows, measure_parity
from kd_lightning.deploy.export.traced_network import make_example
from kd_lightning.deploy.predictor import Predictor
from tests.deploy.untrained import UntrainedRun, make_untrained_run
from tests.support.conf_jobs import UNSET, names, overrides_for, write_rows

MODELS = names("model")
ALWAYS = ("bilstm", "convnet_tiny", "hf", "lstm_lm_tiny", "transformer_tagger")
"""One of each kind; `make full` tests the others."""
GRAPHS = ("onnx", "torch_export", "safetensors")
PARAMETERS = [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.full) for name in MODELS]


@pytest.fixture(scope="module", autouse=True)
def own_rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    write_rows(folder)
    with chdir(folder):
        yield


def untrained(name: str, folder: Path, *more: str) -> UntrainedRun:
    """A run of a job that the network fits into."""
    if name.startswith("hf"):
        pytest.importorskip("transformers")
    words = (*overrides_for("model", name), *UNSET.get(f"model/{name}", ()), "data.limit=40", *more)
    return make_untrained_run(folder, *words)


def formats_of(name: str) -> list[str]:
    """Those that its network can have here."""
    there = [*GRAPHS, *(["hf"] if name in ("hf", "hf_tagger") else [])]
    return there if importlib.util.find_spec("onnxruntime") else [each for each in there if each != "onnx"]


def test_known_networks_are_found() -> None:
    assert set(ALWAYS) <= set(MODELS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_export_answers_as_the_network_did(name: str, tmp_path: Path) -> None:
    found = untrained(name, tmp_path)
    model, example = found.model, make_example(found.model)
    for form in formats_of(name):
        folder = tmp_path / form
        folder.mkdir()
        write_parts(model, FORMATS[form], example, folder)
        parity = measure_parity(model, folder, found.table, found.settings, model.task)
        parity.check(FORMATS[form].tolerance, FORMATS[form])
        assert parity.rows == len(found.table) > 0
        bundle = Model(folder)
        assert bundle.check() == "", form
        assert_any_shape(found, bundle)


@pytest.mark.parametrize("task", names("task"))
def test_predictions_are_those_of_kd_predict(task: str, tmp_path: Path) -> None:
    words = overrides_for("task", task)
    if task == "embedding":
        pytest.importorskip("transformers")
    found = make_untrained_run(tmp_path, *words, "data.limit=40")
    model, folder = found.model, tmp_path / "bundle"
    folder.mkdir()
    write_parts(model, FORMATS["safetensors"], make_example(model), folder)
    bundle = Model(folder)
    assert bundle.check() == ""
    if bundle.about["reads"] == "tokens":
        assert_next_tokens(found, bundle)
        return
    table, predictor = found.table, Predictor(model)
    rows = table.column("inputs").take(torch.arange(len(table))).numpy() if model.reads_arrays else [*list_rows(table)]
    said = bundle.predict(rows)
    assert len(said) == len(rows) == len(table) > 0
    if model.reads_words:
        for answer, wanted in zip(said, predictor.predict_words(rows), strict=True):
            best = wanted.max(dim=-1)
            assert answer["tags"] == [model.labels[number] for number in best.indices.tolist()]
            assert answer["scores"] == pytest.approx(best.values.tolist(), abs=1e-5)
        return
    for row, answer, scores in zip(rows, said, predictor.predict_rows(table), strict=True):
        wanted = make_answer({}, scores, model, False)
        if isinstance(wanted.label, tuple):
            assert answer == {"vector": pytest.approx(wanted.label, abs=1e-5)}
        elif isinstance(wanted.label, list):
            assert answer == {"labels": wanted.label, "scores": pytest.approx(wanted.score, abs=1e-5)}
        elif isinstance(wanted.label, float):
            assert answer == {"value": pytest.approx(wanted.label, abs=1e-5)}
        else:
            assert answer == {"label": wanted.label, "score": pytest.approx(wanted.score, abs=1e-5)}, row


def assert_next_tokens(found: UntrainedRun, bundle: Model) -> None:
    """The likeliest next tokens of a text, by the network itself."""
    (answer,) = bundle.predict(["the people of"])
    ids = bundle.tokenizer.encode("the people of").ids
    with torch.inference_mode():
        best = found.model.network(torch.tensor([ids]))[0, -1].softmax(dim=-1).topk(5)
    assert [each["token"] for each in answer["next"]] == [
        bundle.tokenizer.id_to_token(n) for n in best.indices.tolist()
    ]
    assert [each["score"] for each in answer["next"]] == pytest.approx(best.values.tolist(), abs=1e-5)


def assert_any_shape(found: UntrainedRun, bundle: Model) -> None:
    """Outputs are those of the network for one row and for many, short and long."""
    model, about = found.model, bundle.about
    longest = about["max_length"] or 12
    for rows, length in ((1, 1), (1, min(longest, 9)), (5, 3), (2, min(longest, 12))):
        fed: dict[str, Any] = {}
        for name in about["inputs"]:
            if name == "attention_mask":
                fed[name] = torch.arange(length) < torch.tensor([[max(1, length - row)] for row in range(rows)])
            elif name == "inputs":
                fed[name] = torch.rand(rows, *about["shape"], generator=torch.Generator().manual_seed(rows))
            else:
                fed[name] = (torch.arange(rows * length) % 3).reshape(rows, length)
        first, *named = about["inputs"]
        with torch.inference_mode():
            wanted = model.network(fed[first], **{name: fed[name] for name in named}).numpy()
        said = bundle.run({name: each.numpy() for name, each in fed.items()})
        if about["run_time"] == "transformers":
            said = said[..., [about["labels"].index(label) for label in model.labels]]
        np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-5)
