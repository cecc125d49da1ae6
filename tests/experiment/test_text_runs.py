"""Whole runs on a table of texts: short form, networks with tokenizers of their own, hub models, rows without a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.config.instantiate import build_node
from kd_lightning.errors import ConfigError
from kd_lightning.experiment.experiment import Experiment
from tests.support.cli import Answer, kd, settings_of
from tests.support.hub import list_reviews, make_hub_folder, review_words, write_reviews
from tests.support.tiny import SilentBoard

OWN_TEACHER = {
    "teacher.model.width": 8,
    "teacher.model.heads": 2,
    "teacher.model.layers": 1,
    "teacher.model.vocab_size": 260,
}


def run_words(tmp_path: Path, **more: Any) -> list[str]:
    table = tmp_path / "reviews.csv"
    return review_words(tmp_path / "outputs", table if table.exists() else write_reviews(table), **more)


def results_of(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err + answer.out
    found: dict[str, Any] = json.loads((Path(answer.out.splitlines()[-1]) / "results.json").read_text(encoding="utf-8"))
    return found


def experiment(*words: str) -> Experiment:
    return Experiment(settings_of(*words, "folder=x"), build_node, [], SilentBoard())


def test_a_table_and_a_hub_model_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_hub_folder(tmp_path / "model", head=False)
    words = run_words(tmp_path)
    first = kd(capsys, "run", words[0], f"teacher=hf:{model}", "student=bilstm", *words[1:])
    results = results_of(first)
    assert results["task"] == "text_classification"
    assert results["labels"] == ["neg", "pos"]
    assert set(results["models"]) == {"teacher", "baseline", "pretrained", "distilled"}
    assert results["teacher_unchanged"]
    again = kd(capsys, "run", words[0], f"teacher=hf:{model}", "student=bilstm", *words[1:])
    assert all(each["reused"] for each in results_of(again)["models"].values())
    report = (Path(again.out.splitlines()[-1]) / "report.html").read_text(encoding="utf-8")
    assert ">neg</th>" in report
    other = make_hub_folder(tmp_path / "other", head=False, seed=1)
    moved = results_of(kd(capsys, "run", words[0], f"teacher=hf:{other}", "student=bilstm", *words[1:]))
    assert moved["models"]["baseline"]["reused"]
    assert not moved["models"]["teacher"]["reused"]  # its key is that of its files, not of their place


def test_other_files_at_the_same_place_are_another_teacher_with_ids_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_hub_folder(tmp_path / "model", head=False)
    words = run_words(tmp_path)
    command = ["run", words[0], f"teacher=hf:{tmp_path / 'model'}", *words[1:]]
    results_of(kd(capsys, *command))
    before = set((tmp_path / "outputs" / "store" / "ids").iterdir())
    tokenizer = tmp_path / "model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text(encoding="utf-8").replace('"good"', '"nice"'), encoding="utf-8")
    second = results_of(kd(capsys, *command))
    assert not second["models"]["teacher"]["reused"]
    assert second["models"]["baseline"]["reused"]
    assert set((tmp_path / "outputs" / "store" / "ids").iterdir()) > before


def test_another_vocabulary_of_the_student_keeps_the_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = results_of(kd(capsys, "run", *run_words(tmp_path, **OWN_TEACHER)))
    words = run_words(tmp_path, **OWN_TEACHER, **{"student.model.vocab_size": 30})
    second = results_of(kd(capsys, "run", *words))
    assert second["models"]["teacher"]["reused"]
    assert not second["models"]["baseline"]["reused"]
    assert first["data_fingerprint"] == second["data_fingerprint"]


def test_stored_outputs_of_the_teacher_are_those_it_gives_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = []
    for outputs in ("live", "cached"):
        words = run_words(tmp_path, **OWN_TEACHER, teacher_outputs=outputs)
        tests.append(results_of(kd(capsys, "run", *words))["models"]["distilled"]["val"])
    assert tests[0] == pytest.approx(tests[1], abs=1e-6)


def test_a_fine_tuned_model_teaches_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_hub_folder(tmp_path / "model", ["POSITIVE", "NEGATIVE"])
    words = run_words(tmp_path, **{"teacher.train": "false"})
    words = [words[0], f"teacher=hf:{model}", *words[1:]]
    refused = kd(capsys, "run", *words)
    assert refused.code == 2
    assert "classifies into POSITIVE, NEGATIVE, the data into neg, pos" in refused.err
    results = results_of(kd(capsys, "run", *words, "teacher.model.labels={POSITIVE: pos, NEGATIVE: neg}"))
    assert results["models"]["teacher"]["steps"] == 0
    headless = make_hub_folder(tmp_path / "headless", head=False)
    refused = kd(capsys, "run", words[0], f"teacher=hf:{headless}", *words[2:])
    assert refused.code == 2
    assert "starts at random" in refused.err


def test_a_fresh_network_cannot_be_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = kd(capsys, "run", *run_words(tmp_path, **{"teacher.train": "false"}))
    assert refused.code == 2
    assert "teacher.train=false: TextTransformer starts at random" in refused.err


def test_rows_without_a_label_are_read_by_the_soft_loss_alone(tmp_path: Path) -> None:
    extra = tmp_path / "more.csv"
    lines = [f"{text} once more" for text, _ in list_reviews(20)]
    extra.write_text("review\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    base = run_words(tmp_path)[1:]
    words = ["experiment=texts", f"data.path={tmp_path / 'reviews.csv'}", *base]
    plain, more = experiment(*words), experiment(*words, f"data.unlabeled={extra}")
    rows = {name: len(each.builder.dataset) for name, each in (("plain", plain), ("more", more))}
    assert rows["more"] == rows["plain"] + 20
    labeled = more.builder.dataset.rows("student", 1, only_labeled=True).train_ids
    assert len(labeled) == rows["plain"]
    soft = more.builder.dataset.rows("student", 1, only_labeled=False)
    assert soft.train_ids.tolist() == list(range(len(soft.train_set)))
    few = experiment(*words, f"data.unlabeled={extra}", "student.num_labeled=6").builder.dataset
    drawn = few.rows("student", 1, only_labeled=True).train_ids
    assert len(drawn) == 6
    assert set(drawn.tolist()) <= set(labeled.tolist())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task=classification"], "choose data, task and models that fit together"),
        (["student=lstm_lm_tiny", "student.model.vocab_size=300"], "has no tokenizer"),
        (["data.label=labell"], "did you mean"),
        (["data.labels=[neg,good]"], "pos"),
        (["teacher=hf", "teacher.model.path=nowhere"], "cannot be fetched from the hub"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_does_not_fit_is_said_in_one_line_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    table, *others = run_words(tmp_path)
    sizes = [word for word in others if not word.startswith("student.model.")]
    refused = kd(capsys, "run", table, *sizes, *words)
    assert refused.code == 2, refused.out
    assert told in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert not (tmp_path / "outputs" / "store" / "teacher").exists()


def test_task_and_rows_are_both_of_texts_or_neither(tmp_path: Path) -> None:
    arrays = ["task.example.shape=[4]", "student=mlp_tiny", "student.model.in_features=4"]
    _, *others = run_words(tmp_path)
    words = [
        "experiment=texts",
        f"data.path={tmp_path / 'reviews.csv'}",
        *(w for w in others if "student.model" not in w),
    ]
    with pytest.raises(
        ConfigError, match=r"task=text_classification \(or multi_label, regression, embedding\) reads texts"
    ):
        experiment(*words, "task=classification", *arrays).check()
    digits = [
        "task=text_classification",
        "data=digits",
        "teacher=text_transformer",
        "student=bilstm",
        "+data.labels=null",
    ]
    with pytest.raises(ConfigError, match="and the task reads texts: data=table"):
        experiment(*digits, f"outputs={tmp_path}").check()
