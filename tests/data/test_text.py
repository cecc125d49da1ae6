"""From text files to windows: every token a target once, and nothing of val or test in the tokenizer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_lightning.data.source import SPLITS
from kd_lightning.data.sources.documents import read_document
from kd_lightning.data.sources.text import END_OF_TEXT, TextFiles, cut_windows, train_bpe
from kd_lightning.errors import ConfigError, EmptyDatasetError, KDError, MissingExtraError, VocabMismatchError

END = 0
VOCAB = 262


# -- windows ---------------------------------------------------------------------------------------------------------


@given(
    documents=st.lists(st.lists(st.integers(1, 99), max_size=12), min_size=1, max_size=4).filter(any),
    context=st.integers(1, 5),
)
def test_every_token_is_a_target_exactly_once_after_those_before_it(documents: list[list[int]], context: int) -> None:
    rows = cut_windows(documents, context, END)
    assert rows["inputs"].shape == rows["targets"].shape == rows["mask"].shape
    assert rows["inputs"].shape[1] == context
    for number, document in enumerate(documents):
        mine = rows["group"] == number
        mask = rows["mask"][mine]
        assert rows["targets"][mine][mask].tolist() == document
        # Read in order, the counted inputs are the document one step late, opened by the end-of-text token.
        assert rows["inputs"][mine][mask].tolist() == [END, *document][: len(document)]
        assert int(mask.sum()) == len(document)
        assert len(mask) == -(-len(document) // context)


def test_windows_of_a_case_done_by_hand() -> None:
    rows = cut_windows([[5, 6, 7, 8], [9]], 3, END)
    assert rows["inputs"].tolist() == [[0, 5, 6], [7, 8, 0], [0, 9, 0]]
    assert rows["targets"].tolist() == [[5, 6, 7], [8, 0, 0], [9, 0, 0]]
    assert rows["mask"].tolist() == [[True, True, True], [True, False, False], [True, False, False]]
    assert rows["group"].tolist() == [0, 0, 1]
    assert rows["inputs"].dtype == rows["targets"].dtype == torch.int32
    assert rows["mask"].dtype == torch.bool
    assert rows["group"].dtype == torch.int64


def test_padding_is_at_the_end_of_a_document_and_never_counts() -> None:
    rows = cut_windows([list(range(1, 12))], 4, END)
    assert rows["mask"].flatten().tolist() == [True] * 11 + [False]
    assert rows["targets"].flatten()[-1] == END


# -- files -----------------------------------------------------------------------------------------------------------


def corpus(folder: Path, count: int = 10) -> TextFiles:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:02d}.txt").write_text(f"the cat sat on the mat number {number}\n" * 9, encoding="utf-8")
    return TextFiles(str(folder), VOCAB, context=8)


def test_the_split_is_by_file_and_complete(tmp_path: Path) -> None:
    source = corpus(tmp_path, 20)
    parts = source.split(source.files())
    assert {split: len(files) for split, files in parts.items()} == {"train": 16, "val": 2, "test": 2}
    assert sorted(path for files in parts.values() for path in files) == source.files()
    assert parts == source.split(source.files())
    other = TextFiles(str(tmp_path), VOCAB, 8, split_seed=1)
    assert other.split(other.files()) != parts


@given(count=st.integers(3, 40), val=st.floats(0.01, 0.98), share=st.floats(0.01, 0.98))
def test_each_split_has_a_file_whatever_the_shares(count: int, val: float, share: float) -> None:
    files = [Path(f"{number}.txt") for number in range(count)]
    parts = TextFiles("x", VOCAB, 8, val=val, test=(1 - val) * share).split(files)
    assert all(parts[split] for split in SPLITS)
    assert sorted(path for found in parts.values() for path in found) == sorted(files)


def test_rows_are_the_files_of_their_split(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    source = corpus(tmp_path)
    found = source.prepare()
    found.check(VOCAB)
    tokenizer = Tokenizer.from_str(found.tokenizer)
    assert tokenizer.get_vocab_size() == VOCAB
    assert tokenizer.token_to_id(END_OF_TEXT) is not None
    for split, files in source.split(source.files()).items():
        rows = found.splits[split]
        texts = []
        for number in range(len(files)):
            mine = rows["group"] == number
            texts.append(tokenizer.decode(rows["targets"][mine][rows["mask"][mine]].tolist()))
            assert rows["inputs"][mine][0, 0] == tokenizer.token_to_id(END_OF_TEXT)
        assert texts == [read_document(path) for path in files]
        assert found.facts[f"{split} files"] == len(files)
        assert found.facts[f"{split} tokens"] == int(rows["mask"].sum())


def test_the_same_files_give_the_same_rows(tmp_path: Path) -> None:
    assert corpus(tmp_path).prepare().fingerprint() == corpus(tmp_path).prepare().fingerprint()


def merges(tokenizer: str) -> str:
    return json.dumps(json.loads(tokenizer)["model"]["merges"])


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_tokenizer_learns_from_the_training_files_alone(tmp_path: Path, split: str) -> None:
    source = corpus(tmp_path)
    (secret, *_) = source.split(source.files())[split]
    secret.write_text("zqzq " * 500, encoding="utf-8")
    assert "zq" not in merges(source.prepare().tokenizer)
    # The positive control: with that file among the training texts, it is the first thing to be learnt.
    every = train_bpe([read_document(path) for path in source.files()], VOCAB)
    assert "z" in merges(every.to_str())


def test_digest_sees_content_and_names(tmp_path: Path) -> None:
    first = corpus(tmp_path).digest()
    assert corpus(tmp_path).digest() == first
    (tmp_path / "00.txt").write_text("other", encoding="utf-8")
    assert corpus(tmp_path / "b").digest() == first
    changed = TextFiles(str(tmp_path), VOCAB, 8, pattern="*.txt").digest()
    assert changed != first
    (tmp_path / "00.txt").rename(tmp_path / "99.txt")
    assert TextFiles(str(tmp_path), VOCAB, 8, pattern="*.txt").digest() not in (first, changed)


def test_only_files_of_the_pattern_are_read(tmp_path: Path) -> None:
    source = corpus(tmp_path, 4)
    (tmp_path / "notes.md").write_text("x", encoding="utf-8")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "er.txt").write_text("x", encoding="utf-8")
    assert [path.name for path in source.files()] == ["00.txt", "01.txt", "02.txt", "03.txt", "er.txt"]
    assert len(TextFiles(str(tmp_path), VOCAB, 8, pattern="*.txt").files()) == 4
    assert [path.name for path in TextFiles(str(tmp_path), VOCAB, 8, pattern="*.md").files()] == ["notes.md"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9")
    assert read_document(tmp_path / "a.txt") == "café"


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"vocab_size": 256}, "data.vocab_size is 256"),
        ({"context": 0}, "data.context is 0"),
        ({"val": 0.0}, "val=0.0"),
        ({"val": 0.5, "test": 0.5}, "test=0.5"),
        ({"test": 1.0}, "test=1.0"),
        ({"test": -0.1}, "test=-0.1"),
    ],
)
def test_sizes_and_shares_that_are_not_possible_are_refused(arguments: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        TextFiles(**{"root": "x", "vocab_size": 300, "context": 8, **arguments})
    assert named in str(error.value)


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="is not a folder"):
        TextFiles(str(tmp_path / "none"), VOCAB, 8).files()
    with pytest.raises(EmptyDatasetError, match="no file matches"):
        TextFiles(str(tmp_path), VOCAB, 8).files()
    with pytest.raises(EmptyDatasetError, match="2 files below"):
        corpus(tmp_path, 2).prepare()


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n\t\n", encoding="utf-8")
    with pytest.raises(EmptyDatasetError, match=r"blank\.txt holds no text"):
        read_document(tmp_path / "blank.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(KDError, match=r"latin\.txt is not UTF-8 at byte 3"):
        read_document(tmp_path / "latin.txt")


def test_too_little_text_for_the_vocabulary_names_the_size_that_fits(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    source.vocab_size = 5000
    with pytest.raises(VocabMismatchError, match=r"data.vocab_size is 5000") as error:
        source.prepare()
    fitting = int(str(error.value).split("data.vocab_size=")[1].split()[0])
    source.vocab_size = fitting
    source.prepare().check(fitting)


def test_without_the_tokenizers_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"kd-lightning\[text\]"):
        train_bpe(["a"], 300)
