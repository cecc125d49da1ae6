"""Text classifiers made of ``transformers`` models: a whole classifier, or an encoder with a new head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.models.huggingface.architecture import Architecture, export_config
from kd_lightning.models.huggingface.bert_widths import map_bert_widths
from kd_lightning.models.huggingface.digest import folder_digest
from kd_lightning.models.huggingface.loading import keep_layers, load_model, read_config
from kd_lightning.models.huggingface.low_rank import add_low_rank
from kd_lightning.models.narrowing import WidthMap
from kd_lightning.models.pooling import MaxPooling, MeanPooling

WITHOUT_FOLDER = {"revision": None, "pretrained": False, "digest": None}
"""Settings of a network that is built from a configuration alone."""


class HubClassifier(nn.Module):
    """``AutoModelForSequenceClassification`` with the data's classes.

    A head that comes with the weights is as good as it was if its label names are the data's: its outputs are put into the
    data's order. Else what it knows is of no use, and it has to be trained.

    Args:
        path: Folder of the model, ``package:NAME/FOLDER`` = one inside an installed package, or its name on the hub.
        num_classes: C.
        tokenizer: Makes the ids; kept for whoever prepares rows.
        revision: Of a model on the hub: branch, tag or commit; None = the main branch.
        pretrained: With its weights; False = its architecture alone, starting at random.
        layers: Numbers, from 0, of the transformer layers that stay; None = all.
        label_names: The data's, in the order of class numbers; None = not known.
        labels: The model's label name -> the data's, where they differ.
        digest: Of the model's files; part of the key of whatever is trained from them.
        lora: Settings of ``add_low_rank``: its head and low-rank additions alone are trained; None = all weights.

    Returns:
        logits [B, C] for ids [B, T] int64 and attention_mask [B, T] bool.

    Raises:
        ConfigError: There is no such model, or ``layers`` or ``labels`` do not fit it.
        CheckpointCorruptError: The weights cannot be read.
        MissingExtraError: ``transformers`` is not installed.
    """

    auto = "AutoModelForSequenceClassification"
    """The class of the library that makes the model."""

    def __init__(
        self,
        path: str,
        num_classes: int,
        tokenizer: Any = None,
        revision: str | None = None,
        pretrained: bool = True,
        layers: Sequence[int] | None = None,
        label_names: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        digest: str | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        config = read_config(path, revision)
        self.own_labels = [str(config.id2label[number]) for number in range(len(config.id2label))]
        order = match_outputs(self.own_labels, label_names, labels or {})
        self._keeps_labels = order is not None
        if order is None:
            config.num_labels = num_classes
        self._config = export_config(config)
        self.network, missing = load_model(self.auto, config, path, revision, pretrained)
        if layers is not None:
            keep_layers(self.network, list(layers))
        if lora is not None:
            inside = f"{self.network.base_model_prefix}."
            heads = [name for name, _ in self.network.named_parameters() if not name.startswith(inside)]
            add_low_rank(self.network, lora, [*heads, *missing])
        made_for = next(iter(config.architectures or ()), "")
        self.untrained = self._explain_head(path, made_for, missing, label_names or (), order)
        self.register_buffer("order", torch.tensor(order or range(num_classes)), persistent=False)

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """What its settings leave open and its files tell."""
        return {"digest": folder_digest(settings["path"], settings.get("revision"))}

    def describe_architecture(self) -> Architecture:
        """See ``DescribesArchitecture``."""
        # Its own labels, in the data's order: so the outputs come in the same order again.
        order: list[int] = self.order.tolist()  # type: ignore[operator]
        names = [self.own_labels[number] for number in order] if self._keeps_labels else None
        return Architecture(self._config, {**WITHOUT_FOLDER, "label_names": names, "labels": None})

    def why_untrained(self) -> str | None:
        """Why it cannot be a teacher as it is; None = it can."""
        return self.untrained

    def _explain_head(
        self, path: str, made_for: str, missing: Sequence[str], wanted: Sequence[str], order: list[int] | None
    ) -> str | None:
        if "Classification" in made_for and not made_for.endswith(self.auto.removeprefix("AutoModel")):
            return f"{path} is a {made_for}, and the task needs a model {self.auto.removeprefix('AutoModel')}"
        if missing:
            return f"{path} has no classification head ({missing[0]} starts at random)"
        if order is not None:
            return None
        own = self.own_labels
        return (
            f"{path} classifies into {', '.join(own)}, the data into {', '.join(wanted) or 'classes without names'}: say which "
            f"is which with 'teacher.model.labels={{{own[0]}: {wanted[0] if wanted else '...'}, ...}}'"
        )

    def map_widths(self) -> WidthMap:
        """See ``NarrowsWidths``."""
        inside: Any = self.network
        prefix = f"network.{inside.base_model_prefix}."
        return map_bert_widths(
            self.state_dict(), prefix, "network.", inside.config.num_hidden_layers, self.count_heads()
        )

    def count_heads(self) -> int:
        """See ``NarrowsWidths``."""
        return int(getattr(self.network.config, "num_attention_heads", 1))

    def hidden_states(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See ``EncodesTokens``."""
        inside: Any = self.network.base_model
        states: Tensor = inside(input_ids=ids, attention_mask=attention_mask.long()).last_hidden_state
        return states

    def forward(self, ids: Tensor, attention_mask: Tensor, **more: Tensor) -> Tensor:
        """Logits [B, C] for ids [B, T] int64 and attention_mask [B, T] bool, True = a token."""
        logits: Tensor = self.network(input_ids=ids, attention_mask=attention_mask.long(), **more).logits
        return logits.index_select(-1, self.order)  # type: ignore[arg-type]


class HubEncoder(nn.Module):
    """Any ``AutoModel`` of texts whose last hidden states are pooled, and a new linear head on top.

    Args:
        path: As in ``HubClassifier``, and so the others.
        num_classes: Likewise.
        tokenizer: Likewise.
        pooling: ``mean`` over the real tokens, ``cls`` = the first token, or ``max`` over the real tokens.
        revision: Likewise.
        pretrained: Likewise.
        layers: Likewise.
        digest: Likewise.
        lora: Likewise.

    Returns:
        logits [B, C] for ids [B, T] int64 and attention_mask [B, T] bool.

    Raises:
        ConfigError: There is no such model, or ``layers`` or ``pooling`` is not possible.
        CheckpointCorruptError: The weights cannot be read.
        MissingExtraError: ``transformers`` is not installed.
    """

    read_open_settings = staticmethod(HubClassifier.read_open_settings)

    def __init__(
        self,
        path: str,
        num_classes: int,
        tokenizer: Any = None,
        pooling: str = "mean",
        revision: str | None = None,
        pretrained: bool = True,
        layers: Sequence[int] | None = None,
        digest: str | None = None,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ConfigError(f"model.pooling={pooling}: one of {', '.join(POOLINGS)}{did_you_mean(pooling, POOLINGS)}")
        self.tokenizer = tokenizer
        self.path = path
        self.pool = POOLINGS[pooling]()
        config = read_config(path, revision)
        self._config = export_config(config)
        self.encoder, self.missing = load_model("AutoModel", config, path, revision, pretrained)
        if layers is not None:
            keep_layers(self.encoder, list(layers))
        if getattr(self.encoder, "pooler", None) is not None:  # nobody reads it: weights that nothing trains
            self.encoder.pooler = None  # type: ignore[assignment]
        if lora is not None:
            add_low_rank(self.encoder, lora, ())
        self.head: nn.Module = nn.Linear(config.hidden_size, num_classes)

    def describe_architecture(self) -> Architecture:
        """See ``DescribesArchitecture``."""
        return Architecture(self._config, WITHOUT_FOLDER)

    def why_untrained(self) -> str | None:
        """Why it cannot be a teacher as it is; None = it can."""
        return f"the head on {self.path} is new and starts at random"

    def body(self, ids: Tensor, attention_mask: Tensor, **more: Tensor) -> Tensor:
        """Pooled hidden states [B, D]."""
        return self.pool(self.hidden_states(ids, attention_mask, **more), attention_mask)

    def map_widths(self) -> WidthMap:
        """See ``NarrowsWidths``."""
        why = (
            "model.pooling=max takes the largest value of each feature, and a narrower student's features are rotated: set "
            "model.pooling=mean, or student.init=null"
        )
        config: Any = self.encoder.config
        fixed = why if isinstance(self.pool, MaxPooling) else None
        return map_bert_widths(self.state_dict(), "encoder.", "", config.num_hidden_layers, self.count_heads(), fixed)

    def count_heads(self) -> int:
        """See ``NarrowsWidths``."""
        return int(getattr(self.encoder.config, "num_attention_heads", 1))

    def hidden_states(self, ids: Tensor, attention_mask: Tensor, **more: Tensor) -> Tensor:
        """See ``EncodesTokens``."""
        states: Tensor = self.encoder(input_ids=ids, attention_mask=attention_mask.long(), **more).last_hidden_state
        return states

    def forward(self, ids: Tensor, attention_mask: Tensor, **more: Tensor) -> Tensor:
        """Logits [B, C] for ids [B, T] int64 and attention_mask [B, T] bool, True = a token."""
        return self.head(self.body(ids, attention_mask, **more))


class FirstToken(nn.Module):
    """What a pretrained network puts into the mark at a text's beginning."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, D] of ``states`` [B, T, D]."""
        return states[:, 0]


POOLINGS: dict[str, type[nn.Module]] = {"mean": MeanPooling, "cls": FirstToken, "max": MaxPooling}


def match_outputs(own: Sequence[str], wanted: Sequence[str] | None, renamed: Mapping[str, str]) -> list[int] | None:
    """Of the data's labels, which of a model's outputs each one is; None = the model's labels are others.

    Args:
        own: The model's label names, in the order of its outputs.
        wanted: The data's, in the order of class numbers.
        renamed: The model's name -> the data's.

    Raises:
        ConfigError: ``renamed`` names a label that one of them does not have.

    Example:
        >>> match_outputs(["NEGATIVE", "POSITIVE"], ["pos", "neg"], {"NEGATIVE": "neg", "POSITIVE": "pos"})
        [1, 0]
        >>> match_outputs(["LABEL_0", "LABEL_1"], ["neg", "pos"], {})
    """
    for theirs, ours in renamed.items():
        for name, names, whose in ((theirs, own, "model"), (ours, wanted or (), "data")):
            if str(name) not in names:
                raise ConfigError(
                    f"model.labels: the {whose} has no label {name!r}, only {', '.join(names)}{did_you_mean(str(name), names)}"
                )
    told = {str(theirs): str(ours) for theirs, ours in renamed.items()}
    translated = [told.get(name, name).casefold() for name in own]
    if wanted is None or sorted(translated) != sorted(name.casefold() for name in wanted):
        return None
    return [translated.index(name.casefold()) for name in wanted]
