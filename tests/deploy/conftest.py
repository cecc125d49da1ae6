"""Runs that the tests of this folder share; none of them writes into one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.runs import STEPS, FinishedRun, carry_out, write_splits
from tests.deploy.tiny import write_bert
from tests.support.images import write_image_folder
from tests.support.tagging import write_tagged

SMALL = (
    *("teacher.model.width=16", "teacher.model.vocab_size=300", "student.model.vocab_size=100"),
    *("student.model.embedding=8", "student.model.hidden=8"),
)


@pytest.fixture(scope="session")
def own_networks(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A transformer teaches a BiLSTM, three classes; each has a vocabulary of its own."""
    root = tmp_path_factory.mktemp("own")
    return carry_out(root, *write_splits(root, ("neg", "pos", "mixed")), *SMALL)


@pytest.fixture(scope="session")
def pretrained_networks(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """BERT, whose labels stand in another order than the data's, teaches its own last layer, and has learned
    low-rank additions; pairs. Its folder is gone now."""
    root = tmp_path_factory.mktemp("pretrained")
    bert = write_bert(root / "bert", ("POS", "NEG"))
    models = [f"{role}.model.path={bert}" for role in ("teacher", "student")]
    found = carry_out(
        root,
        *write_splits(root, pair=True),
        "teacher=hf",
        "teacher.model.lora={rank: 2}",
        "student=hf",
        *models,
        "student.model.layers=[1]",
    )
    shutil.rmtree(bert)
    return found


@pytest.fixture(params=["own_networks", "pretrained_networks"])
def text_run(request: pytest.FixtureRequest) -> FinishedRun:
    found: FinishedRun = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Digits, long-tailed."""
    steps = [word.replace("teacher.steps=10", "teacher.steps=60") for word in STEPS]
    words = ("experiment=digits", "teacher=convnet_tiny", "student=convnet_micro", "data.imbalance=10")
    return carry_out(
        tmp_path_factory.mktemp("images"), *words, "student.num_labeled=null", "student.pretrain_steps=0", *steps
    )


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Folders of small colored images, three classes; the folder and the store are gone now."""
    root = tmp_path_factory.mktemp("image_files")
    write_image_folder(root / "images", {"red": 30, "green": 30, "blue": 30})
    data = ("data=image_folder", f"data.path={root}/images", "data.size=8")
    words = ("task=classification", *data, "teacher=convnet_tiny", "student=convnet_micro", "optimizer.lr=0.05")
    found = carry_out(root, *words, "teacher.optimizer.lr=0.05", *STEPS, "student.steps=40")
    shutil.rmtree(root / "images")
    shutil.rmtree(root / "outputs" / "store")
    return found


@pytest.fixture(scope="session")
def tagging(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Taggers of a few steps, whose tokenizers split words differently."""
    root = tmp_path_factory.mktemp("tagging")
    data = (
        "experiment=ner",
        "data=tagged_words",
        f"data.path={write_tagged(root / 'words.conll')}",
        "data.batch_size=8",
    )
    sizes = [f"{role}.model.{name}" for role in ("teacher", "student") for name in ("embedding=8", "hidden=8")]
    vocabularies = (
        "teacher.model.vocab_size=300",
        "student.model.vocab_size=270",
        "student.model.tokenizer.max_length=40",
    )
    learns = ("student.steps=60", "optimizer.lr=0.05")
    return carry_out(root, *data, *STEPS, *learns, *sizes, *vocabularies)
