"""Whole runs on words with tags, teacher and student with tokenizers that split words differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import ConfigError, SequenceTooLongError
from tests.support.tagging import tagger, tagging_settings, write_tagged
from tests.support.tiny import experiment

STORED = "kd_lightning.teachers.stored"


def run(folder: Path, **changes: Any) -> dict[str, dict[str, float]]:
    """The test metrics of each model."""
    path = folder.parent / "rows.txt"
    if not path.is_file():
        write_tagged(path)
    found = experiment(folder, **tagging_settings(path, **changes)).run()
    return {stage: record["metrics"] for stage, record in found.records.items() if "metrics" in record}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, float]]]:
    folder = tmp_path_factory.mktemp("tagging") / "live"
    return folder, run(folder, teacher__steps=40, student__steps=40)


def test_spans_are_learned(live: tuple[Path, dict[str, dict[str, float]]]) -> None:
    _, metrics = live
    assert set(metrics) == {"teacher", "baseline", "pretrain", "distill"}
    for model in ("teacher", "baseline", "distill"):
        assert metrics[model]["accuracy"] > 0.8
        assert metrics[model]["span_f1"] > 0.8


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": f"{STORED}.logits.AllLogits"},
        {"_target_": f"{STORED}.hidden.Hidden", "dtype": "bf16"},
        {"_target_": f"{STORED}.topk.TopK", "k": 5, "missing_mass": "uniform"},
    ],
    ids=["logits", "hidden", "topk"],
)
def test_stored_outputs_teach_as_live_ones_do(node: dict[str, Any], live: tuple[Path, Any]) -> None:
    folder, expected = live
    metrics = run(folder, teacher__steps=40, student__steps=40, teacher_outputs=node)
    assert metrics["baseline"] == expected["baseline"]
    assert metrics["distill"] != expected["distill"], "the control: they were stored, with fewer bits"
    assert metrics["distill"]["cross_entropy"] == pytest.approx(expected["distill"]["cross_entropy"], rel=0.1)


def test_losses_by_chunks_are_the_same(live: tuple[Path, Any]) -> None:
    folder, expected = live
    metrics = run(folder.parent / "chunked", teacher__steps=40, student__steps=40, chunked_loss=True)
    for model in ("teacher", "distill"):
        assert metrics[model]["cross_entropy"] == pytest.approx(expected[model]["cross_entropy"], rel=1e-2)


def test_rows_without_labels_teach_by_the_soft_loss_alone(live: tuple[Path, Any]) -> None:
    folder, expected = live
    metrics = run(folder, teacher__steps=40, student__steps=40, student__num_labeled=6)
    assert metrics["teacher"] == expected["teacher"]
    assert metrics["baseline"] != expected["baseline"]
    assert metrics["distill"] not in (expected["distill"], metrics["baseline"])
    assert metrics["distill"]["span_f1"] > 0.4


def test_no_word_is_cut_off(tmp_path: Path) -> None:
    """A row that is too long is refused, with what would do; split into parts, all words are tested."""
    with pytest.raises(
        SequenceTooLongError, match=r"student: rows have more than 4 tokens .*max_length=9.*data.max_words="
    ) as raised:
        run(tmp_path / "a", student__model=tagger("word.WordTokenizer", 60, max_length=4))
    assert "\n" not in str(raised.value)
    path = write_tagged(tmp_path / "rows.txt")
    changes = tagging_settings(path, student__model=tagger("word.WordTokenizer", 60, max_length=4))
    changes["data__source"]["max_words"] = 3
    split = experiment(tmp_path / "b", **changes)
    split.run()
    whole = experiment(tmp_path / "c", **tagging_settings(path))
    counted = []
    for one in (split, whole):
        table = one.builder.dataset.prepared.splits["test"]
        counted.append(len(table.column("targets").whole().values))
    assert counted[0] == counted[1] > 0


def test_networks_and_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    pooled = {**tagger(), "pooling": {"_target_": "kd_lightning.models.pooling.MaxPooling"}}
    with pytest.raises(ConfigError, match=r"BiLSTM answers for each text as a whole.*a tagger, as bilstm_tagger"):
        run(tmp_path / "a", teacher__model=pooled)
    texts = {
        "_target_": "kd_lightning.tasks.text_classification.TextClassificationTask",
        "num_classes": 5,
        "monitor": "accuracy",
        "metrics": {"accuracy": {"_target_": "kd_lightning.tasks.metrics.Accuracy"}},
    }
    with pytest.raises(ConfigError, match=r"the rows are words with tags, and the task reads texts: task=token_class"):
        run(tmp_path / "b", task=texts)
    with pytest.raises(ConfigError, match=r"the rows are numbers, and the task reads words with tags: data=table"):
        run(tmp_path / "c", data__source={"_target_": "tests.support.parts.TinyRows"})


def test_features_of_tokens_are_not_compared(tmp_path: Path) -> None:
    loss = {
        "hint": {
            "_target_": "kd_lightning.losses.features.hint.Hint",
            "match": [{"student": "head:input", "teacher": "head:input"}],
        }
    }
    with pytest.raises(ConfigError, match=r"loss.hint compares features of tokens.*choose losses on logits"):
        run(tmp_path / "a", loss=loss)
