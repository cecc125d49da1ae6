"""Tables whose rows have several labels, or a number: what is read, how rows are split, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lightning.data.rows.label_readers import LabelReader, make_label_reader, parse_number
from kd_lightning.data.source import SPLITS
from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.data.table_profile import profile_table
from kd_lightning.errors import ConfigError, EmptyDatasetError, KDError, LabelError
from tests.data.test_text_table import prepare, source, table, texts

SETS = [(), ("a",), ("b",), ("a", "b"), ("b", "c")]
COLUMNS = "text topics"


def topics(count: int = 60, joint: str = ";") -> list[list[str]]:
    """Texts that say which row they are, and labels."""
    return [[f"text {number}", joint.join(SETS[number % len(SETS)])] for number in range(count)]


def labels_of(split: Any, names: list[str]) -> list[tuple[str, ...]]:
    targets = split["targets"]
    assert targets.dtype == torch.uint8
    return [tuple(name for name, flag in zip(names, row, strict=True) if flag) for row in targets.tolist()]


def multi(folder: Path, rows: Any = None, columns: str = COLUMNS, **settings: Any) -> TextTable:
    told = {"label": "topics", "task": "multi_label", **settings}
    return source(folder, topics() if rows is None else rows, columns, **told)


def numbers(folder: Path, rows: Any, **settings: Any) -> TextTable:
    return source(folder, rows, "text stars", label="stars", task="regression", **settings)


def says(error: type[KDError], text: str, made: Any) -> None:
    with pytest.raises(error, match=text) as caught:
        prepare(made())
    assert "\n" not in str(caught.value)


# -- several labels ----------------------------------------------------------------------------------------------------


def test_a_cell_holds_several_labels_or_none(tmp_path: Path) -> None:
    found = prepare(multi(tmp_path))
    assert found.facts["labels"] == ["a", "b", "c"]
    for split in SPLITS:
        wanted = [SETS[int(text.split()[1]) % len(SETS)] for text in texts(found, split)]
        assert labels_of(found.splits[split], ["a", "b", "c"]) == wanted
    counted = {split: found.splits[split]["targets"].sum(dim=0).tolist() for split in SPLITS}
    assert {split: list(each.values()) for split, each in found.facts["rows"].items()} == counted
    assert found.facts["notes"] == []


def test_columns_of_flags_and_lists_say_the_same(tmp_path: Path) -> None:
    joined = prepare(multi(tmp_path))
    (tmp_path / "flags").mkdir()
    flags = [[text, *(str(int(name in value.split(";"))) for name in "abc")] for text, value in topics()]
    apart = prepare(multi(tmp_path / "flags", flags, "text a b c", label=["a", "b", "c"]))
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": text, "topics": value.split(";") if value else None}) for text, value in topics())
    )
    lists = prepare(TextTable(str(path), "text", "topics", task="multi_label"))
    for split in SPLITS:
        assert torch.equal(joined.splits[split]["targets"], lists.splits[split]["targets"])
    assert apart.facts["labels"] == joined.facts["labels"]
    assert apart.facts["columns"] == {"text": "text", "label[0]": "a", "label[1]": "b", "label[2]": "c"}
    whole = [
        sorted(
            (text, row)
            for split in SPLITS
            for text, row in zip(texts(each, split), map(tuple, each.splits[split]["targets"].tolist()), strict=True)
        )
        for each in (joined, apart)
    ]
    assert whole[0] == whole[1]


def test_another_separator(tmp_path: Path) -> None:
    found = prepare(multi(tmp_path, topics(joint=" | "), label_separator="|"))
    assert found.facts["labels"] == ["a", "b", "c"]
    wrong = prepare(multi(tmp_path, topics(joint="|")))
    assert wrong.facts["labels"] == ["a", "a|b", "b", "b|c"]
    assert wrong.facts["notes"] == ["no row has more than one label: is data.label_separator what stands between two?"]


def test_a_rare_label_has_rows_in_each_split_and_always_some_to_train(tmp_path: Path) -> None:
    rows = topics()
    for number in (0, 1, 2):
        rows[number][1] = "rare;a"
    rows[3][1] = "once;a"
    for seed in range(5):
        found = prepare(multi(tmp_path, rows, split_seed=seed))
        counts = {split: found.facts["rows"][split]["rare"] for split in SPLITS}
        assert counts == {"train": 1, "val": 1, "test": 1}
        assert found.facts["rows"]["train"]["once"] == 1
        assert found.facts["only in training"] == ["once"]


def test_what_is_no_set_of_labels(tmp_path: Path) -> None:
    flags = [[f"text {number}", number % 2, number % 3 == 0] for number in range(30)]
    both = {"columns": "text a b", "label": ["a", "b"]}
    prepare(multi(tmp_path, flags, **both))
    flags[4][2] = "maybe"
    says(LabelError, r"rows\.csv:6: b is 'maybe': 0 or 1 is expected", lambda: multi(tmp_path, flags, **both))
    says(
        ConfigError,
        r"data\.label\[1\]=d: .* has no column 'd'",
        lambda: multi(tmp_path, flags, "text a b", label=["a", "d"]),
    )
    says(ConfigError, r"both name 'a'", lambda: multi(tmp_path, flags, "text a b", label=["a", "a"]))
    says(
        ConfigError,
        r"data\.label=\[a,b\]: several columns .* task=multi_label",
        lambda: source(tmp_path, flags, "text a b", label=["a", "b"]),
    )
    says(ConfigError, r"data\.label_separator=''", lambda: multi(tmp_path, label_separator=""))
    one = [[f"text {number}", "a" if number % 2 else ""] for number in range(30)]
    says(LabelError, "the one label 'a': several are expected", lambda: multi(tmp_path, one))
    none = [[f"text {number}", ""] for number in range(30)]
    says(EmptyDatasetError, "fewer than 2 classes", lambda: multi(tmp_path, none))


def test_labels_that_were_named(tmp_path: Path) -> None:
    found = prepare(multi(tmp_path, labels=["c", "b", "a"]))
    assert found.facts["labels"] == ["c", "b", "a"]
    says(
        LabelError,
        r"rows\.csv:4: label 'b' is not one of data\.labels=\[a,c\]",
        lambda: multi(tmp_path, labels=["a", "c"]),
    )
    table(tmp_path / "val.csv", COLUMNS, [["x", "a;zz"], ["y", "b"]])
    says(
        LabelError,
        r"val\.csv:2: label 'zz' of the val split stands in no training row",
        lambda: multi(tmp_path, val_path=str(tmp_path / "val.csv")),
    )


def test_texts_without_a_label_ask_for_none(tmp_path: Path) -> None:
    more = table(tmp_path / "more.csv", "text", [["another"], ["one more"]])
    found = prepare(multi(tmp_path, unlabeled=more)).splits["train"]
    assert found["targets"][~found["labeled"]].tolist() == [[0, 0, 0]] * 2


# -- numbers -----------------------------------------------------------------------------------------------------------


def stars(count: int = 60) -> list[list[object]]:
    return [[f"text {number}", number / 4 - 3] for number in range(count)]


def test_numbers_are_targets_and_each_split_has_of_all_sizes(tmp_path: Path) -> None:
    found = prepare(numbers(tmp_path, stars()))
    for split in SPLITS:
        targets: Tensor = found.splits[split]["targets"]
        assert targets.dtype == torch.float32
        assert targets.tolist() == [int(text.split()[1]) / 4 - 3 for text in texts(found, split)]
    for split in ("val", "test"):
        assert sorted((found.splits[split]["targets"] * 4 + 12).long() // 6) == list(range(10))
    train = found.splits["train"]["targets"].double()
    told = found.facts["training targets"]
    assert told["mean"] == pytest.approx(float(train.mean()))
    assert told["std"] == pytest.approx(float(train.std(correction=0)))
    assert "labels" not in found.facts


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "1e999"])
def test_what_is_no_number(value: str, tmp_path: Path) -> None:
    rows = [*stars(30), ["odd", value]]
    says(LabelError, r"rows\.csv:32: stars is .*: a number is expected", lambda: numbers(tmp_path, rows))


@pytest.mark.parametrize("value", [True, None, [1], {}])
def test_neither_is_that(value: object) -> None:
    with pytest.raises(LabelError, match=r"rows\.jsonl:3: stars is .*: a number is expected"):
        parse_number(value, "stars", "rows.jsonl:3")


def test_numbers_that_do_not_differ_or_have_names(tmp_path: Path) -> None:
    same = [[f"text {number}", 3] for number in range(30)]
    says(LabelError, "all training rows have the label '3.0'", lambda: numbers(tmp_path, same))
    says(ConfigError, "data.labels names classes", lambda: numbers(tmp_path, stars(), labels=["1", "2"]))


# -- what settings leave open ------------------------------------------------------------------------------------------


def opened(path: str, **settings: Any) -> dict[str, Any]:
    told = {"text": None, "label": None, "text_pair": None, "labels": None, "delimiter": None, "label_separator": ";"}
    return TextTable.read_open_settings({"path": path, **told, **settings})


def test_open_settings_are_read_of_the_file(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", COLUMNS, topics())
    found = opened(path, task="multi_label", label="topics")
    assert found == {"text": "text", "label": "topics", "labels": ["a", "b", "c"], "num_classes": 3}
    flags = table(tmp_path / "b.csv", "text b a", [[f"t {n}", int(n == 1), int(n % 2)] for n in range(9)])
    found = opened(flags, task="multi_label", label=["b", "a"])
    assert (found["labels"], found["num_classes"]) == (["b", "a"], 2)
    path = table(tmp_path / "c.csv", "text stars", [["x", 1], ["y", 2], ["z", 2]])
    found = opened(path, task="regression", label="stars")
    assert found == {"text": "text", "label": "stars", "num_classes": 1, "target_mean": 1.6667, "target_std": 0.4714}


def test_a_profile_counts_each_label_of_a_row(tmp_path: Path) -> None:
    found = profile_table(table(tmp_path / "a.csv", COLUMNS, topics()), label="topics", task="multi_label")
    assert found.label_counts == {"a": 24, "b": 36, "c": 12}
    assert found.numbers is None
    found = profile_table(table(tmp_path / "a.csv", "text stars", stars()), label="stars", task="regression")
    assert found.numbers is not None
    assert (found.numbers.smallest, found.numbers.largest, found.label_counts) == (-3, 11.75, {})


def test_readers_of_other_tasks_read_one_class() -> None:
    reader: LabelReader = make_label_reader("my_task", "kind")
    assert reader.read({"kind": "a;b"}, "x:1") == "a;b"


def test_rows_without_a_label_change_no_split(tmp_path: Path) -> None:
    more = table(tmp_path / "more.csv", "text", [[f"more {number}"] for number in range(300)])
    scored = [[f"text {number}", str(number)] for number in range(40)]
    rare = [
        [f"text {number}", "rare" if number < 3 else "often;also" if number % 2 else "often"] for number in range(60)
    ]
    for made, rows in ((numbers, scored), (multi, rare)):
        plain, found = (prepare(made(tmp_path, rows, unlabeled=each)) for each in (None, more))
        for split in ("val", "test"):
            assert texts(found, split) == texts(plain, split)
        assert texts(found, "train")[: len(plain.splits["train"])] == texts(plain, "train")


@pytest.mark.parametrize("base", [0, 123456, 1.7e9])
def test_mean_and_spread_are_precise_enough_whatever_the_mean(base: float, tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv", "text stars", [[f"text {n}", repr(base + n % 7)] for n in range(70)])
    found = profile_table(path, None, "stars", task="regression").numbers
    assert found is not None
    assert found.mean == pytest.approx(base + 3, abs=1e-6 * max(1, abs(base)))
    assert abs(found.mean - (base + 3)) < 0.01
    assert found.std == pytest.approx(2.0, rel=1e-3)


def test_a_list_of_one_column_is_a_flag(tmp_path: Path) -> None:
    rows = [[f"text {number}", str(number % 2)] for number in range(40)]
    says(LabelError, "the one label 'funny'", lambda: multi(tmp_path, rows, "text funny", label=["funny"]))


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_white_space_may_stand_between_labels(separator: str, tmp_path: Path) -> None:
    found = prepare(multi(tmp_path, topics(joint=separator), label_separator=separator))
    assert found.facts["labels"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"label_separator": 1}, "data.label_separator=1: a text"),
        ({"label": 5}, "data.label=5: the name of a column"),
        ({"label": ["topics", None]}, "data.label=.*None.*: the name of a column"),
    ],
)
def test_names_of_columns_are_texts(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    says(ConfigError, why, lambda: multi(tmp_path, **settings))


@pytest.mark.parametrize("value", ["1e300", "-1e31"])
def test_numbers_that_no_network_can_be_taught(value: str) -> None:
    with pytest.raises(LabelError, match="a number is expected"):
        parse_number(value, "stars", "rows.csv:2")
