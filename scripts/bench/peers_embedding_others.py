"""The other sides of ``peers_embedding.py``, in an environment of their own: sentence-transformers, model2vec."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MSELoss


def embed_by_teacher(teacher: str, texts: list[str], wanted: list[str], settings: dict[str, Any]) -> tuple[Any, float]:
    """The teacher itself."""
    return measure(load_encoder(teacher), wanted)


def train_layers(teacher: str, texts: list[str], wanted: list[str], settings: dict[str, Any]) -> tuple[Any, float]:
    """Layer reduction as in sentence-transformers' ``model_distillation.py``: the teacher's embeddings are the labels."""
    from datasets import Dataset

    torch.manual_seed(settings["seed"])
    labels = load_encoder(teacher).encode(texts, batch_size=settings["batch"], show_progress_bar=False)
    student = load_encoder(teacher)
    encoder = student[0].auto_model
    encoder.encoder.layer = torch.nn.ModuleList(encoder.encoder.layer[number] for number in settings["layers"])
    encoder.config.num_hidden_layers = len(settings["layers"])
    rows = Dataset.from_dict({"sentence": texts, "label": labels.tolist()})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            folder,
            max_steps=settings["steps"],
            per_device_train_batch_size=settings["batch"],
            learning_rate=settings["rate"],
            warmup_steps=settings["steps"] // 10,
            seed=settings["seed"],
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        SentenceTransformerTrainer(student, arguments, train_dataset=rows, loss=MSELoss(student)).train()
    return measure(student, wanted)


def distill_static(teacher: str, texts: list[str], wanted: list[str], settings: dict[str, Any]) -> tuple[Any, float]:
    """model2vec, which reads no texts."""
    from model2vec.distill import distill

    model = distill(teacher, pca_dims=settings["width"])
    return model.encode(wanted), model.embedding.nbytes / 1e6


def load_encoder(folder: str) -> Any:
    """Hidden states, their mean over tokens, and nothing behind it."""
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    model.max_seq_length = 128
    return SentenceTransformer(modules=list(model)[:2], device="cpu")


def measure(model: Any, wanted: list[str]) -> tuple[Any, float]:
    """Vectors of the texts, and megabytes of the weights."""
    megabytes = sum(each.numel() * each.element_size() for each in model.parameters()) / 1e6
    return model.encode(wanted, batch_size=64, show_progress_bar=False), megabytes


WAYS = {"teacher": embed_by_teacher, "layers": train_layers, "static": distill_static}


def main() -> None:
    """WHAT TEACHER TEXTS WANTED OUTPUT SETTINGS."""
    what, teacher, texts, wanted, output, settings = sys.argv[1:]
    lines = Path(texts).read_text(encoding="utf-8").splitlines()
    train = [json.loads(line)["text"] for line in lines]
    vectors, megabytes = WAYS[what](teacher, train, json.loads(Path(wanted).read_text()), json.loads(settings))
    np.savez(output, vectors=np.asarray(vectors, dtype=np.float32), megabytes=megabytes)


if __name__ == "__main__":
    main()
