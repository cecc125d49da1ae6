"""Rows of words as ids of a tokenizer: each word's first token is found, whatever the tokenizer makes of it."""

from __future__ import annotations

from pathlib import Path

import torch

from kd_lightning.data.columns import Ragged
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.data.text_rows import Texts
from kd_lightning.data.texts import TOO_LONG, encode_rows, with_ids
from kd_lightning.data.tokenizers.base import TextTokenizer
from kd_lightning.data.tokenizers.bpe import BpeTokenizer
from kd_lightning.data.tokenizers.hub import HubTokenizer
from kd_lightning.data.tokenizers.word import WordTokenizer
from kd_lightning.data.words import FITTING_WORDS, IDS, LONGEST_ROW, STARTS, WordEncoder, join_words, split_row
from tests.support.hub import make_hub_folder

NASTY = [
    ["New York", "is", "e-mail@x.org", "\u200b", "[SEP]", "naïve", "\x00", "日本", "#tag", " "],
    ["good"],
    ["\u200b"],
    ["the", "\u200d", "\ufeff", "end"],
]


def prepared(rows: list[list[str]]) -> Prepared:
    texts = Texts()
    for row in rows:
        texts.append(join_words(row))
    table = Table({"words": texts.take(torch.arange(len(rows)))})
    return Prepared(dict.fromkeys(("train", "val", "test"), table))


def encoded(rows: list[list[str]], tokenizer: TextTokenizer) -> tuple[list[list[int]], list[list[int]], dict]:
    pieces = encode_rows(prepared(rows), tokenizer)
    (table, *_) = [table for split, table in pieces.pieces if split == "val"]
    found = []
    for name in (IDS, STARTS):
        column = table.column(name)
        assert isinstance(column, Ragged)
        found.append([column.take(torch.tensor([row])).values.tolist() for row in range(len(rows))])
    return found[0], found[1], pieces.facts


def test_each_word_has_a_first_token_and_words_keep_their_order(tmp_path: Path) -> None:
    tokenizers = (BpeTokenizer(300, 99), WordTokenizer(50, 99), HubTokenizer(str(make_hub_folder(tmp_path))))
    for tokenizer in tokenizers:
        ids, starts, _ = encoded(NASTY, tokenizer)
        for row, tokens, firsts in zip(NASTY, ids, starts, strict=True):
            assert len(firsts) == len(row)
            assert firsts == sorted(set(firsts))
            assert 0 <= firsts[0] <= firsts[-1] < len(tokens)


def test_a_word_of_which_nothing_is_left_is_unknown() -> None:
    ids, starts, _ = encoded([["good", "\u200b", "film"], ["good", "film"]], WordTokenizer(vocab_size=50, max_length=9))
    (good, unknown, film), plain = ids
    assert unknown == 1
    assert plain == [good, film], "the control"
    assert starts == [[0, 1, 2], [0, 1]]


def test_a_word_is_read_as_after_a_space() -> None:
    from tokenizers import Tokenizer

    tokenizer = BpeTokenizer(vocab_size=400, max_length=99)
    fitted = tokenizer.fit([" good film good film good film"])
    text = Tokenizer.from_str(fitted).encode(" good film").ids
    table, _ = WordEncoder(fitted, 99).encode([join_words(["good", "film"])])
    assert table[IDS].tolist() == [text]
    assert text != Tokenizer.from_str(fitted).encode("good film").ids, "the control: the space is told apart"


def test_tokens_that_mark_the_ends_belong_to_no_word(tmp_path: Path) -> None:
    ids, starts, facts = encoded([["The", "badly", "film"], ["films"]], HubTokenizer(str(make_hub_folder(tmp_path))))
    assert starts == [[1, 2, 4], [1]]  # [CLS] the bad ##ly film [SEP]
    assert [len(row) for row in ids] == [6, 4]
    assert facts[LONGEST_ROW] == 6


def test_long_rows_are_counted_and_not_cut() -> None:
    rows = [["a"] * 3, ["a"] * 7, ["a"] * 9]
    ids, starts, facts = encoded(rows, WordTokenizer(vocab_size=9, max_length=5))
    assert [len(row) for row in starts] == [len(row) for row in ids] == [3, 7, 9]
    assert facts[f"val {TOO_LONG}"] == 2
    assert facts[LONGEST_ROW] == 9
    assert 1 <= facts[FITTING_WORDS] <= 5


def test_a_vocabulary_is_learned_from_words() -> None:
    rows = [["New York", "won't", "stop"]] * 2
    fitted = encode_rows(prepared(rows), WordTokenizer(vocab_size=50, max_length=9)).tokenizer
    assert '"york"' in fitted
    assert "\x1f" not in fitted
    assert "\\u001f" not in fitted


def test_ids_of_two_roles_stand_in_the_place_of_the_words() -> None:
    raw = prepared(NASTY)
    own = {}
    for role, tokenizer in (("teacher", BpeTokenizer(300, 99)), ("student", WordTokenizer(50, 99))):
        splits = dict.fromkeys(("train", "val", "test"))
        for split, table in encode_rows(raw, tokenizer).pieces:
            splits[split] = table
        own[role] = Prepared(splits)
    table = with_ids(raw, own).splits["val"]
    assert set(table.columns) == {"teacher_ids", "teacher_starts", "student_ids", "student_starts"}
    assert table["teacher_starts"].shape == table["student_starts"].shape == (4, 10)
    assert split_row(join_words(NASTY[0])) == NASTY[0]
