"""``kd init FOLDER``: what it says of a folder of images, and the experiment that it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.support.cli import kd, settings_of
from tests.support.images import COLORS, write_image, write_image_folder

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with 40 red and 20 blue images below ``My photos``, one of which stands there twice."""
    monkeypatch.chdir(tmp_path)
    write_image_folder(tmp_path / "My photos", {"red": 39, "blue": 19})
    copied = (tmp_path / "My photos" / "red" / "000.png").read_bytes()
    (tmp_path / "My photos" / "blue" / "copy.png").write_bytes(copied)
    write_image(tmp_path / "My photos" / "red" / "wide.png", COLORS["red"], 0, size=(40, 30))
    return tmp_path


def written(name: str = "my_photos") -> dict[str, Any]:
    return yaml.safe_load(Path(f"conf/experiment/{name}.yaml").read_text(encoding="utf-8"))


def test_it_says_what_is_in_the_folder_and_writes_an_experiment(capsys: Capsys) -> None:
    (Path("My photos") / "notes.txt").write_text("x")
    said = kd(capsys, "init", "My photos")
    assert (said.code, said.err) == (0, "")
    for part in (
        "My photos: 60 images\n",
        "classes       2, 2 images of the largest for each of the smallest",
        "  red          40   66.7%\n  blue         20   33.3%",
        "sizes         12 x 12 to 40 x 30 pixels, the shorter side 12 in the middle",
        "duplicates    1 (copies",
        "conflicts     1 (copies of a file of another class",
        "ignored       1 (files that are no image)",
        "size          12 pixels: the shorter side in the middle",
        "channels      3: 60 images are in color",
        "conf/experiment/my_photos.yaml: an epoch has 2 steps of 24 rows; teacher 300 steps (10 epochs, between 300",
    ):
        assert part in said.out
    assert "leakage" not in said.out
    assert said.out.endswith("\nNext: kd run experiment=my_photos\n")
    assert written() == {
        "defaults": [
            {"override /task": "classification"},
            {"override /data": "image_folder"},
            {"override /model@teacher.model": "resnet_small"},
            {"override /model@student.model": "convnet_tiny"},
        ],
        "data": {"path": "My photos", "size": 12, "channels": 3, "batch_size": 24},
        "teacher": {"optimizer": {"lr": 0.005}, "steps": 300},
        "student": {"optimizer": {"lr": 0.03}, "steps": 300, "pretrain_steps": 150},
    }
    settings = settings_of("experiment=my_photos")
    assert settings["data"]["labels"] == ["blue", "red"]
    assert settings["data"]["in_features"] == 3 * 12 * 12
    images = settings_of("experiment=images")
    assert [settings[role]["optimizer"]["lr"] for role in ("teacher", "student")] == [
        images[role]["optimizer"]["lr"] for role in ("teacher", "student")
    ]


@pytest.mark.parametrize(("student", "rate"), [("vit_tiny", 0.001), ("convnet_tiny", 0.03), ("resnet_small", 0.03)])
def test_a_student_with_attention_gets_the_rate_of_one(student: str, rate: float, capsys: Capsys) -> None:
    assert kd(capsys, "init", "My photos", "--student", student).code == 0
    assert written()["student"]["optimizer"] == {"lr": rate}


def test_splits_gray_images_and_those_that_cannot_be_read(capsys: Capsys) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        for number, name in enumerate(("a", "b")):
            for each in range(10):
                path = Path("gray") / split / name / f"{each}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.effect_noise((300, 200), 10 + seed * 100 + number * 20 + each).save(path)
    (Path("gray") / "test" / "a" / "copy.png").write_bytes(Path("gray/train/a/0.png").read_bytes())
    (Path("gray") / "test" / "a" / "0.png").write_bytes(b"broken")
    said = kd(capsys, "init", "gray/", "--student", "vit_tiny", "--name=mine")
    assert said.code == 0
    for part in (
        "gray: 41 images (train 20, test 21)\n",
        "leakage       1 (copies of a file of another split",
        "unreadable    1, and a run needs all: gray/test/a/0.png cannot be read as an image",
        "size          64 pixels",
        "channels      1: 0 images are in color",
        "an epoch has 2 steps of 9 rows",  # a tenth of the training images is drawn for validation
    ):
        assert part in said.out
    assert {"override /model@student.model": "vit_tiny"} in written("mine")["defaults"]
    assert written("mine")["data"] == {"path": "gray", "size": 64, "channels": 1, "batch_size": 9}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("My photos", "--text=body"), "--text is for tables of texts, and My photos is a folder: leave it out"),
        (("My photos", "--teacher", "hf"), "--teacher is for tables of texts"),
        (("My photos\udcff",), "this path is not UTF-8: rename what is not"),
        (("My photos/red",), "My photos/red has no folders inside"),
        (("My photos", "--student=convent_tiny"), "no such model; did you mean 'convnet_tiny'?"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], says: str, capsys: Capsys) -> None:
    answer = kd(capsys, "init", *words)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert says in answer.err
    assert not Path("conf").exists()


def test_a_note_beside_the_images_is_no_text_to_learn(capsys: Capsys) -> None:
    (Path("My photos") / "red" / "readme.txt").write_text("x")
    write_image_folder(Path("split") / "train", {"red": 9, "blue": 9})
    (Path("split") / "train" / "notes.txt").write_text("x")
    for folder, images in (("My photos", 60), ("split", 18)):
        said = kd(capsys, "init", folder)
        assert (said.code, said.err) == (0, "")
        assert f"{folder}: {images} images" in said.out


def test_texts_beside_a_hidden_thumbnail_are_texts(capsys: Capsys) -> None:
    for name in ("good", "bad"):
        (Path("opinions") / name).mkdir(parents=True)
        for number in range(5):
            (Path("opinions") / name / f"{number}.txt").write_text(f"{name} {number}")
    write_image(Path("opinions") / "good" / ".thumb.png", COLORS["red"], 0)
    assert kd(capsys, "init", "opinions").code == 0
    assert {"override /data": "table"} in written("opinions")["defaults"]


def test_class_names_stay_as_they_are() -> None:
    for name in ("red", "blue"):
        (Path("My photos") / name).rename(Path("My photos") / f"${{oc.env:HOME}}{name}")
    settings = settings_of("experiment=images", "data=image_folder", "data.path=My photos")
    assert settings["data"]["labels"] == ["${oc.env:HOME}blue", "${oc.env:HOME}red"]


def test_it_imports_no_torch() -> None:
    code = (
        "import sys; from kd_lightning.cli.main import main; code = main(['init', 'My photos']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
