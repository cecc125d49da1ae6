"""The jobs of the benchmarks can be composed: a renamed setting would be noticed here, and not at the next measurement."""

from __future__ import annotations

import pytest

from scripts.bench import losses, step, sweep
from scripts.bench.settings import compose_settings
from scripts.bench.step_job import JOBS

WORDS = {
    **{f"sweep {name}": work.words for name, work in sweep.WORKS.items()},
    **{
        f"step {job}, {side}": [*JOBS[job][0], *words]
        for job, sides in step.OURS.items()
        for side, words in sides.items()
    },
    **{f"losses {name}": [*losses.WORKS[name], *losses.COMMON] for name in losses.WORKS},
}


@pytest.mark.few(6)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_its_words_are_settings(words: list[str]) -> None:
    settings = compose_settings(*words, "folder=x")
    assert settings["teacher"]["steps"] > 0


def test_a_word_that_is_no_setting_is_refused() -> None:
    with pytest.raises(Exception, match="embedding"):
        compose_settings("teacher.embedding=8", "folder=x")
