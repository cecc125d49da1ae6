"""What every network obeys that classifies texts with a vocabulary of its own. Files are found by glob, as in
``test_model_laws.py`` and ``test_text_models.py``, whose laws these obey as well."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lightning.data.tokenizers.word import WordTokenizer
from kd_lightning.errors import ConfigError, SequenceTooLongError, VocabMismatchError
from kd_lightning.models.taps import tap_network
from kd_lightning.tasks.base import why_whole

CONF = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(
    path.relative_to(CONF).with_suffix("").as_posix()
    for path in CONF.rglob("*.yaml")
    if {"tokenizer", "vocab_size"} <= set(OmegaConf.load(path)) and not path.stem.endswith("_tagger")
)  # those that tag each token: ``test_taggers.py``
CLASSES = 3
VOCAB = 300
LENGTHS = [1, 2, 3, 7, 12, 4]
"""Of the rows of a batch; each is also read alone."""


def settings_of(name: str) -> dict[str, Any]:
    """What the file says, interpolations as they stand."""
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)


def build(name: str, **changes: object) -> nn.Module:
    """The network of ``conf/model/<name>.yaml`` with a small vocabulary, with a fixed seed."""
    settings = {**settings_of(name), "vocab_size": VOCAB, **changes}
    whole = OmegaConf.create({"data": {"num_classes": CLASSES}, "model": settings})
    torch.manual_seed(0)
    return hydra.utils.instantiate(whole.model, _convert_="all")


def text_rows(lengths: list[int] = LENGTHS, seed: int = 1, vocab_size: int = VOCAB) -> list[Tensor]:
    """Ids [L] of texts without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocab_size, (length,), generator=generator) for length in lengths]


def padded(rows: list[Tensor], longest: int | None = None, fill: int = 0) -> tuple[Tensor, Tensor]:
    """Ids [B, T] and their mask."""
    longest = longest or max(map(len, rows))
    ids = torch.stack([F.pad(row, (0, longest - len(row)), value=fill) for row in rows])
    return ids, torch.arange(longest) < torch.tensor([[len(row)] for row in rows])


def gradients(network: nn.Module, logits: Tensor) -> dict[str, Tensor]:
    """Of a function of the logits that tells all rows and classes apart."""
    network.zero_grad()
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).reshape(logits.shape)
    (logits * weights).sum().backward()
    return {path: parameter.grad.clone() for path, parameter in network.named_parameters()}


def test_known_networks_are_found() -> None:
    assert {"bilstm", "text_cnn", "text_transformer", "static_embedding"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_tokenizer_has_the_networks_sizes(name: str) -> None:
    network = build(name)
    assert network.tokenizer.vocab_size == network.embedding.num_embeddings == VOCAB
    assert network.tokenizer.max_length == getattr(network, "max_length", 128)
    assert not isinstance(network.tokenizer, nn.Module)


# -- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_at_padding_is_not_read(name: str) -> None:
    network, rows = build(name), text_rows()
    ids, mask = padded(rows)
    expected = network(ids, attention_mask=mask)
    expected_gradients = gradients(network, expected)
    for fill in (5, VOCAB - 1, 10**9, -1):
        logits = network(padded(rows, fill=fill)[0], attention_mask=mask)
        assert torch.equal(logits, expected)
        for path, gradient in gradients(network, logits).items():
            assert torch.equal(gradient, expected_gradients[path]), path
    changed = ids.clone()
    changed[:, 0] = (changed[:, 0] - 2) % (VOCAB - 3) + 3
    assert (network(changed, attention_mask=mask) != expected).any(dim=1).all(), "the control: tokens are read"


@pytest.mark.parametrize("name", NAMES)
def test_taps_at_tokens_do_not_depend_on_padding(name: str) -> None:
    network, rows = build(name), text_rows()
    (ids, mask), taps = padded(rows), {path: path for path in documented_taps(network)}
    with tap_network(network, taps) as together:
        network(ids, attention_mask=mask)
    with tap_network(network, taps) as more:
        network(*padded(rows, 20))
    for path in taps:
        ours, theirs = together[path], more[path]
        if ours.dim() == 3:
            ours, theirs = ours[mask], theirs[:, : ids.shape[1]][mask]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_padding_token_is_nothing_and_is_not_trained(name: str) -> None:
    network = build(name)
    ids, mask = padded([*text_rows(), torch.tensor([0]), torch.tensor([5, 0, 6])])
    assert not network.embedding.weight[0].any()
    gradient = gradients(network, network(ids, attention_mask=mask))["embedding.weight"]
    assert not gradient[0].any()
    assert gradient[5].any(), "the control: other tokens are trained"
    before = network(*padded(text_rows()))
    with torch.no_grad():
        network.embedding.weight[0] = 7.0
    assert torch.equal(network(*padded(text_rows())), before)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_one_token_and_batches_of_one_row_work(name: str) -> None:
    network = build(name)
    for ids in (torch.tensor([[5]]), torch.tensor([[5], [6]]), torch.tensor([[0]])):
        logits = network(ids, attention_mask=torch.ones_like(ids, dtype=torch.bool))
        assert logits.shape == (len(ids), CLASSES)
        assert logits.isfinite().all()
        assert torch.equal(logits, network(ids)), "without a mask all are tokens"


@pytest.mark.parametrize("name", NAMES)
def test_texts_as_long_as_the_tokenizer_allows_are_read_to_the_end(name: str) -> None:
    network = build(name).double()
    ids = text_rows([network.tokenizer.max_length])[0][None]
    changed = ids.clone()
    changed[0, -1] = 3 if int(ids[0, -1]) != 3 else 4
    assert network(ids).isfinite().all()
    # The largest response of a filter may stand elsewhere, but hardly of all.
    assert not torch.equal(network(ids), network(changed))


# -- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = build(name)
    for path, gradient in gradients(network, network(*padded(text_rows()))).items():
        assert gradient.isfinite().all(), path
        assert gradient.any(), path
        if path.startswith(("layers", "blocks", "filters")) and gradient.dim() == 2 and "qkv" not in path:
            assert gradient.any(dim=1).all(), path


@pytest.mark.parametrize("name", NAMES)
def test_sixteen_rows_are_learned_by_heart(name: str) -> None:
    network = build(name)
    ids, mask = padded(text_rows([3 + row % 9 for row in range(16)]))
    targets = torch.arange(16) % CLASSES
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = [F.cross_entropy(network(ids, attention_mask=mask), targets)]
    while losses[-1] > 0.05 and len(losses) < 200:
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
        losses.append(F.cross_entropy(network(ids, attention_mask=mask), targets))
    assert losses[-1] <= 0.05
    assert torch.equal(network(ids, attention_mask=mask).argmax(dim=1), targets)


# -- what losses and settings ask for --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_head_of_the_body(name: str) -> None:
    network, (ids, mask) = build(name), padded(text_rows())
    features = network.body(ids, attention_mask=mask)
    assert features.shape == (len(ids), network.head.in_features)
    assert torch.equal(network.head(features), network(ids, attention_mask=mask))
    assert why_whole(network, ["features"]) is None
    with tap_network(network, {"body": "features"}) as tapped:
        network(ids, attention_mask=mask)
    assert torch.equal(tapped["body"], features)


def documented_taps(network: nn.Module) -> list[str]:
    """The paths of the docstring's paragraph on taps, of the first module where there are several."""
    paragraph = re.search(r"To tap: (.*?)\n\n", type(network).__doc__ or "", re.DOTALL)
    assert paragraph
    found = [path.replace("<i>", "0") for path in re.findall(r"``(.+?)``", paragraph[1])]
    return [path for path in found if path != "body" and not path.startswith(":")]


@pytest.mark.parametrize("name", NAMES)
def test_documented_taps_give_positions_or_rows(name: str) -> None:
    network, (ids, mask) = build(name), padded(text_rows())
    taps = documented_taps(network)
    assert {"embedding", "features"} < set(taps)
    with tap_network(network, {path: path for path in taps}) as tapped:
        network(ids, attention_mask=mask)
    for path, feature in tapped.items():
        assert feature.shape[:-1] in (ids.shape, ids.shape[:1]), path
    assert not tapped["embedding"][~mask].any()


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_logit_for_each_class(name: str, classes: int) -> None:
    assert build(name, num_classes=classes)(torch.tensor([[5, 6]])).shape == (1, classes)


@pytest.mark.parametrize("name", NAMES)
def test_an_id_outside_the_vocabulary_is_named(name: str) -> None:
    network = build(name)
    for bad in (VOCAB, -1):
        with pytest.raises(VocabMismatchError, match=f"outside the vocabulary of {VOCAB}: set vocab_size"):
            network(torch.tensor([[5, bad]]))


@pytest.mark.parametrize("name", NAMES)
def test_a_tokenizer_with_a_larger_vocabulary_is_refused(name: str) -> None:
    node = settings_of(name)["tokenizer"]
    with pytest.raises(InstantiationException, match=r"tokenizer.vocab_size=301 is more than vocab_size=300"):
        build(name, tokenizer={**node, "vocab_size": VOCAB + 1})
    build(name, tokenizer={**node, "vocab_size": VOCAB - 1})


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("bilstm", {"hidden": 0}, "hidden=0"),
        ("bilstm", {"layers": True}, "layers=True"),
        ("bilstm", {"embedding": -1}, "embedding=-1"),
        ("bilstm", {"num_classes": 0}, "num_classes=0"),
        ("text_cnn", {"widths": []}, "widths=[]"),
        ("text_cnn", {"widths": [3, 0]}, "widths[1]=0"),
        ("text_cnn", {"channels": 2.0}, "channels=2.0"),
        ("static_embedding", {"hidden": 0}, "hidden=0"),
        ("static_embedding", {"vocab_size": 0}, "vocab_size=0"),
        ("text_transformer", {"heads": 3}, "heads=3"),
        ("text_transformer", {"mlp_width": 0}, "mlp_width=0"),
        ("text_transformer", {"max_length": "8"}, "max_length='8'"),
        *((name, {"dropout": 1.0}, "dropout=1.0") for name in NAMES),
    ],
)
def test_bad_arguments_are_named_with_value_and_fix(name: str, arguments: dict[str, Any], named: str) -> None:
    module, _, attribute = settings_of(name)["_target_"].rpartition(".")
    target = getattr(importlib.import_module(module), attribute)
    with pytest.raises(ConfigError) as error:
        target(**{"num_classes": 2, "vocab_size": 11, "tokenizer": WordTokenizer(11, 8), **arguments})
    assert f"{attribute}: {named}" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_transformer_refuses_what_is_longer_than_its_positions() -> None:
    network = build("text_transformer", max_length=6)
    assert network.tokenizer.max_length == 6
    assert network(torch.full((1, 6), 5)).shape == (1, CLASSES)
    for call in (network, network.body):
        with pytest.raises(SequenceTooLongError, match=r"7 tokens and max_length=6"):
            call(torch.full((1, 7), 5))
    with pytest.raises(SequenceTooLongError, match=r"tokenizer.max_length=9 is more than max_length=6"):
        type(network)(2, 11, WordTokenizer(11, 9), max_length=6)
