"""Small models of the ``transformers`` library in folders, made on the spot, and tables of texts that go with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ("a", "b", "bad", "dull", "film", "fine", "good", "is", "it", "plot", "the", "very", "weak", "##ly", "##s")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOOD, BAD = ("fine", "good"), ("bad", "dull", "weak")


def make_hub_folder(
    folder: Path,
    labels: Sequence[str] | None = None,
    layers: int = 2,
    seed: int = 0,
    head: bool = True,
    dropout: float = 0.1,
) -> Path:
    """A BERT of a few hundred weights with its tokenizer.

    Args:
        folder: Made.
        labels: Of its head, in the order of its outputs; None = two without names.
        layers: Of its encoder.
        seed: Of its weights.
        head: False = the encoder alone.
        dropout: Its probability, everywhere.
    """
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    read = ["input_ids", "token_type_ids", "attention_mask"]
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=read, **special)
    made.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        num_labels=len(labels or (0, 1)),
        initializer_range=0.5,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **(
            {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
            if labels
            else {}
        ),
    )
    torch.manual_seed(seed)
    made_by = transformers.BertForSequenceClassification if head else transformers.BertModel
    made_by(config).save_pretrained(folder)
    return folder


def list_reviews(count: int) -> list[tuple[str, str]]:
    """Texts and labels that can be learned, all different."""
    found = []
    for number in range(count):
        words = GOOD if number % 2 else BAD
        extra = " ".join(WORDS[(number // 2 + shift * 3) % 12] for shift in range(number % 4) if shift)
        text = f"{'the film' if number % 3 else 'it'} is {words[number % len(words)]} {extra} no {number}"
        found.append((text, "pos" if number % 2 else "neg"))
    return found


def write_reviews(path: Path, count: int = 80, columns: Sequence[str] = ("review", "label")) -> Path:
    """A CSV of ``list_reviews``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(list_reviews(count))
    return path


def review_words(folder: Path, table: Path, **more: Any) -> list[str]:
    """Words of a short run on a table of texts."""
    shared = {
        "teacher.steps": 6,
        "student.steps": 6,
        "student.pretrain_steps": 2,
        "validate_every": 3,
        "data.batch_size": 8,
        "data.val": 0.2,
        "data.test": 0.2,
        "progress": "false",
        "outputs": folder,
    }
    sizes = {"student.model.embedding": 8, "student.model.hidden": 8, "student.model.vocab_size": 60}
    return [f"data={table}", *(f"{name}={value}" for name, value in (shared | sizes | more).items())]
