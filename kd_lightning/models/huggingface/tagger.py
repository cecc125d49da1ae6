"""Taggers made of ``transformers`` models: named entities, parts of speech."""

from __future__ import annotations

from kd_lightning.models.huggingface.classifier import HubClassifier


class HubTokenClassifier(HubClassifier):
    """``AutoModelForTokenClassification`` with the data's tags.

    A head that comes with the weights is kept, put into the data's order or trained anew as that of ``HubClassifier`` is.

    Args:
        path: As in ``HubClassifier``, and so the others.
        num_classes: Likewise.
        tokenizer: Likewise.
        revision: Likewise.
        pretrained: Likewise.
        layers: Likewise.
        label_names: Likewise.
        labels: Likewise.
        digest: Likewise.
        lora: Likewise.

    Returns:
        logits [B, T, C] for ids [B, T] int64 and attention_mask [B, T] bool.

    Raises:
        KDError: As ``HubClassifier``.
    """

    auto = "AutoModelForTokenClassification"
