"""A job for every choice of ``conf/``, found by glob, that the choice fits into, and the rows of such jobs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from kd_lightning.config.conf_files import conf_dir
from tests.support.cli import texts
from tests.support.datasets_library import list_rows, save_dataset
from tests.support.hub import make_hub_folder, write_reviews
from tests.support.images import write_image_folder
from tests.support.tagging import write_tagged

FILES = sorted(path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml"))
LANGUAGE = ("data=text_files", "data.root=texts", "data.vocab_size=300", "data.context=8")
IMAGES = ("task=classification", "data=digits", "teacher=mlp", "student=mlp_tiny")
ROWS = ("task=classification", "teacher=mlp", "student=mlp_tiny")
NPZ = ("data.path=rows.npz", "data.num_classes=3", "data.shape=[4]", "data.in_features=4")
TEXTS = (
    "task=text_classification",
    "data=table",
    "data.path=reviews.csv",
    "teacher=text_transformer",
    "student=bilstm",
)
TAGS = (
    "task=token_classification",
    "data=tagged_words",
    "data.path=tagged.txt",
    "teacher=bilstm_tagger",
    "student=bilstm_tagger",
)
VECTORS = ("experiment=embedding", "teacher.model.path=model")
EMBEDDING = ("embedding", "sotu_sentences", "hf_embedder")
"""Tasks, data and models of embeddings."""
TAGGING = ("token_classification", "pos_tagging", "semantic_role_labeling", "tagged_words", "tagged_tweets")
"""Tasks and data of words with tags."""
ANSWERS = {
    "multi_label": ("loss=[binary_kd]",),
    "regression": ("data.path=numbers.csv", "data.label=stars", "loss=[regression_mse]"),
}
"""Tasks of texts with other labels than a class -> what goes with them."""


def names(group: str) -> list[str]:
    return [
        name.removeprefix(f"{group}/").removesuffix(".yaml")
        for name in FILES
        if name.startswith(f"{group}/") and "/_" not in name
    ]


def overrides_for(group: str, name: str) -> tuple[str, ...]:
    """A job that the choice fits into: language, or images."""
    text = (conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
    speaks = "vocab_size" in text
    if name.endswith("_tagger") or name in TAGGING:
        chosen = (f"teacher={name}", f"student={name}") if group == "model" else (f"{group}={name}",)
        return (*(word for word in TAGS if not (name == "tagged_tweets" and word.startswith("data"))), *chosen)
    if name in EMBEDDING and group != "experiment":
        rows = () if group == "data" else ("data=table", "data.path=numbers.csv", "data.limit=null")
        return (*VECTORS, *rows, f"student={name}" if group == "model" else f"{group}={name}")
    if group == "data" and name in ("movie_snippets", "sms_spam", "sotu_paragraphs", "hf"):
        return (*(word for word in TEXTS if not word.startswith("data")), f"data={name}")
    if "tokenizer:" in text or name in ("text_classification", "table"):
        return (*TEXTS, *((f"teacher={name}", f"student={name}") if group == "model" else ()))
    if group == "task" and name in ANSWERS:
        return (*TEXTS, f"task={name}", *ANSWERS[name])
    if group == "data":
        return (*(() if speaks else ROWS), f"data={name}")
    if group == "task":
        return (*LANGUAGE, f"task={name}") if speaks else (*IMAGES, f"task={name}")
    if group == "model":
        return (*(LANGUAGE if speaks else IMAGES), f"teacher={name}", f"student={name}")
    if group == "experiment":
        return (f"experiment={name}",)
    if group.startswith("hydra/sweeper/"):
        return (*LANGUAGE, "hydra/sweeper=optuna", f"{group}={name}")
    if group == "sample_temperature":
        return (*LANGUAGE, f"+{group}@loss.kd.temperature={name}")
    if group in ("callbacks", "logger", "loss"):
        return (*LANGUAGE, f"{group}=[{name}]")
    if group in ("optimizer", "scheduler", "hard_loss"):
        return (*LANGUAGE, f"{group}={name}", f"{group}@teacher.{group}={name}")
    return (*LANGUAGE, f"{group}={name}")


UNSET = {
    "data/npz": NPZ,
    "data/image_folder": ("data.path=images",),
    "data/hf": ("data.path=saved",),
    "experiment/texts": ("data.path=reviews.csv",),
    "experiment/pos": ("data.path=brown.txt",),
    **dict.fromkeys(
        ("model/hf", "model/hf_encoder", "model/hf_tagger", "model/hf_embedder"),
        ("teacher.model.path=model", "student.model.path=model"),
    ),
    "data/text_files": ("data.root=texts",),
    "callbacks/early_stopping": ("callbacks.early_stopping.mode=min",),
}
"""What a file leaves to the user -> a value for it."""


def write_rows(folder: Path) -> None:
    """Into the working folder of the jobs: texts in files and tables, words with tags, images, a model of ``transformers``."""
    texts(folder / "texts")
    write_reviews(folder / "reviews.csv")
    words = ["film", "plot", "it", "the", "very", "is"]
    draws = [[words[number // 6**place % 6] for place in range(3 + number % 3)] for number in range(80)]
    stars = [f"{' '.join(draw)} no {number},{number % 7 + len(draw)}" for number, draw in enumerate(draws)]
    (folder / "numbers.csv").write_text("\n".join(["review,stars", *stars]))
    write_tagged(folder / "tagged.txt")
    write_tagged(folder / "brown.txt")
    write_image_folder(folder / "images", {"red": 3, "blue": 3})
    if importlib.util.find_spec("datasets"):
        save_dataset(folder / "saved", {"train": list_rows(20)})
    if importlib.util.find_spec("transformers"):
        make_hub_folder(folder / "model", dropout=0.0)
