"""Tokenizers that learn their vocabulary: ids, text of all kinds, pairs, and the same file of the same texts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tokenizers import Tokenizer

from kd_lightning.data.tokenizers.base import TextTokenizer
from kd_lightning.data.tokenizers.bpe import BpeTokenizer
from kd_lightning.data.tokenizers.vocabulary import SPECIAL_TOKENS
from kd_lightning.data.tokenizers.word import WordTokenizer
from kd_lightning.errors import ConfigError, EmptyDatasetError, MissingExtraError

KINDS = [WordTokenizer, BpeTokenizer]
TEXTS = ["The film is good, very good!", "The plot isn't good.", "A café, très bien", "don't don\u2019t"]
ODD = {
    "emoji": "good 👍🏽 ❤️ 👨‍👩‍👧",
    "composed": "caf\u00e9 tr\u00e8s",
    "decomposed": "cafe\u0301 tre\u0300s",
    "stacked marks": "Z\u0351\u036b\u0343a\u0328\u034elgo",
    "Chinese": "这部电影很好看",
    "Japanese": "この映画はすごい。",
    "Korean": "이 영화는 정말 좋다",
    "Arabic": "هذا الفيلم جيد جدا، شكرا",
    "Hebrew": "הסרט הזה טוב מאוד",
    "Persian": "می\u200cخواهم",  # noqa: RUF001
    "mixed directions": "\u202eabc\u202c שלום 123",
    "Turkish": "\u0130stanbul \u0131ss\u0131z",
    "control characters": "a\x00b\x1b[31mc\ufeff\ufffd",
    "line ends": "a\r\nb\tc\u2028d",
    "long word": "a" * 10_000,
    "templates": "$A [SEP] $B:1 <s> [PAD] [UNK]",
}


def fitted(tokenizer: TextTokenizer, texts: list[str] | None = None) -> Any:
    return Tokenizer.from_str(tokenizer.fit(TEXTS if texts is None else texts))


def ids_of(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text).ids
    return ids


# -- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_their_ids_and_no_text_gets_them(kind: type) -> None:
    tokenizer = fitted(kind(400, 16))
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))
    assert tokenizer.get_vocab_size() <= 400
    for text in (*TEXTS, "The [SEP] is [PAD] good [UNK]"):
        assert not {0, 2} & set(ids_of(tokenizer, text))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    assert {0, 2} < set(ids_of(tokenizer, "The [SEP] is [PAD] good")), "the control: registered ones are found in texts"


@pytest.mark.parametrize("kind", KINDS)
def test_neither_padding_nor_truncation_is_set_and_one_text_has_no_extra_tokens(kind: type) -> None:
    tokenizer = fitted(kind(400, 2))
    assert tokenizer.padding is None
    assert tokenizer.truncation is None
    long, short = tokenizer.encode_batch(["good " * 50 + "film", "good"])
    assert len(long.ids) > 50
    assert len(short.ids) < 5
    assert long.ids == tokenizer.encode("good " * 50 + "film", add_special_tokens=False).ids


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_bytes_are_made_into_the_same_text_again(text: str, lowercase: bool) -> None:
    tokenizer = fitted(BpeTokenizer(300, 16, lowercase))
    ids = ids_of(tokenizer, text)
    assert 1 not in ids
    if not lowercase:
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_words_that_were_learned_are_known_again(text: str) -> None:
    tokenizer = fitted(WordTokenizer(400, 16), [*TEXTS, text])
    found = tokenizer.encode(text)
    assert found.ids
    assert 1 not in found.ids
    assert tokenizer.encode(" ".join(found.tokens)).ids == found.ids
    assert tokenizer.encode(tokenizer.decode(found.ids, skip_special_tokens=False)).ids == found.ids


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_words_that_were_not_learned_are_unknown(text: str) -> None:
    ids = ids_of(fitted(WordTokenizer(400, 16), ["nothing of it"]), text)
    assert set(ids) == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_text_has_no_tokens(kind: type) -> None:
    tokenizer = fitted(kind(400, 16), [*TEXTS, ""])
    empty, other = tokenizer.encode_batch(["", "good"])
    assert empty.ids == []
    assert other.ids
    assert ids_of(fitted(WordTokenizer(400, 16)), " \t\n\u3000") == []


# -- what a word is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Good, very GOOD!!", ["good", ",", "very", "good", "!", "!"]),
        ("don\u2019t", ["don\u2019t"]),
        ("isn't it 'so'", ["isn't", "it", "'", "so", "'"]),
        ("3.5 of 10", ["3", ".", "5", "of", "10"]),
        ("很好 film", ["很", "好", "film"]),
        ("no❤️yes", ["no", "❤️", "yes"]),
        ("snake_case", ["snake_case"]),
    ],
)
def test_words_and_marks_are_told_apart(text: str, tokens: list[str]) -> None:
    assert fitted(WordTokenizer(400, 16), [text]).encode(text).tokens == tokens


def test_one_word_is_one_word_however_it_is_encoded() -> None:
    tokenizer = fitted(WordTokenizer(400, 16))
    assert ids_of(tokenizer, "caf\u00e9") == ids_of(tokenizer, "cafe\u0301") != [1]
    assert ids_of(tokenizer, "cafe") == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_case_counts_where_it_is_asked_for(kind: type) -> None:
    for lowercase in (True, False):
        tokenizer = fitted(kind(400, 16, lowercase=lowercase))
        assert (ids_of(tokenizer, "The") == ids_of(tokenizer, "the")) == lowercase


# -- vocabulary ------------------------------------------------------------------------------------------------------


def test_the_most_frequent_words_are_taken_and_of_equal_ones_the_first_in_order() -> None:
    texts = ["c c c b d", "a b d"]
    assert fitted(WordTokenizer(5, 16), texts).get_vocab() == {"[PAD]": 0, "[UNK]": 1, "[SEP]": 2, "c": 3, "b": 4}
    assert WordTokenizer(5, 16).fit(texts[::-1]) == WordTokenizer(5, 16).fit(texts)
    assert sorted(fitted(WordTokenizer(99, 16, min_frequency=2), texts).get_vocab()) == [
        *sorted(SPECIAL_TOKENS),
        *"bcd",
    ]


def test_a_frequent_word_is_one_token_and_a_rare_one_several() -> None:
    tokenizer = fitted(BpeTokenizer(300, 16), ["good film"] * 9 + ["zyx"])
    assert tokenizer.encode("good").tokens == ["good"]
    assert tokenizer.encode("zyx").tokens == ["z", "y", "x"]
    assert fitted(BpeTokenizer(259, 16)).get_vocab_size() == 259


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_read_once(kind: type) -> None:
    def once() -> Iterator[str]:
        yield from TEXTS

    assert kind(400, 16).fit(once()) == kind(400, 16).fit(TEXTS)


def text_with_ties() -> list[str]:
    """Words of letters that occur equally often, alone and in pairs: whatever is taken first was tied with others."""
    words = [first + second + third for first in "abcdefgh" for second in "ijklmnop" for third in "qrst"]
    return [" ".join(words), " ".join(reversed(words)), "é 好 " * 3]


def test_the_vocabulary_ends_among_equally_frequent_words() -> None:
    """The control for the test below."""
    counts = Counter(word for text in text_with_ties() for word in text.split())
    taken = set(fitted(WordTokenizer(60, 16), text_with_ties()).get_vocab()) - set(SPECIAL_TOKENS)
    left = set(counts) - taken
    assert {counts[word] for word in left} == {2}
    assert any(counts[word] == 2 for word in taken)


FRESH = """
import hashlib
from kd_lightning.data.tokenizers.bpe import BpeTokenizer
from kd_lightning.data.tokenizers.word import WordTokenizer
texts = {texts!r}
for each in (WordTokenizer(60, 16), BpeTokenizer(300, 16)):
    print(hashlib.sha256(each.fit(texts).encode()).hexdigest())
"""


def test_fresh_processes_learn_the_same() -> None:
    texts = text_with_ties()
    expected = [
        hashlib.sha256(each.fit(texts).encode()).hexdigest() for each in (WordTokenizer(60, 16), BpeTokenizer(300, 16))
    ]
    for seed in ("0", "1", "2", "random"):
        for threads in ("true", "false"):
            answer = subprocess.run(
                [sys.executable, "-c", FRESH.format(texts=texts)],
                env={**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": threads},
                capture_output=True,
                text=True,
                check=True,
            )
            assert answer.stdout.split() == expected


# -- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_has_a_separator_between(kind: type) -> None:
    tokenizer = fitted(kind(400, 16))
    first, second = ids_of(tokenizer, "The film"), ids_of(tokenizer, "very good")
    pair, other = tokenizer.encode_batch([("The film", "very good"), ("The film", "")])
    assert pair.ids == [*first, 2, *second]
    assert other.ids == [*first, 2]
    assert not kind.type_ids


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_pair_is_cut_to_the_length_and_keeps_its_separator(kind: type) -> None:
    tokenizer = fitted(kind(400, 16))
    tokenizer.enable_truncation(7)
    pair = tokenizer.encode_batch([("good " * 20, "very good film " * 9)])[0]
    assert len(pair.ids) == 7
    assert pair.ids.count(2) == 1
    assert pair.overflowing


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        (WordTokenizer, {"vocab_size": 3}, "vocab_size=3: a whole number of at least 4 "),
        (BpeTokenizer, {"vocab_size": 258}, "vocab_size=258: a whole number of at least 259 "),
        (WordTokenizer, {"vocab_size": "4"}, "vocab_size='4'"),
        (WordTokenizer, {"vocab_size": True}, "vocab_size=True"),
        (WordTokenizer, {"max_length": 0}, "max_length=0: a whole number of at least 1 "),
        (BpeTokenizer, {"max_length": 2.5}, "max_length=2.5"),
        (WordTokenizer, {"min_frequency": 0}, "min_frequency=0: a whole number of at least 1 "),
    ],
)
def test_sizes_that_are_not_possible_are_named(kind: type, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**{"vocab_size": 300, "max_length": 8, **arguments})
    assert f"tokenizer.{named}" in str(error.value)


@pytest.mark.parametrize("texts", [[], [""], [" \n", "\t"]])
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_refused(kind: type, texts: list[str]) -> None:
    with pytest.raises(EmptyDatasetError, match="the training texts hold no words"):
        kind(300, 8).fit(texts)


@pytest.mark.parametrize("texts", [["a b c"], ["\u200b\x00"]])
def test_a_vocabulary_without_words_is_refused(texts: list[str]) -> None:
    with pytest.raises(EmptyDatasetError, match=r"no word occurs 2 times .* lower tokenizer.min_frequency"):
        WordTokenizer(300, 8, min_frequency=2).fit(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_package_the_extra_is_named(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"kd-lightning\[text\]"):
        kind(300, 8).fit(TEXTS)
