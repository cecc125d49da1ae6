"""Networks that answer for each token: those with ``EachToken`` in the place of pooling, and taggers of ``transformers``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning.models.bilstm import BiLSTM
from kd_lightning.models.huggingface.classifier import HubClassifier
from kd_lightning.models.huggingface.tagger import HubTokenClassifier
from kd_lightning.models.text_transformer import TextTransformer
from kd_lightning.tasks.base import why_whole
from tests.models.test_text_networks import CONF, VOCAB, build, padded, text_rows
from tests.support.hub import make_hub_folder

NAMES = sorted(path.stem for path in CONF.glob("*_tagger.yaml") if not path.stem.startswith("hf"))
TAGS = ["O", "B-x", "I-x"]


def tagged_folder(folder: Path, labels: list[str] = TAGS) -> Path:
    """A BERT that tags, in a folder."""
    transformers = pytest.importorskip("transformers")
    make_hub_folder(folder, labels=labels)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder)
    nn.init.normal_(model.classifier.bias)
    model.save_pretrained(folder)
    return folder


def test_known_files_are_found() -> None:
    assert NAMES == ["bilstm_tagger", "transformer_tagger"]
    assert {type(build(name)) for name in NAMES} == {BiLSTM, TextTransformer}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_token_knows_of_the_last(name: str) -> None:
    network = build(name)
    ids = text_rows([9])[0][None]
    changed = ids.clone()
    changed[0, -1] = (changed[0, -1] + 1 - 3) % (VOCAB - 3) + 3
    assert (network(ids) - network(changed)).abs().amax(dim=-1).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_head_of_the_body(name: str) -> None:
    network, (ids, mask) = build(name), padded(text_rows())
    features = network.body(ids, attention_mask=mask)
    assert features.shape == (*ids.shape, network.head.in_features)
    assert torch.equal(network.head(features), network(ids, attention_mask=mask))
    assert why_whole(network, ["features"]) is None
    assert network.tokenizer.vocab_size == VOCAB
    assert network.tokenizer.max_length == 256


# -- of transformers -------------------------------------------------------------------------------------------------


def test_a_trained_head_is_put_into_the_datas_order(tmp_path: Path) -> None:
    folder = tagged_folder(tmp_path)
    ids, mask = padded([torch.tensor([2, 9, 3]), torch.tensor([2, 3])])
    given = HubTokenClassifier(str(folder), 3, label_names=TAGS).eval()
    turned = HubTokenClassifier(str(folder), 3, label_names=TAGS[::-1]).eval()
    assert given.why_untrained() is None is turned.why_untrained()
    logits = given(ids, attention_mask=mask)
    assert logits.shape == (2, 3, 3)
    assert torch.equal(turned(ids, attention_mask=mask), logits.flip(-1))


def test_other_tags_need_training(tmp_path: Path) -> None:
    folder = tagged_folder(tmp_path)
    other = HubTokenClassifier(str(folder), 5, label_names=["O", "B-a", "B-b", "I-a", "I-b"])
    assert "the data into O, B-a, B-b, I-a, I-b: say which is which" in (other.why_untrained() or "")
    renamed = HubTokenClassifier(str(folder), 3, label_names=["O", "B-y", "I-y"])
    assert "classifies into O, B-x, I-x, the data into O, B-y, I-y: say which is which" in (
        renamed.why_untrained() or ""
    )
    told = HubTokenClassifier(str(folder), 3, label_names=["O", "B-y", "I-y"], labels={"B-x": "B-y", "I-x": "I-y"})
    assert told.why_untrained() is None


def test_a_classifier_of_the_other_kind_is_no_teacher(tmp_path: Path) -> None:
    texts, words = make_hub_folder(tmp_path / "texts", labels=TAGS), tagged_folder(tmp_path / "words")
    for made_by, folder, said in (
        (
            HubTokenClassifier,
            texts,
            "is a BertForSequenceClassification, and the task needs a model ForTokenClassification",
        ),
        (HubClassifier, words, "is a BertForTokenClassification, and the task needs a model ForSequenceClassification"),
    ):
        assert said in (made_by(str(folder), 3, label_names=TAGS).why_untrained() or "")
    assert HubClassifier(str(texts), 3, label_names=TAGS).why_untrained() is None, "the control"
