"""Small tables and a small pretrained model, for runs of a few steps."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

WORDS = {"pos": ("fine", "great", "lovely"), "neg": ("bad", "awful", "dull"), "mixed": ("odd", "long", "strange")}
NEUTRAL = ("the", "a", "film", "of", "story", "plot", "it", "was", "and")


def write_table(path: Path, rows: int, seed: int, labels: Sequence[str] = ("neg", "pos"), pair: bool = False) -> Path:
    """A CSV of texts (``review``) and labels (``kind``), and second texts (``reply``)."""
    draw = random.Random(seed)

    def text(label: str) -> str:
        return " ".join(
            draw.choice(WORDS[label] if draw.random() < 0.4 else NEUTRAL) for _ in range(draw.randint(1, 25))
        )

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", *(["reply"] if pair else []), "kind"])
        for number in range(rows):
            label = labels[number % len(labels)]
            writer.writerow([f"{text(label)} {number}", *([text(label)] if pair else []), label])
    return path


def write_bert(folder: Path, labels: Sequence[str], layers: int = 2) -> Path:
    """A BERT classifier of ``transformers`` with a tokenizer of its own."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *NEUTRAL, *(word for each in WORDS.values() for word in each)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special: dict[str, Any] = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.4,  # or all texts would be alike
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    return folder
