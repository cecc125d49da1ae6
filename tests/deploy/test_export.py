"""``kd export``: the folder runs without us, is the model, or is not there."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kd_lightning.cli.main import main
from kd_lightning.config.instantiate import build_node
from kd_lightning.deploy.export import bundle as bundles
from kd_lightning.deploy.export.formats import FORMATS
from kd_lightning.deploy.export.inference import Model, read_image
from kd_lightning.deploy.predictor import Predictor
from kd_lightning.deploy.trained_model import load_trained_model
from tests.deploy.runs import FinishedRun
from tests.support.cli import kd

pytest.importorskip("onnxruntime")
Capture = pytest.CaptureFixture[str]
TEXTS = ["a fine film", "dull and awful , the plot", "of"]
WITHOUT = (
    "import sys, runpy; sys.modules.update(dict.fromkeys({blocked!r})); sys.argv = {argv!r}; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""A program in which some packages cannot be imported."""


def run_without(blocked: list[str], *argv: str) -> subprocess.CompletedProcess[str]:
    """A bundle's program, in a process of its own."""
    code = WITHOUT.format(blocked=blocked, argv=list(argv))
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120)


def export(run: FinishedRun, form: str, folder: Path, *more: str) -> Path:
    """Export a run's copy; its own store and data are looked up where they were."""
    assert main(["export", str(run.run), "--to", form, "--output", str(folder), *more]) == 0
    return folder


@pytest.fixture
def onnx(own_networks: FinishedRun, tmp_path: Path) -> Path:
    return export(own_networks, "onnx", tmp_path / "bundle")


def test_a_bundle_has_all_that_it_needs_and_answers_as_kd_predict(onnx: Path, own_networks: FinishedRun) -> None:
    files = {path.name for path in onnx.iterdir()}
    assert files == {
        *("model.onnx", "bundle.json", "examples.json", "inference.py", "model_card.md", "requirements.txt"),
        "tokenizer.json",
    }
    needed = [line.partition("==")[0] for line in (onnx / "requirements.txt").read_text().split()]
    assert needed == ["numpy", "onnxruntime", "tokenizers"]
    blocked = ["kd_lightning", "torch", "transformers", "pytorch_lightning"]
    checked = run_without(blocked, str(onnx / "inference.py"), "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    said = run_without(blocked, str(onnx / "inference.py"), *TEXTS)
    answers = [json.loads(line) for line in said.stdout.splitlines()]
    model = load_trained_model(own_networks.run, build_node)
    for text, answer, scores in zip(TEXTS, answers, Predictor(model).predict_texts(TEXTS), strict=True):
        assert answer["row"] == text
        assert answer["label"] == model.labels[int(scores.argmax())]
        assert answer["score"] == pytest.approx(float(scores.max()), abs=1e-5)


def test_the_card_says_what_it_is_worth_and_where_it_comes_from(onnx: Path, own_networks: FinishedRun) -> None:
    card = (onnx / "model_card.md").read_text()
    results = own_networks.results
    for wanted in (results["command"].split()[0], results["data_fingerprint"], results["teacher_hash"], "license"):
        assert wanted in card
    assert "100.0% of 40 answers are the same" in card
    assert results["verdict"].split(":")[0] in card


@pytest.mark.parametrize(
    "form", ["hf", *(pytest.param(each, marks=pytest.mark.full) for each in ("safetensors", "onnx", "torch_export"))]
)
def test_pairs_and_low_rank_additions(form: str, pretrained_networks: FinishedRun, tmp_path: Path) -> None:
    """The teacher's labels stand in another order than the data's, and it has learned low-rank additions."""
    folder = export(pretrained_networks, form, tmp_path / "bundle", "--model", "teacher")
    model = load_trained_model(pretrained_networks.run, build_node, "teacher")
    rows = [("a fine film", "dull"), ("awful", "the great plot of it")]
    wanted = Predictor(model).predict_texts([row[0] for row in rows], [row[1] for row in rows])
    for answer, scores in zip(Model(folder).predict(rows), wanted, strict=True):
        assert answer["label"] == model.labels[int(scores.argmax())]
        assert answer["score"] == pytest.approx(float(scores.max()), abs=1e-5)
    with pytest.raises(ValueError, match="two texts are expected, parted by a tab"):
        Model(folder).predict(["a fine film"])
    checked = run_without(["kd_lightning"], str(folder / "inference.py"), "--check")
    assert (checked.returncode, checked.stdout.count("are those of the model")) == (0, 1), checked.stderr


def test_a_folder_for_from_pretrained(pretrained_networks: FinishedRun, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = export(pretrained_networks, "hf", tmp_path / "bundle")
    network, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.inference_mode():
        read = tokenizer("a fine film", "dull", return_tensors="pt")
        assert read["token_type_ids"].tolist()[0][-1] == 1
        logits = network.eval()(**read).logits[0]
    assert (tokenizer.unk_token, tokenizer.sep_token, network.config.problem_type) == (
        *("[UNK]", "[SEP]", "single_label_classification"),
    )
    model = load_trained_model(pretrained_networks.run, build_node)
    (wanted,) = Predictor(model).predict_texts(["a fine film"], ["dull"])
    assert {network.config.id2label[number]: value for number, value in enumerate(logits.softmax(dim=-1).tolist())} == (
        pytest.approx(dict(zip(model.labels, wanted.tolist(), strict=True)), abs=1e-5)
    )


def test_images_are_read_as_they_were(image_files: FinishedRun, tmp_path: Path) -> None:
    from PIL import Image

    from kd_lightning.data.image_files import read_pixels

    test = tmp_path / "test"
    colors = {"red": (200, 30, 20), "green": (20, 190, 30), "blue": (10, 20, 210)}
    for name, color in colors.items():
        (test / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20 + 7 * number, 13), color).save(test / name / f"{number}.png")
    odd = tmp_path / "odd.png"
    Image.linear_gradient("L").resize((31, 17)).convert("RGBA").save(odd)
    folder = export(image_files, "onnx", tmp_path / "bundle", f"data.path={test}")
    bundle = Model(folder)
    for path in (odd, test / "red" / "1.png"):
        for shape in ((3, 8, 8), (1, 9, 9)):
            assert (read_image(path, shape) == read_pixels(path, shape[1], shape[0])).all()
    said = run_without(["kd_lightning", "torch"], str(folder / "inference.py"), str(odd), "missing.png")
    answer, missing = map(json.loads, said.stdout.splitlines())
    assert answer["label"] == bundle.predict([odd])[0]["label"]
    assert said.returncode == 1
    assert "missing.png" in missing["error"]


Tamper = Callable[[Path], None]


def permute_labels(folder: Path) -> None:
    about = json.loads((folder / "bundle.json").read_text())
    about["labels"] = about["labels"][1:] + about["labels"][:1]
    (folder / "bundle.json").write_text(json.dumps(about))


def shuffle_tokens(folder: Path) -> None:
    """As of a run whose vocabulary came in another order."""
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    vocabulary = described["model"]["vocab"]
    names = list(vocabulary)
    described["model"]["vocab"] = dict(zip(names, [*range(3), *reversed(range(3, len(names)))], strict=True))
    path.write_text(json.dumps(described))


def test_what_is_not_the_model_is_refused(
    own_networks: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Each with the untampered export beside it, which passes."""
    whole = bundles.write_parts

    def dropped(model, chosen, example, folder):  # type: ignore[no-untyped-def]
        other = load_trained_model(own_networks.run, build_node)
        torch.nn.init.zeros_(other.network.head.weight)
        torch.nn.init.zeros_(other.network.head.bias)
        whole(replace(model, network=other.network), chosen, example, folder)

    def tampered(change: Tamper):  # type: ignore[no-untyped-def]
        def write(model, chosen, example, folder):  # type: ignore[no-untyped-def]
            whole(model, chosen, example, folder)
            change(folder)

        return write

    def surer(model, chosen, example, folder):  # type: ignore[no-untyped-def]
        """All answers stay, and no score does."""
        other = load_trained_model(own_networks.run, build_node)
        with torch.no_grad():
            for parameter in other.network.head.parameters():
                parameter.mul_(3)
        whole(replace(model, network=other.network), chosen, example, folder)
        shutil.copyfile(original / "examples.json", folder / "examples.json")

    words = ("export", str(own_networks.run), "--to", "safetensors")
    original = export(own_networks, "safetensors", tmp_path / "original")
    folder = own_networks.run / "export" / "distilled-safetensors"
    for write, told in (
        (dropped, "accuracy"),
        (tampered(permute_labels), "accuracy"),
        (surer, "the export of distilled does not answer its examples"),
        (tampered(shuffle_tokens), "its tokenizer reads rows 0 to 39 otherwise"),
    ):
        monkeypatch.setattr(bundles, "write_parts", write)
        answer = kd(capsys, *words)
        assert answer.code == 1
        assert told in answer.err
        assert answer.err.count("\n") == 1
        assert not folder.exists()
        assert not list(folder.parent.iterdir())
        monkeypatch.setattr(bundles, "write_parts", whole)
        assert kd(capsys, *words).code == 0
        shutil.rmtree(folder)


def test_a_full_disk_leaves_what_was_there(
    own_networks: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = export(own_networks, "safetensors", tmp_path / "bundle")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(model, example, folder):  # type: ignore[no-untyped-def]
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(FORMATS, "safetensors", replace(FORMATS["safetensors"], write=full))
    answer = kd(capsys, "export", str(own_networks.run), "--to", "safetensors", "--output", str(folder))
    assert answer.code == 2
    assert "No space left on device" in answer.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_older_export_comes_back_where_the_new_one_cannot_have_its_name(
    own_networks: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = export(own_networks, "safetensors", tmp_path / "bundle")
    (folder / "mark").touch()
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == folder and not self.name.startswith(".tmp-old"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        answer = kd(capsys, "export", str(own_networks.run), "--to", "safetensors", "--output", str(folder))
    assert answer.code == 2
    assert (folder / "mark").exists()
    folder.rename(bundles.name_aside(folder))  # as a kill between the two renames leaves it
    bundles.check_bundle_folder(folder)
    assert (folder / "mark").exists()


def test_a_folder_of_somebody_else_s_stays(own_networks: FinishedRun, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    (tmp_path / "letter").write_text("dear")
    answer = kd(capsys, "export", str(own_networks.run), "--to", "safetensors", "--output", str(tmp_path))
    assert answer.code == 2
    assert "is there, and is no export" in answer.err
    assert (tmp_path / "letter").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    export(own_networks, "safetensors", tmp_path / "empty")


def test_a_bad_row_does_not_end_the_others(onnx: Path) -> None:
    rows = b"a fine film\n\xff\xfe\ndull\tand more\n"
    said = subprocess.run(
        [sys.executable, str(onnx / "inference.py"), "-"], input=rows, capture_output=True, timeout=120
    )
    answers = [json.loads(line) for line in said.stdout.decode().splitlines()]
    assert [answer["label"] in ("neg", "pos", "mixed") for answer in answers] == [True] * 3
    assert answers[2]["row"] == "dull\tand more", "of a model of single texts, a tab parts nothing"
    wrong = subprocess.run([sys.executable, str(onnx / "inference.py"), "--chek"], capture_output=True, timeout=120)
    assert wrong.returncode == 2


def test_an_int8_export_is_measured_and_smaller(own_networks: FinishedRun, tmp_path: Path, capsys: Capture) -> None:
    wide = export(own_networks, "onnx", tmp_path / "wide")
    answer = kd(
        capsys, "export", str(own_networks.run), "--to", "onnx-int8", "--output", str(tmp_path / "b"), "--tolerance=1"
    )
    assert answer.code == 0
    assert "onnx-int8" in answer.out
    assert (tmp_path / "b" / "model.onnx").stat().st_size < (wide / "model.onnx").stat().st_size
    strict = kd(
        capsys, "export", str(own_networks.run), "--to", "onnx-int8", "--output", str(tmp_path / "c"), "--tolerance=0"
    )
    assert strict.code in (0, 1)
    assert (tmp_path / "c").exists() == (strict.code == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "a run and a format are expected"),
        (("--to", "onx"), "did you mean 'onnx'?"),
        (("--to", "hf"), "BiLSTM is no AutoModelFor... of transformers: --to safetensors"),
        (("--to", "onnx", "--model", "teahcer"), "did you mean 'teacher'?"),
        (("--to", "onnx", "--tolerance", "much"), "--tolerance much: a number of at least 0 is expected"),
        (("--to", "onnx", "--output", "precious"), "precious is there, and is no export"),
        (("--to", "onnx", "data.path=nothing.csv"), "nothing.csv"),
        (("--to", "onnx", "--gpu"), "no option '--gpu'"),
    ],
)
def test_a_wrong_word_is_one_line(
    words: tuple[str, ...], told: str, own_networks: FinishedRun, elsewhere: Path, capsys: Capture
) -> None:
    (elsewhere / "precious").mkdir()
    (elsewhere / "precious" / "letter").write_text("dear")
    answer = kd(capsys, "export", str(own_networks.run), *words)
    assert answer.code == 2
    assert told in answer.err
    assert answer.err.count("\n") == 1
    assert (elsewhere / "precious" / "letter").read_text() == "dear"


def test_an_extra_that_is_missing_is_named(
    own_networks: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def version(name: str) -> str:
        raise bundles.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("kd_lightning.deploy.export.formats.metadata.version", version)
    answer = kd(capsys, "export", str(own_networks.run), "--to", "onnx", "--output", str(tmp_path / "b"))
    assert answer.code == 2
    assert 'onnx is not installed: pip install "kd-lightning[export]"' in answer.err


@pytest.mark.full
@pytest.mark.parametrize("form", ["onnx", "torch_export", "safetensors"])
def test_in_a_fresh_environment(form: str, own_networks: FinishedRun, tmp_path: Path) -> None:
    """With what ``requirements.txt`` names, and nothing of ours."""
    folder = export(own_networks, form, tmp_path / "bundle")
    place = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python, constraints = str(place / "bin" / "python"), str(Path(__file__).parents[2] / "constraints.txt")
    install = [python, "-m", "pip", "install", "-q", "-c", constraints, "-r", str(folder / "requirements.txt")]
    subprocess.run(install, check=True, capture_output=True)
    there = subprocess.run([python, "-c", "import kd_lightning"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in there.stderr
    done = subprocess.run([python, str(folder / "inference.py"), "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    said = subprocess.run([python, str(folder / "inference.py"), *TEXTS], capture_output=True, text=True, check=True)
    assert [json.loads(line)["label"] for line in said.stdout.splitlines()] == [
        answer["label"] for answer in Model(folder).predict(TEXTS)
    ]


def test_no_path_of_this_machine_leaves_it(own_networks: FinishedRun, tmp_path: Path) -> None:
    here = str(Path(__file__).parents[2]).encode()
    for form in ("onnx", "torch_export"):
        folder = export(own_networks, form, tmp_path / form)
        found = [path.name for path in folder.rglob("*") if path.is_file() and here in path.read_bytes()]
        assert found == []
