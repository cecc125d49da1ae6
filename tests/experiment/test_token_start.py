"""A bag of words that begins with what a transformers teacher makes of its vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning.config.instantiate import build_node
from kd_lightning.data.token_texts import read_token_texts
from kd_lightning.data.tokenizers.hub import HubTokenizer
from kd_lightning.errors import ConfigError, VocabMismatchError
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.models.token_vectors import project_on_components, zipf_weights
from kd_lightning.training.fit import WEIGHTS
from tests.experiment.test_student_start import begun
from tests.support.cli import settings_of
from tests.support.hub import make_hub_folder, write_reviews
from tests.support.tiny import SilentBoard, entries

STUDENT = (
    "student=static_embedding",
    "student.model.embedding=6",
    "student.model.vocab_size=60",
    "student.model.tokenizer.max_length=16",
)


def static_experiment(folder: Path, *words: str, teacher: str = "hf_encoder") -> Experiment:
    """Reviews, a tiny BERT and a bag of words."""
    if not (folder / "reviews.csv").exists():
        write_reviews(folder / "reviews.csv", 60)
        make_hub_folder(folder / "model")
    own = [f"teacher.model.path={folder / 'model'}"] if teacher.startswith("hf") else []
    shared = ["experiment=texts", f"data.path={folder / 'reviews.csv'}", f"teacher={teacher}", "teacher.steps=2"]
    steps = ["student.steps=4", "student.pretrain_steps=2"]
    composed = settings_of(*shared, *own, *STUDENT, *steps, *words, f"outputs={folder}", "folder=x")
    return Experiment(composed, build_node, [], SilentBoard())


def test_all_stages_of_the_student_begin_with_the_trained_teachers_tokens(tmp_path: Path) -> None:
    one = static_experiment(tmp_path, "student.init=teacher")
    one.run()
    # What the teacher makes of each token, one at a time and with the library's own tokenizer.
    teacher = one.builder.network("teacher").eval()
    teacher.load_state_dict(load_file(entries(one)["teacher"].path(WEIGHTS)))
    tokenizer = HubTokenizer(str(tmp_path / "model"))._library_tokenizer
    fitted = one.builder.dataset.fitted_tokenizer("student")
    assert fitted is not None
    texts = read_token_texts(fitted.text)
    vectors = [
        teacher.encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
        for text in texts.values()
    ]
    ranks = zipf_weights(len(texts))
    expected = (
        project_on_components(torch.stack(vectors).detach(), 6)[0] * (ranks / ranks.square().mean().sqrt())[:, None]
    )
    for stage in ("baseline", "pretrain"):
        found = begun(one, stage)["embedding.weight"]
        torch.testing.assert_close(found[list(texts)], expected, rtol=0, atol=1e-3)
        others = [number for number in range(60) if number not in texts]
        assert not found[others].any()
    assert torch.equal(begun(one, "baseline")["embedding.weight"], begun(one, "pretrain")["embedding.weight"])
    random = begun(static_experiment(tmp_path), "baseline")
    assert torch.equal(random["head.weight"], begun(one, "baseline")["head.weight"]), "the rest begins at random"
    assert not torch.equal(random["embedding.weight"], begun(one, "baseline")["embedding.weight"])
    again = static_experiment(tmp_path, "student.init=teacher").run()
    assert all(record["reused"] for record in again.records.values())


def test_keys_tell_the_start_and_its_teacher(tmp_path: Path) -> None:
    def key(*words: str) -> str:
        return static_experiment(tmp_path, *words).stage("baseline").key

    start = key("student.init=teacher")
    assert start == key("student.init=teacher")
    others = [
        key(),
        key("student.init=teacher", "teacher.seed=3"),
        key("student.init=teacher", "student.model.zipf=false"),
    ]
    assert len({start, *others}) == 4


@pytest.mark.parametrize(
    ("words", "teacher", "error", "why"),
    [
        (
            (),
            "text_transformer",
            ConfigError,
            "StaticEmbedding begins with what a transformers teacher makes of its tokens, and the teacher is a "
            "TextTransformer: choose teacher=hf:FOLDER",
        ),
        (
            ("student.model.embedding=17",),
            "hf_encoder",
            ConfigError,
            "embedding=17 is more than the 16 principal components",
        ),
        (
            ("student.init_layers=[0]",),
            "hf_encoder",
            ConfigError,
            r"student.init_layers=\[0\]: StaticEmbedding begins with",
        ),
        (
            ("student=bilstm",),
            "hf_encoder",
            VocabMismatchError,
            "teacher and student read other tokens.*choose student=static_embedding",
        ),
    ],
)
def test_what_is_not_possible_is_said_before_training(
    words: tuple[str, ...], teacher: str, error: type[Exception], why: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=why):
        static_experiment(tmp_path, *words, "student.init=teacher", teacher=teacher).run()
    assert not list(tmp_path.glob("store/teacher/*/result.json"))


def test_the_teachers_own_tokenizer_will_do(tmp_path: Path) -> None:
    one = static_experiment(tmp_path, "student.init=teacher")
    node = {
        "_target_": "kd_lightning.data.tokenizers.hub.HubTokenizer",
        "path": str(tmp_path / "model"),
        "max_length": 16,
    }
    one.builder.settings["student"]["model"]["tokenizer"] = node
    one.run()
    found = begun(one, "baseline")["embedding.weight"]
    assert not found[:4].any(), "marks"
    assert found[4:20].any(dim=1).all()
