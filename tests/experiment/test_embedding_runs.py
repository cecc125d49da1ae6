"""Whole runs without labels: a sentence encoder teaches a smaller one; what is stored, predicted, compared and refused."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr

from kd_lightning.config.instantiate import build_node
from kd_lightning.config.settings_checks import check_settings
from kd_lightning.config.shorthands import expand, expand_files
from kd_lightning.errors import KDError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.pending import Steps
from kd_lightning.python.load import load
from kd_lightning.sweeps.cohort.run_cohort import CohortJob, advance_in_turn
from tests.deploy.runs import FinishedRun, carry_out
from tests.support.cli import kd, settings_of
from tests.support.hub import list_reviews, make_hub_folder
from tests.support.tiny import SilentBoard
from tests.training.together.test_one_fit import stored

pytest.importorskip("transformers")
Capture = pytest.CaptureFixture[str]
SIZES = {"train": 60, "val": 15, "test": 25}
WORDS = (
    *("task=embedding", "data=train.csv", "data.val_path=val.csv", "data.test_path=test.csv", "teacher=hf:model"),
    *("student.steps=40", "validate_every=10", "checkpoint_every=5", "data.batch_size=8", "progress=false"),
)
STATIC = ("student=static_embedding", "student.model.embedding=8", "student.model.vocab_size=60")
LAYERS = ("student=hf:model", "student.model.pretrained=false", "student.init=teacher", "student.optimizer.lr=0.01")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder: tables of one column, and a sentence encoder."""
    folder = tmp_path_factory.mktemp("embedding")
    make_hub_folder(folder / "model", head=False)
    rows, first = list_reviews(sum(SIZES.values())), 0
    for split, size in SIZES.items():
        write_table(folder / f"{split}.csv", ["text"], [[text] for text, _ in rows[first : first + size]])
        first += size
    with chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def run(root: Path) -> FinishedRun:
    return carry_out(root, *WORDS, *STATIC)


def write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(names)
        writer.writerows(rows)
    return str(path)


def experiment(outputs: Path, *words: str, made: dict[Any, Any] | None = None) -> Experiment:
    """Of a command's words, not yet run."""
    composed = [expand(word) for word in expand_files([*WORDS, *words, f"outputs={outputs}"])]
    settings = settings_of(*composed)
    check_settings(settings)
    return Experiment(settings, build_node, [], SilentBoard(), made=made)


def embedded(capsys: Capture, run: Path, model: str, table: str, form: str = "jsonl") -> np.ndarray[Any, Any]:
    answer = kd(capsys, "predict", str(run), table, "--model", model, "--format", form)
    assert (answer.code, answer.err) == (0, "")
    if form == "jsonl":
        return np.array([json.loads(line)["vector"] for line in answer.out.splitlines()])
    return np.array([json.loads(row["vector"]) for row in csv.DictReader(io.StringIO(answer.out))])


def cosines(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(first, second, strict=True)])


# -- what a run finds ---------------------------------------------------------------------------------------------------


def test_a_student_in_8_bits_is_one_more(root: Path, tmp_path: Path) -> None:
    one = experiment(tmp_path, *STATIC, "compress=[quantized]")
    found, stage = one.run(), one.stage("distill_quantized")
    assert list(one.planned.models) == ["teacher", "baseline", "distilled", "distilled_quantized"]
    assert found.records[stage.name]["test"] > found.records["start"]["test"] + 0.3
    assert stage.contents["hard_loss"] == {}, "it reads no label"


def test_the_student_is_compared_with_itself_before_its_first_step(run: FinishedRun) -> None:
    results, models = run.results, run.results["models"]
    assert list(models) == ["teacher", "baseline", "distilled"]
    assert [each["label"] for each in models.values()] == ["teacher", "student at start", "distilled"]
    assert [each["steps"] for each in models.values()] == [0, 0, 40]
    assert models["teacher"]["test"] == pytest.approx(1.0, abs=1e-6)
    assert models["teacher"]["metrics"]["similarity_spearman"] == pytest.approx(1.0, abs=1e-9)
    assert models["distilled"]["test"] > models["baseline"]["test"] + 0.3
    assert results["verdict"].startswith("Better than the student at start on this test set: distilled 0.")
    assert ", 40 steps; gain" in results["verdict"]
    assert results["interval"]["low"] > 0
    assert results["teacher_unchanged"]
    assert "agreement" not in models["distilled"]["predictions"]
    assert "student alone" not in (run.run / "report.html").read_text()


def test_metrics_are_those_of_the_predicted_vectors(run: FinishedRun, capsys: Capture) -> None:
    teacher = embedded(capsys, run.away, "teacher", "test.csv")
    for model in ("baseline", "distilled"):
        vectors = embedded(capsys, run.away, model, "test.csv")
        metrics = run.results["models"][model]["metrics"]
        assert metrics["cosine"] == pytest.approx(cosines(teacher, vectors).mean(), abs=1e-5)
        ranks = spearmanr(pdist(teacher, "cosine"), pdist(vectors, "cosine")).statistic
        assert metrics["similarity_spearman"] == pytest.approx(ranks, abs=1e-3)


def test_evaluation_of_its_own_test_is_that_of_the_run(run: FinishedRun, capsys: Capture) -> None:
    answer = kd(capsys, "eval", str(run.run), "--model", "all", "--json")
    assert (answer.code, answer.err) == (0, "")
    for name, found in json.loads(answer.out)["models"].items():
        assert found["metrics"] == run.results["models"][name]["metrics"]
        assert found["intervals"]["similarity_spearman"] is None
    answer = kd(capsys, "eval", str(run.run), "--min=macro_f1=0")
    assert (answer.code, "only cosine, similarity_spearman" in answer.err) == (2, True)


def test_a_vector_depends_on_its_row_alone_and_is_the_same_in_every_format(run: FinishedRun, capsys: Capture) -> None:
    whole = embedded(capsys, run.away, "distilled", "test.csv")
    assert whole.shape == (25, 16)
    assert np.array_equal(whole, embedded(capsys, run.away, "distilled", "test.csv", "csv"))
    with Path("test.csv").open() as file:
        last = list(csv.reader(file))[-1]
    alone = embedded(capsys, run.away, "distilled", write_table(Path("one.csv"), ["text"], [last]))
    assert np.array_equal(alone, whole[-1:])
    assert "leave it out" in kd(capsys, "predict", str(run.away), "test.csv", "--all").err


def test_a_loaded_model_gives_vectors_and_no_class(run: FinishedRun, capsys: Capture) -> None:
    model = load(run.away)
    assert model.embed(["the film is fine no 3"]).shape == (1, 16)
    for ask in (model.predict, model.probabilities):
        with pytest.raises(KDError, match=r"gives a vector to each row, and no class: use embed\(rows\)"):
            ask(["a film"])


# -- pairs that people have scored ----------------------------------------------------------------------------------------


def test_pairs_are_compared_by_the_cosine(run: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    texts = [text for text, _ in list_reviews(24)]
    rows = [[texts[n], texts[(5 * n + 1) % 24], (7 * n) % 10] for n in range(24)]
    path = write_table(tmp_path / "words.tsv", ["# Word 1", "Word 2", "Human (mean)"], rows, "\t")
    Path(path).write_text(f"# A list of pairs (with a source).\n# And its license.\n{Path(path).read_text()}")
    answer = kd(capsys, "eval", str(run.away), f"data.path={path}", "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)["models"]["distilled"]
    sides = [write_table(tmp_path / f"{side}.csv", ["text"], [[row[side]] for row in rows]) for side in (0, 1)]
    own = cosines(*(embedded(capsys, run.away, "distilled", side) for side in sides))
    scores = [float(row[2]) for row in rows]
    assert found["metrics"]["spearman"] == pytest.approx(spearmanr(own, scores).statistic, abs=1e-9)
    assert found["metrics"]["pearson"] == pytest.approx(pearsonr(own, scores).statistic, abs=1e-6)
    for name, interval in found["intervals"].items():
        assert interval["low"] < found["metrics"][name] < interval["high"]
    assert (found["rows"], found["unit"]) == (24, "pairs")
    shown = kd(capsys, "eval", str(run.away), f"data.path={path}", "--min=spearman=1")
    assert (shown.code, "24 pairs" in shown.out, "%" in shown.out.partition("interval")[2]) == (1, True, False)


@pytest.mark.parametrize(
    ("names", "words", "why"),
    [
        (["a", "b"], (), r"two columns of texts and one of scores .* it has a, b: say .* data.label=COLUMN"),
        (
            ["a", "b", "score", "year"],
            (),
            r"say which are meant with data.text=COLUMN data.text_pair=COLUMN data.label=",
        ),
        (["a", "b", "score", "year"], ("data.label=scor",), "has no column 'scor'"),
        (["a", "b", "score", "year"], ("data.label=a", "data.text=b", "data.text_pair=year"), r":2: .*a is 'it is"),
        (
            ["a", "b", "score"],
            ("data.text=aa",),
            r"data\.text=aa: .*pairs\.csv has no column 'aa', only a, b, score; did you",
        ),
        (["a", "b", "score"], ("data.group=a",), "pairs are taken one by one"),
        (["a", "b", "score"], ("--min=cosine=0",), "no metric 'cosine', only spearman, pearson"),
    ],
)
def test_other_files_of_pairs_are_refused(
    run: FinishedRun, capsys: Capture, tmp_path: Path, names: list[str], words: tuple[str, ...], why: str
) -> None:
    texts = [text for text, _ in list_reviews(6)]
    rows = [[texts[n], texts[-n], n, 2000 + n][: len(names)] for n in range(6)]
    path = write_table(tmp_path / "pairs.csv", names, rows)
    answer = kd(capsys, "eval", str(run.away), f"data.path={path}", *words)
    assert answer.code == 2
    assert pytest.importorskip("re").search(why, answer.err), answer.err


def test_a_text_that_is_missing_has_no_vector(run: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    path = write_table(tmp_path / "gap.csv", ["text"], [["a film"], [""], ["it is"]])
    answer = kd(capsys, "predict", str(run.away), path)
    assert (answer.code, answer.err.splitlines()[-1]) == (1, "kd predict: 1 row without a vector")


def test_columns_that_are_named_are_taken(run: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    texts = [text for text, _ in list_reviews(6)]
    rows = [[n, texts[n], texts[-n], n % 4] for n in range(6)]
    path = write_table(tmp_path / "pairs.csv", ["year", "a", "b", "score"], rows)
    assert kd(capsys, "eval", str(run.away), f"data.path={path}", "data.label=score").code == 0


# -- students ------------------------------------------------------------------------------------------------------------


def test_a_student_of_all_of_the_teachers_layers_starts_as_the_teacher(root: Path, tmp_path: Path) -> None:
    one = experiment(tmp_path, *LAYERS, "student.steps=1")
    found = one.run()
    assert found.records["start"]["test"] == pytest.approx(1.0, abs=1e-6)
    two = experiment(tmp_path, *LAYERS, "student.model.layers=[1]", "student.init_layers=[1]", "student.steps=60")
    records = two.run().records
    assert records["start"]["test"] < records["distill"]["test"] < 1
    assert one.stage("teacher").key == two.stage("teacher").key
    assert one.stage("start").key != two.stage("start").key


@pytest.mark.full
def test_students_side_by_side_give_what_they_give_alone(root: Path, tmp_path: Path) -> None:
    jobs = [
        (*STATIC, *more) for more in ((), ("loss=[embedding_mse]",), ("loss=[embedding_cosine,embedding_similarity]",))
    ]
    made: dict[Any, Any] = {}
    together = [experiment(tmp_path / "together", *job, made=made) for job in jobs]
    failed: list[BaseException] = []

    def work(one: Experiment, clock: Any) -> Steps[None]:
        try:
            yield from one.steps()
        except BaseException as error:
            failed.append(error)

    advance_in_turn([CohortJob(partial(work, one), sys.stdout) for one in together], 99, False)
    assert not failed
    assert any("in step with 2 other jobs" in line for line in together[0].context.board.lines)  # type: ignore[attr-defined]
    for one, job in zip(together, jobs, strict=True):
        alone = experiment(tmp_path / "alone", *job)
        alone.run()
        assert stored(alone) == stored(one)


@pytest.mark.parametrize("outputs", ["live", "cached", "logits", "auto"])
def test_wherever_the_teachers_vectors_come_from_the_student_learns(root: Path, tmp_path: Path, outputs: str) -> None:
    found = experiment(tmp_path, *STATIC, f"teacher_outputs={outputs}").run().records
    assert found["distill"]["test"] > found["start"]["test"] + 0.3
    assert len(list(tmp_path.glob("store/teacher_vectors/*/status.json"))) == 1


def test_another_teacher_is_in_every_key(root: Path, tmp_path: Path) -> None:
    make_hub_folder(root / "other", head=False, seed=1)
    words = (*STATIC, "teacher_outputs=live")
    first, second = experiment(tmp_path, *words), experiment(tmp_path, *words, "teacher=hf:other")
    for name in ("teacher", "start", "distill"):
        assert first.stage(name).key != second.stage(name).key


def test_labels_that_a_table_has_are_not_read(root: Path, tmp_path: Path) -> None:
    rows = [[text, label] for text, label in list_reviews(60)]
    write_table(root / "labeled.csv", ["text", "label"], rows)
    named = experiment(
        tmp_path, *STATIC, "data=labeled.csv", "data.label=label", "data.val_path=null", "data.test_path=null"
    )
    named.run()
    lines = named.context.board.lines  # type: ignore[attr-defined]
    assert "data: data.label is not read: the task has no labels" in lines


@pytest.mark.parametrize("data", ["train.csv", "sotu_paragraphs", "movie_snippets", "sotu_sentences"])
def test_all_rows_of_any_texts_are_read_for_vectors_as_wide_as_the_teachers(root: Path, data: str) -> None:
    words = ("task=embedding", f"data={data}", "teacher=hf:model", *STATIC)
    found = settings_of(*(expand(word) for word in expand_files(words)))["data"]
    assert (found["limit"], found["num_classes"]) == (None, 16)


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("scheme=offline",), "student alone: task=embedding has no labels to train it on: set scheme=unlabeled"),
        (("teacher.train=true",), r"teacher: task=embedding has no labels to train it on: set teacher\.train=false"),
        (("alpha=0.5",), r"alpha leaves a share to them: set alpha=1"),
        (("loss=[kd]",), r"loss\.kd compares .* are embeddings: choose loss=\[embedding_cosine\]"),
        (("loss=[regression_mse,pairwise_ranking]",), r"loss\.pairwise_ranking compares"),
        (("loss.embedding_cosine.standardize=true",), "standardize=true takes away the level"),
        (("teacher.model.num_classes=8",), r"gives 8 numbers for 16 is new .* set teacher\.model\.num_classes=null"),
        (("teacher.model.pretrained=false",), r"model brings no weights for embeddings"),
        (("student.model.num_classes=8",), "the student gives 8 classes, the data has 16"),
        (("data.num_classes=null",), "task.num_classes=null: the width of the teacher's embeddings is expected"),
        (("data.text_pair=text",), r"data\.text_pair: an embedding is one text's"),
        (("teacher=hf_encoder", "teacher.model.path=model", "data.num_classes=16"), "the head on model is new"),
        (("chunked_loss=true",), "outputs are embeddings"),
        (
            ("student.num_labeled=16",),
            r"^student\.num_labeled=16: the task has no labels: set student\.num_labeled=null$",
        ),
        (("data.batch_size=64",), r"data\.batch_size 64 > 60 training rows"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    root: Path, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    with pytest.raises(KDError, match=why):
        experiment(tmp_path, *STATIC, *words).run()
    assert not list(tmp_path.glob("store/distill/*"))
    assert not list(tmp_path.glob("store/teacher_vectors/*/status.json"))
