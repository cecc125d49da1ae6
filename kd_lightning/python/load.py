"""``kd.load``: a model of a finished run, asked from Python."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_lightning.cli.predict import DEVICES, LIKELIER_THAN_NOT, check_word, choose_device
from kd_lightning.cli.predict_output import LABEL_JOINT
from kd_lightning.cli.run_choice import find_finished_run
from kd_lightning.config.instantiate import build_node
from kd_lightning.data.image_files import read_pixels
from kd_lightning.data.rows.values import parse_text_value
from kd_lightning.deploy.labeled_rows import check_inputs
from kd_lightning.deploy.predictor import PREDICTED_AT_ONCE, Predictor
from kd_lightning.deploy.trained_model import load_trained_model
from kd_lightning.errors import ConfigError, DataFormatError, SequenceTooLongError
from kd_lightning.python.caller_state import keep_caller_state
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.safety.error_text import take_first_line


@dataclass(frozen=True)
class Prediction:
    """What a model says of a row, or of a word.

    Attributes:
        label: The most probable class, by name; where classes have no names, their number as text. Of a row of words, their
            tags in order, parted by spaces; of several labels a row, those that are likelier than not, parted by ``;``; of a
            number, the number as text.
        score: Its probability; of a row of words, the least sure word's; of several labels, that of the least sure answer,
            yes or no; of a number, NaN.
        words: Of a row of words, what the model says of each.
        labels: Of several labels a row, those of ``label``, each with its probability.
        value: The number; None = the model says none.
    """

    label: str
    score: float
    words: tuple[Prediction, ...] = ()
    labels: tuple[Prediction, ...] = ()
    value: float | None = None


class LoadedModel(Predictor):
    """A model of a finished run. What a row gets does not depend on the rows beside it.

    Attributes:
        model: Network, task, labels and tokenizer.
    """

    @property
    def labels(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return self.model.labels

    def predict(self, rows: Any) -> list[Prediction]:
        """The most probable class of each row, its labels, or its number; of a tagger, the tags of its words.

        Args:
            rows: What the model reads: texts; pairs of texts; rows of words, as lists or as texts that white space parts; files
                of images; or arrays [N, ...] as those that it was trained on (of pixels: bytes, or floats in [0, 1]).

        Raises:
            DataFormatError: A row is something else, or an image cannot be read.
            EmptyTextError: A row has no text.
            ConfigError: Arrays have another shape than those that the model was trained on.
            SequenceTooLongError: A row of words has more tokens than the model reads.
        """
        if self.model.says_vectors:
            raise ConfigError(f"{self.model.name} gives a vector to each row, and no class: use embed(rows)")
        if not self.model.reads_words:
            return self._choose(self.probabilities(rows))
        words = [self._read_words(row, number) for number, row in enumerate(as_rows(rows))]
        tagged = [tuple(self._choose(each)) for each in self.predict_words(words)]
        return [Prediction(" ".join(w.label for w in row), min(w.score for w in row), row) for row in tagged]

    def probabilities(self, rows: Any) -> Tensor:
        """[N, C] float32 of the rows, on the CPU; of a model of numbers, the numbers [N, 1].

        Args:
            rows: As for ``predict``.

        Raises:
            ConfigError: The model is a tagger, whose rows have no common shape; ``predict_words`` has a tensor for each. Or it
                gives a vector to each row.
            KDError: As ``predict``.
        """
        if self.model.says_vectors:
            raise ConfigError(f"{self.model.name} gives a vector to each row, and no class: use embed(rows)")
        return self._ask(rows)

    def embed(self, rows: Any) -> Tensor:
        """The vectors [N, D] float32 of the rows, on the CPU.

        Args:
            rows: As for ``predict``.

        Raises:
            ConfigError: The model was trained for another task.
            KDError: As ``predict``.
        """
        if not self.model.says_vectors:
            raise ConfigError(
                f"{self.model.name} gives no vector to a row: use predict(rows), or train with task=embedding"
            )
        return self._ask(rows)

    def _ask(self, rows: Any) -> Tensor:
        if self.model.reads_words:
            raise ConfigError(f"{self.model.name} tags words, and rows differ in length: use predict_words(rows)")
        if not self.model.reads_texts:
            return self.predict_arrays(self._read_arrays(rows))
        if "text_pair" in self.model.columns:
            pairs = [read_pair(row, number) for number, row in enumerate(as_rows(rows))]
            return self.predict_texts([first for first, _ in pairs], [second for _, second in pairs])
        texts = [parse_text_value(row, "the text", f"row {number}") for number, row in enumerate(as_rows(rows))]
        return self.predict_texts(texts)

    def _choose(self, probabilities: Tensor) -> list[Prediction]:
        if self.model.says_quantities:
            return [Prediction(f"{value:.7g}", math.nan, value=value) for value in probabilities.flatten().tolist()]
        if self.model.says_labels:
            return [self._choose_labels(each) for each in probabilities.tolist()]
        best = probabilities.max(dim=-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(self.model.labels[number], score) for number, score in pairs]

    def _choose_labels(self, scores: Sequence[float]) -> Prediction:
        chosen = tuple(
            Prediction(name, score)
            for name, score in zip(self.model.labels, scores, strict=True)
            if score > LIKELIER_THAN_NOT
        )
        sure = min(max(score, 1 - score) for score in scores)
        return Prediction(LABEL_JOINT.join(each.label for each in chosen), sure, labels=chosen)

    def _read_arrays(self, rows: Any) -> Tensor:
        if self.model.reads_images and not isinstance(rows, Tensor):
            listed = as_rows(rows)
            if all(isinstance(row, str | Path) for row in listed):
                return self._read_images([Path(row) for row in listed])
            rows = listed if isinstance(rows, Iterator) else rows
        try:
            inputs = torch.as_tensor(rows, device="cpu")
            if self.model.reads_images and not inputs.is_floating_point():
                check_bytes(inputs)
            else:
                inputs = inputs.float()
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataFormatError(
                f"the model reads arrays of numbers, [N, ...], and {type(rows).__name__} is none: {take_first_line(error)}"
            ) from error
        check_inputs(self.model, inputs, Path("predict"))
        return inputs

    def _read_images(self, paths: list[Path]) -> Tensor:
        assert self.model.shape is not None
        channels, size, _ = self.model.shape
        pixels = torch.empty(len(paths), *self.model.shape, dtype=torch.uint8)
        for number, path in enumerate(paths):
            pixels[number] = torch.from_numpy(read_pixels(path, size, channels))
        return pixels

    def _read_words(self, row: object, number: int) -> list[str]:
        words = row.split() if isinstance(row, str) else row
        if not isinstance(words, Sequence) or not words:
            raise DataFormatError(f"row {number}: words are expected, as a list or as one text")
        found = [parse_text_value(word, "a word", f"row {number}") for word in words]
        if not self.fits(found):
            raise SequenceTooLongError(f"row {number}: more tokens than the model reads: split the text")
        return found


def as_rows(rows: Any) -> list[Any]:
    """The rows, which are not one text.

    Raises:
        DataFormatError: They are.
    """
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise DataFormatError(f"a list of rows is expected, not {type(rows).__name__}: put it in brackets")
    return list(rows)


def check_bytes(pixels: Tensor) -> None:
    """Pixels that are whole numbers are bytes.

    Raises:
        DataFormatError: They are of another type, and nobody knows what is white.
    """
    if pixels.dtype != torch.uint8:
        raise DataFormatError(f"pixels are {pixels.dtype}: bytes (torch.uint8), or floats in [0, 1], are expected")


def read_pair(row: Any, number: int) -> tuple[str, str]:
    """The two texts of a row.

    Raises:
        DataFormatError: It is no pair.
        EmptyTextError: One is missing.
    """
    if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 2:
        raise DataFormatError(f"row {number}: the model reads pairs of texts: a tuple of two is expected")
    first, second = (parse_text_value(text, "a text", f"row {number}") for text in row)
    return first, second


def load(
    run: str | os.PathLike[str],
    model: str = DISTILLED_MODEL,
    device: str = "auto",
    batch_size: int = PREDICTED_AT_ONCE,
) -> LoadedModel:
    """A model of a finished run, as ``kd predict`` uses it; store, data and pretrained model need not be there any more.

    The folder may come from a stranger: what it names is built through the allowlist, and nothing in it is run.

    Args:
        run: The run's folder, or ``"last"``: the run that has ended last below ``outputs/runs``.
        model: ``teacher``, ``baseline``, ``distilled`` or another model of the run.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: Rows at once; no result depends on it.

    Raises:
        ConfigError: The folder is no finished run's, or it has no such model.
        CheckpointCorruptError: A file is missing or damaged.
        UntrustedTargetError: The folder names what may not be built.
        MissingExtraError: A package that the model needs is not installed.

    Example:
        >>> import tempfile
        >>> import torch
        >>> import kd_lightning as kd
        >>> place = tempfile.TemporaryDirectory()
        >>> words = ["experiment=digits", "debug=fast_dev_run", f"outputs={place.name}"]
        >>> model = kd.load(kd.run(words).folder)  # doctest: +ELLIPSIS
        split data ...
        >>> images = torch.rand(3, 1, 8, 8)
        >>> model.probabilities(images).shape, [each.label in model.labels for each in model.predict(images)]
        (torch.Size([3, 10]), [True, True, True])
        >>> place.cleanup()
    """
    chosen = choose_device(check_word("device", device, DEVICES))
    with keep_caller_state():
        return LoadedModel(load_trained_model(find_finished_run(os.fspath(run)), build_node, model), chosen, batch_size)
