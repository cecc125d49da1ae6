"""The tokens of each kind of vocabulary as texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.data.token_texts import read_token_texts
from kd_lightning.data.tokenizers.bpe import BpeTokenizer
from kd_lightning.data.tokenizers.hub import HubTokenizer
from kd_lightning.data.tokenizers.word import WordTokenizer
from tests.support.hub import WORDS, make_hub_folder

TEXTS = ["Good film, good plot", "a good film"] * 3


def test_words_are_themselves() -> None:
    found = read_token_texts(WordTokenizer(vocab_size=50, max_length=8).fit(TEXTS))
    assert set(found.values()) == {"good", "film", "a", ",", "plot"}
    assert list(found) == [3, 4, 5, 6, 7]
    assert found[3] == "good", "the most frequent one"


def test_bytes_and_their_pairs_are_what_they_decode_to() -> None:
    found = read_token_texts(BpeTokenizer(vocab_size=300, max_length=8, lowercase=True).fit(TEXTS))
    texts = set(found.values())
    assert {"good", "film", "a", "z", ","} <= texts
    assert not any("\u0120" in text or not text.strip() for text in texts)
    assert not {0, 1, 2} & set(found)
    assert not {"[PAD]", "[UNK]", "[SEP]"} & texts


def test_parts_of_words_lose_their_mark_and_special_tokens_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    tokenizer = HubTokenizer(str(make_hub_folder(tmp_path)))
    found = list(read_token_texts(tokenizer.fit()).values())
    assert found == ["[MASK]", *(word.removeprefix("##") for word in WORDS)], "it does not say that [MASK] is a mark"
