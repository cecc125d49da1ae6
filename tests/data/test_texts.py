"""Texts as ids: those that the tokenizer itself gives for each text, whatever the pieces they are made in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from kd_lightning.data import texts
from kd_lightning.data.columns import InMemory, Ragged, RaggedRows
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import PAIR_COLUMN, TEXT_COLUMN, Table
from kd_lightning.data.texts import TOO_LONG, TextEncoder, decode_texts, encode_rows, ragged_column, with_ids
from kd_lightning.data.tokenizers.hub import HubTokenizer
from kd_lightning.data.tokenizers.word import WordTokenizer
from kd_lightning.errors import ConfigError
from kd_lightning.store import Store
from tests.support.hub import make_hub_folder

TRAIN = ["the film is good", "a dull plot", "ça, c'est \N{GRINNING FACE} bon", "good"]
OTHER = ["an unknown thing entirely here"]


def column(rows: list[str]) -> Ragged:
    return ragged_column([list(row.encode()) for row in rows], torch.uint8)


def prepared(train: list[str] = TRAIN) -> Prepared:
    splits = {"train": train, "val": OTHER, "test": OTHER}
    return Prepared(
        {
            split: Table({TEXT_COLUMN: column(rows), "targets": torch.arange(len(rows)) % 2})
            for split, rows in splits.items()
        }
    )


def stored(rows: Prepared, tokenizer: WordTokenizer | HubTokenizer, folder: Path) -> Prepared:
    entry = Store(folder).entry("ids", "k" * 64)
    with entry.lock(waiting=lambda: None):
        write_prepared(entry, encode_rows(rows, tokenizer))
    return read_prepared(entry)[0]


def ids_of(table: Table) -> list[list[int]]:
    rows = table.column("ids").whole()
    assert isinstance(rows, RaggedRows)
    return [part.tolist() for part in rows.values.split(rows.lengths.tolist())]


def test_texts_come_back_from_their_bytes() -> None:
    rows = column([*TRAIN, ""]).take(torch.tensor([2, 4, 0]))
    assert decode_texts(rows) == [TRAIN[2], "", TRAIN[0]]


@pytest.mark.parametrize("at_once", [1, 3, 4096])
def test_ids_are_those_of_each_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(texts, "ROWS_AT_ONCE", at_once)
    found = stored(prepared(), WordTokenizer(vocab_size=40, max_length=3), tmp_path)
    alone = Tokenizer.from_str(found.tokenizer)
    assert ids_of(found.splits["train"]) == [alone.encode(text).ids[:3] for text in TRAIN]
    assert ids_of(found.splits["test"]) == [alone.encode(text).ids[:3] for text in OTHER]
    assert found.facts == {f"train {TOO_LONG}": 2, f"val {TOO_LONG}": 1, f"test {TOO_LONG}": 1}


def test_the_vocabulary_is_learned_from_training_texts_alone(tmp_path: Path) -> None:
    found = stored(prepared(), WordTokenizer(vocab_size=40, max_length=9), tmp_path)
    assert ids_of(found.splits["test"]) == [[1] * 5]  # all unknown


def test_a_hub_tokenizer_gives_what_the_library_gives_pairs_included(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = make_hub_folder(tmp_path / "model")
    rows = prepared()
    pairs = Prepared(
        {split: table.with_column(PAIR_COLUMN, table.column(TEXT_COLUMN)) for split, table in rows.splits.items()}
    )
    found = stored(pairs, HubTokenizer(str(folder), max_length=12), tmp_path / "store").splits["train"]
    library = transformers.AutoTokenizer.from_pretrained(folder)
    wanted = [library(text, text, truncation=True, max_length=12) for text in TRAIN]
    assert ids_of(found) == [each["input_ids"] for each in wanted]
    types = found.column("type_ids").whole()
    assert isinstance(types, RaggedRows)
    assert types.values.tolist() == [number for each in wanted for number in each["token_type_ids"]]


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match="no tokenizer can be read there"):
        HubTokenizer(str(tmp_path)).fit()
    with pytest.raises(ConfigError, match="at least 1 token"):
        HubTokenizer(str(tmp_path), max_length=0)


def test_chosen_rows_have_their_own_ids_and_no_texts(tmp_path: Path) -> None:
    raw = prepared()
    encoded = stored(raw, WordTokenizer(vocab_size=40, max_length=9), tmp_path)
    chosen = Prepared({**raw.splits, "train": raw.splits["train"].select(torch.tensor([3, 0]))})
    found = with_ids(chosen, {"student": encoded}).splits["train"]
    every = ids_of(encoded.splits["train"])
    rows = found.column("student_ids").whole()
    assert isinstance(rows, RaggedRows)
    assert rows.values.tolist() == every[3] + every[0]
    assert set(found.columns) == {"targets", "student_ids"}
    assert found.ids.tolist() == [3, 0]


def test_a_text_without_a_token_has_one_that_stands_for_nothing() -> None:
    nothing = (
        '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,'
    )
    nothing += '"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"[PAD]":0},"unk_token":"?"}}'
    table, cut = TextEncoder(nothing, 4).encode([""])
    assert (ids_of(table), cut) == ([[0]], 0)
    assert isinstance(table.column("ids").offsets, InMemory)  # type: ignore[union-attr]
