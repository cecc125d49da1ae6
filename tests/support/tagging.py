"""Words with tags that can be learned, in a file, and the settings of a short run on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.tiny import ADAMW

NAMES = {"city": ["Paris", "Rome", "Oslo"], "person": ["Kim", "Ada", "Alan"]}
PLAIN = ["goes", "to", "the", "market", "in", "with", "and", "quickly", "."]
LABELS = ["O", "B-city", "B-person", "I-city", "I-person"]


def write_tagged(path: Path, count: int = 60) -> Path:
    """Sentences of 2 to 9 words, all different."""
    lines = []
    for number in range(count):
        kind = ("city", "person")[number % 2]
        lines.append(f"{NAMES[kind][number % 3]}\tB-{kind}")
        lines += [f"{'City' if kind == 'city' else 'Turing'}\tI-{kind}"] * (number % 3)
        lines += [f"{PLAIN[(number + shift) % len(PLAIN)]}\tO" for shift in range(number % 6)]
        lines += [f"{number}\tO", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def tagger(
    tokenizer: str = "bpe.BpeTokenizer", vocab_size: int = 300, max_length: int = 64, **sizes: int
) -> dict[str, Any]:
    """A BiLSTM's settings."""
    return {
        "_target_": "kd_lightning.models.bilstm.BiLSTM",
        "num_classes": len(LABELS),
        "vocab_size": vocab_size,
        "tokenizer": {
            "_target_": f"kd_lightning.data.tokenizers.{tokenizer}",
            "vocab_size": vocab_size,
            "max_length": max_length,
        },
        "pooling": {"_target_": "kd_lightning.models.pooling.EachToken"},
        "embedding": 8,
        "hidden": 8,
        **sizes,
    }


def tagging_settings(path: Path, **changes: Any) -> dict[str, Any]:
    """Changes that make the tiny experiment one of tagged words; teacher and student split words differently."""
    return {
        "task": {
            "name": "token_classification",
            "_target_": "kd_lightning.tasks.token_classification.TokenClassificationTask",
            "num_classes": len(LABELS),
            "monitor": "span_f1",
            "metrics": {
                "accuracy": {"_target_": "kd_lightning.tasks.metrics.Accuracy"},
                "cross_entropy": {"_target_": "kd_lightning.tasks.metrics.CrossEntropy"},
                "span_f1": {"_target_": "kd_lightning.tasks.spans.SpanF1", "labels": LABELS},
            },
        },
        "data__source": {
            "_target_": "kd_lightning.data.sources.tagged_words.TaggedWords",
            "path": str(path),
            "val": 0.2,
            "test": 0.2,
        },
        "teacher__model": tagger(hidden=12),
        "student__model": tagger("word.WordTokenizer", 60),
        "teacher__optimizer": {**ADAMW, "lr": 0.05},
        "student__optimizer": {**ADAMW, "lr": 0.05},
        **changes,
    }
