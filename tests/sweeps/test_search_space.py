"""Hydra's sweep syntax as distributions, and every value back as a word that Hydra reads as that value."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kd_lightning.errors import ConfigError
from kd_lightning.sweeps.search.space import can_draw
from tests.sweeps.search_support import space_of


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("a=1,2", CategoricalDistribution([1, 2])),
        ("a=0.5,0.9", CategoricalDistribution([0.5, 0.9])),
        ("a=x,y", CategoricalDistribution(["x", "y"])),
        ("a=true,false", CategoricalDistribution([True, False])),
        ("a=choice(x,y,x)", CategoricalDistribution(["x", "y"])),
        ("a=[kd],[kd,hint]", CategoricalDistribution(["[kd]", "[kd,hint]"])),
        ("a=shuffle(1,2)", CategoricalDistribution([1, 2])),
        ("a=range(3)", IntDistribution(0, 2)),
        ("a=range(1,10,4)", IntDistribution(1, 9, step=4)),
        ("a=range(5,1,-2)", IntDistribution(3, 5, step=2)),
        ("a=tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("a=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a=interval(1,4)", FloatDistribution(1.0, 4.0)),
        ("a=int(interval(1,4))", IntDistribution(1, 4)),
        ("a=tag(log,interval(0.01,1))", FloatDistribution(0.01, 1.0, log=True)),
        ("a=tag(log,int(interval(1,100)))", IntDistribution(1, 100, log=True)),
    ],
)
def test_a_word_is_a_distribution(word: str, distribution: BaseDistribution) -> None:
    assert space_of(word).distributions == {"a": distribution}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a=glob(*)", "a=choice(...)"),
        ("a=tag(lg,interval(1,2))", "unknown tag 'lg'; did you mean 'log'?"),
        ("a=tag(log,choice(1,2))", "has no scale"),
        ("a=tag(log,range(0,1,0.5))", "tag(log, interval(...))"),
        ("a=tag(log,interval(0,1))", "a=tag(log,interval(0,1)): "),
        ("a=interval(4,1)", "a=interval(4,1): "),
        ("a=range(3,3)", "the range is empty"),
        ("~a=1,2", "what is removed cannot be searched"),
        ("a=1", "nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space_of(word)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "value", "written"),
    [
        ("a=1,2", 2, "a=2"),
        ("a=1.0,2.0", 2.0, "a=2.0"),
        ("a=true,false", False, "a=False"),
        ("a='1','x y'", "x y", "a='x y'"),
        ("a='1',2", "1", "a='1'"),
        ("a=[kd],[kd,hint]", "[kd,hint]", "a=[kd,hint]"),
        ("a={b:1},{b:2}", "{b:2}", "a={b:2}"),
        ("+vars.a=1,2", 1, "+vars.a=1"),
        ("student=x,y", "y", "student=y"),
        ("a=interval(1,4)", 1 / 3, "a=0.3333333333333333"),
        ("a=interval(0,1)", 1e-7, "a=1e-07"),
        ("a=range(0,1,0.1)", 0.1 + 0.2, "a=0.3"),
        ("a=int(interval(1,4))", 3, "a=3"),
    ],
)
def test_a_value_is_written_as_hydra_reads_it(word: str, value: Any, written: str) -> None:
    space = space_of("seed=1", word, "~logger")
    name = space.parameters[0].name
    assert space.overrides({name: value}) == ["seed=1", written, "~logger"]
    (again,) = OverridesParser.create().parse_overrides([written])
    assert not again.is_sweep_override()
    if isinstance(value, (int, float)):
        assert again.value() == pytest.approx(value)


def test_of_two_words_with_one_key_the_later_counts() -> None:
    space = space_of("a=1,2", "b=3", "a=interval(0,1)", "b=5,6")
    assert space.distributions == {"a": FloatDistribution(0, 1), "b": CategoricalDistribution([5, 6])}
    assert space_of("a=1,2", "b=1,2", "a=7").fixed == ["a=7"]


def test_samples_name_every_choice_of_a_group_and_no_more() -> None:
    space = space_of("student=x,y,z", "temperature=1,2,4", "alpha=interval(0,1)", "data=u,v")
    samples = space.samples(["model", "data"])
    assert {sample["student"] for sample in samples} == {"x", "y", "z"}
    assert {sample["data"] for sample in samples} == {"u", "v"}
    assert {sample["temperature"] for sample in samples} == {1}
    assert len(samples) == 4


def test_a_space_knows_its_points() -> None:
    space = space_of("a=1,2", "b=interval(0,1)")
    assert space.holds({"a": 2, "b": 0.5})
    assert not space.holds({"a": 3, "b": 0.5})
    assert not space.holds({"a": 2, "b": 1.5})
    assert not space.holds({"a": 2})
    assert not can_draw(CategoricalDistribution([1, 2]), True)
