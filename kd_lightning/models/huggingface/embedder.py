"""Sentence encoders made of ``transformers`` models: pooled hidden states are the embedding, without a head where they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kd_lightning.models.huggingface.classifier import HubClassifier, HubEncoder
from kd_lightning.models.huggingface.loading import read_config


class HubEmbedder(HubEncoder):
    """Any ``AutoModel`` of texts, its last hidden states pooled; a linear layer comes on top where another width is asked for.

    Args:
        path: As in ``HubEncoder``, and so the others.
        num_classes: D, width of the embedding; None = the model's own.
        tokenizer: Likewise.
        pooling: Likewise.
        revision: Likewise.
        pretrained: Likewise.
        layers: Likewise.
        digest: Likewise.
        lora: Likewise.

    Returns:
        embeddings [B, D] for ids [B, T] int64 and attention_mask [B, T] bool. Their length is the network's own: whoever
        compares by the cosine need not normalize them.

    Raises:
        ConfigError: As ``HubEncoder``; and so the others.
        CheckpointCorruptError: Likewise.
        MissingExtraError: Likewise.

    Reference: Reimers, Gurevych 2019, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", section 3.
    """

    def __init__(
        self,
        path: str,
        num_classes: int | None = None,
        tokenizer: Any = None,
        pooling: str = "mean",
        revision: str | None = None,
        pretrained: bool = True,
        layers: Sequence[int] | None = None,
        digest: str | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        width = read_width(path, revision)
        super().__init__(path, num_classes or width, tokenizer, pooling, revision, pretrained, layers, digest, lora)
        if num_classes in (None, width):
            self.head = nn.Identity()

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The digest of its files, and the width of its embeddings."""
        found = HubClassifier.read_open_settings(settings)
        return {**found, "num_classes": read_width(settings["path"], settings.get("revision"))}

    def why_untrained(self) -> str | None:
        """Why it cannot be a teacher as it is; None = it can."""
        there = {name for name, _ in self.encoder.named_parameters()}
        missing = [name for name in self.missing if name in there]  # a pooler may be missing: nobody reads it
        if missing:
            return f"{self.path} brings no weights for {missing[0]}, which starts at random"
        if isinstance(self.head, nn.Linear):
            return (
                f"the layer on {self.path} that gives {self.head.out_features} numbers for {self.head.in_features} is new and "
                "starts at random: set teacher.model.num_classes=null"
            )
        return None


def read_width(path: str, revision: str | None) -> int:
    """Of a model's hidden states.

    Raises:
        ConfigError: There is no such model.
    """
    return int(read_config(path, revision).hidden_size)
