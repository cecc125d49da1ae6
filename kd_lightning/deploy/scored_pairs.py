"""An encoder on pairs of texts, or of words, that people have scored: does its cosine order them as the people do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.data.row_splits import TEST_SPLIT
from kd_lightning.data.rows.delimited import reads_as_number
from kd_lightning.data.rows.label_readers import NumberReader
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.rows.values import check_distinct_columns, require_column
from kd_lightning.data.text_rows import ColumnNames, TextRows
from kd_lightning.deploy.predictor import Predictor
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError, EmptyDatasetError
from kd_lightning.results.statistics.rank_interval import compute_spearman_interval
from kd_lightning.results.statistics.single_interval import compute_metric_interval
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.tasks.regression_metrics import Pearson, correlate_ranks

SPEARMAN, PEARSON = "spearman", "pearson"
PAIR_METRICS = (SPEARMAN, PEARSON)
FEWEST_PAIRS = 3
LOOKED_AT = 100
"""Rows by which columns of numbers are told from columns of texts."""


@dataclass(frozen=True)
class ScoredPairs:
    """Rows of a file.

    Attributes:
        first: The texts.
        second: Those beside them.
        scores: [N] float64; only their order and, for Pearson's correlation, their distances count.
    """

    first: Sequence[str]
    second: Sequence[str]
    scores: Tensor


def read_scored_pairs(overrides: Mapping[str, str | list[str] | None]) -> ScoredPairs:
    """All pairs of a file.

    Args:
        overrides: ``path``; perhaps ``text``, ``text_pair``, ``label`` and ``delimiter``.

    Raises:
        ConfigError: It is not clear which columns are meant, or one is not there.
        KDError: The file cannot be read, or a score is no number; names the line.
    """
    if overrides.get("group"):
        raise ConfigError("data.group: pairs are taken one by one: leave it out")
    path, delimiter = Path(str(overrides["path"])), overrides.get("delimiter")
    assert not isinstance(delimiter, list)
    text, pair, score = choose_pair_columns(path, delimiter, overrides)
    rows, reader = TextRows(), NumberReader((score,))
    rows.read_file(path, ColumnNames(text, reader, pair), TEST_SPLIT, delimiter)
    if len(rows) < FEWEST_PAIRS:
        raise EmptyDatasetError(
            f"{escape_unprintable(str(path))} has {len(rows)} pair{'s' * (len(rows) > 1)}, and a correlation is of "
            f"{FEWEST_PAIRS} or more: give it more"
        )
    values: list[Any] = list(rows.label_values)
    scores = torch.tensor([values[number] for number in rows.labels], dtype=torch.float64)
    numbers = range(len(rows))
    return ScoredPairs([rows.texts[row] for row in numbers], [rows.pairs[row] for row in numbers], scores)


def choose_pair_columns(
    path: Path, delimiter: str | None, named: Mapping[str, str | list[str] | None]
) -> tuple[str, str, str]:
    """The columns of text, second text and score: as named, or the only ones that may be meant.

    Raises:
        ConfigError: More or fewer may be.
        KDError: The file cannot be read.
    """
    settings = ("text", "text_pair", "label")
    given = {f"data.{name}": str(named[name]) for name in settings if named.get(name)}
    rows = [row for _, row in islice(read_rows(path, delimiter), LOOKED_AT)]
    for setting, name in given.items():
        require_column(name, rows[0], setting, path)
    check_distinct_columns(dict(given))
    free = [name for name in rows[0] if name not in given.values()]
    numbers = [name for name in free if holds_numbers([row.get(name) for row in rows])]
    texts = [name for name in free if name not in numbers]
    wanted = [name for name in settings[:2] if not named.get(name)]
    if len(given) < len(settings):
        score_fits = bool(named.get("label")) or len(numbers) == 1
        if not score_fits or len(texts) != len(wanted):
            missing = " ".join(f"data.{name}=COLUMN" for name in settings if not named.get(name))
            raise ConfigError(
                f"{escape_unprintable(str(path))}: two columns of texts and one of scores are expected, and it has "
                f"{escape_unprintable(', '.join(rows[0]))}: say which are meant with {missing}"
            )
    found = dict(zip(wanted, texts, strict=False)) | {"label": next(iter(numbers), "")}
    text, pair, score = (str(named.get(name) or found[name]) for name in settings)
    return text, pair, score


def holds_numbers(values: Sequence[object]) -> bool:
    """Each reads as a number, but for empty ones: which row lacks its score is said when it is read.

    Example:
        >>> holds_numbers(["1", "", 2.5]), holds_numbers(["1", "one"]), holds_numbers(["", None])
        (True, False, False)
    """
    there = [str(value) for value in values if value is not None and str(value).strip()]
    return bool(there) and all(map(reads_as_number, there))


def evaluate_pairs(model: TrainedModel, pairs: ScoredPairs) -> dict[str, Any]:
    """How the cosines of the model's vectors go with the scores.

    Returns:
        As ``evaluate_rows``: ``rows``, ``positions``, ``metrics``, ``intervals``; and ``metric``, ``mode``, ``unit``. Metrics
        are NaN, without an interval, where a vector is not finite.
    """
    texts = list(dict.fromkeys([*pairs.first, *pairs.second]))  # lists of words have each in many pairs
    numbers = {text: number for number, text in enumerate(texts)}
    vectors = Predictor(model).predict_texts(texts).double()
    first, second = (vectors[[numbers[text] for text in side]] for side in (pairs.first, pairs.second))
    cosines = F.cosine_similarity(first, second, dim=-1)
    sums = Pearson().numbers(cosines[:, None], pairs.scores)
    count = len(cosines)
    pearson = compute_metric_interval(
        sums.numpy(), torch.ones(count).numpy(), torch.arange(count).numpy(), Pearson.finish
    )
    spearman = compute_spearman_interval(cosines.numpy(), pairs.scores.numpy())
    metrics = {
        SPEARMAN: float(correlate_ranks(cosines, pairs.scores)),
        PEARSON: Pearson.finish(sums.mean(dim=0).numpy()),
    }
    intervals = {SPEARMAN: spearman, PEARSON: pearson} if bool(cosines.isfinite().all()) else dict.fromkeys(metrics)
    return {
        "rows": count,
        "positions": count,
        "metrics": metrics,
        "intervals": {name: asdict(found) if found else None for name, found in intervals.items()},
        "metric": SPEARMAN,
        "mode": "max",
        "unit": "pairs",
    }
