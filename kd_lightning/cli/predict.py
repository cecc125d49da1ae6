"""``kd predict``: the classes of new rows, from a run folder alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from kd_lightning.cli.options import parse_words
from kd_lightning.cli.predict_output import ROW_WRITERS, Answered, show_count, shown_on
from kd_lightning.cli.run_choice import find_finished_run
from kd_lightning.errors import ConfigError, DataFormatError, KDError, did_you_mean
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.safety.verbs import DEFECT, OK, print_line

PREDICT_HELP = """\
kd predict RUN INPUT [--model NAME] [--text COLUMN] [--pair COLUMN] [--format csv|tsv|jsonl] [--all]

  kd predict last new.csv > labels.csv        the last run below outputs/runs; text, label and score of each row
  kd predict outputs/runs/RUN new.jsonl       a run's folder, or a job's of a sweep: it may lie anywhere, and needs nothing else
  echo "a fine film" | kd predict last -      standard input: a text in each line, or JSON objects
  kd predict last digits.npz                  a model of arrays: those called inputs
  kd predict last photos                      a model of images: all below the folder, or one; path, label and score
                                              a model of words: their tags, in the order of the words

  --model NAME                teacher, baseline, distilled (the default) or another model of the run
  --text COLUMN               column of the texts; otherwise the one trained on, or a guess
  --pair COLUMN               column of the second texts, for models of pairs
  --format csv|tsv|jsonl      of the output; in csv and tsv, text that a spreadsheet would run begins with an apostrophe
                              several labels a row stand with their scores in one cell each, parted by ; (jsonl: lists); a
                              model of numbers writes text and value, one of embeddings text and vector: a list in jsonl,
                              and the same list in one cell of csv and tsv
  --all                       a score for each class: score_CLASS
  --batch-size N              rows at once; no result depends on it
  --device auto|cpu|cuda

A row that cannot be used, as one without a text or a damaged image, gets no label and a line on standard error.
Exit code: 0 all rows have a label; 1 some have none; 2 the run or the input cannot be read.
"""
DEVICES = ("auto", "cpu", "cuda")
LABEL_HEADS, VALUE_HEAD, VECTOR_HEAD = ["label", "score"], "value", "vector"
LIKELIER_THAN_NOT = 0.5
PIECE = 1024
"""Rows that are read before the first of them is written."""


@dataclass(frozen=True)
class PredictArguments:
    """What the words ask for."""

    run: Path
    source: str
    model: str
    text: str | None
    pair: str | None
    batch_size: int | None
    format: str
    all_scores: bool
    device: str


def run_predict_verb(words: list[str]) -> int:
    """The verb; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(PREDICT_HELP, end="")
        return OK
    return predict_rows_of(parse_predict_arguments(words))


def parse_predict_arguments(words: Sequence[str]) -> PredictArguments:
    """Run, input and options.

    Raises:
        KDError: A word is missing or too much, or an option's value is not possible.
    """
    options = ("--model", "--text", "--pair", "--batch-size", "--format", "--device")
    found = parse_words("predict", words, options, ("--all",))
    if len(found.named) != 2:
        raise KDError("a run and an input are expected, as in kd predict last new.csv (see kd predict --help)")
    run, source = found.named
    batch = found.last("--batch-size")
    if batch is not None and not (batch.isdecimal() and int(batch) > 0):
        raise KDError(f"--batch-size {batch}: a whole number above 0 is expected")
    return PredictArguments(
        run=find_finished_run(run),
        source=source,
        model=found.last("--model") or DISTILLED_MODEL,
        text=found.last("--text"),
        pair=found.last("--pair"),
        batch_size=int(batch) if batch else None,
        format=check_word("--format", found.last("--format") or "csv", ROW_WRITERS),
        all_scores="--all" in found.flags,
        device=check_word("--device", found.last("--device") or "auto", DEVICES),
    )


def check_word(option: str, word: str, known: Iterable[str]) -> str:
    """The word, if it is one of those that an option may have.

    Raises:
        KDError: It is another.
    """
    if word not in known:
        raise KDError(f"{option} {word}: one of {', '.join(known)} is expected{did_you_mean(word, known)}")
    return word


def predict_rows_of(request: PredictArguments) -> int:
    """Write a line for each row of the input; the exit code."""
    # Only here: `kd predict --help` must not wait for torch.
    from kd_lightning.config.instantiate import build_node
    from kd_lightning.deploy.predictor import PREDICTED_AT_ONCE, Predictor
    from kd_lightning.deploy.trained_model import load_trained_model

    model = load_trained_model(request.run, build_node, request.model)
    predictor = Predictor(model, choose_device(request.device), request.batch_size or PREDICTED_AT_ONCE)
    check_all_scores(request, model)
    answer_numbers = answer_images if model.reads_images else answer_arrays
    answer = answer_texts if model.reads_texts else answer_words if model.reads_words else answer_numbers
    answers = answer(predictor, request)
    first = list(islice(answers, 1))  # what is wrong with the input as a whole is said before anything is written
    texts = ["text", *(["text_pair"] if "text_pair" in model.columns else [])]
    names = texts if model.reads_texts or model.reads_words else ["path" if model.reads_images else "row"]
    heads = [VALUE_HEAD] if model.says_quantities else [VECTOR_HEAD] if model.says_vectors else LABEL_HEADS
    write = ROW_WRITERS[request.format](shown_on(sys.stdout), names, heads, model.labels if request.all_scores else [])
    bad = 0
    for answered in show_count(chain(first, answers)):
        write(answered)
        bad += answered.label is None
    if bad:
        print_line(f"kd predict: {bad} row{'s' if bad > 1 else ''} without a {heads[0]}")
    return DEFECT if bad else OK


def choose_device(word: str) -> str:
    """Where to compute.

    Raises:
        ConfigError: There is no such device.
    """
    import torch

    there = torch.cuda.is_available()
    if word == "cuda" and not there:
        raise ConfigError("--device cuda: torch finds no GPU here: leave it out")
    return "cuda" if there and word != "cpu" else "cpu"


def check_all_scores(request: PredictArguments, model: Any) -> None:
    """``--all`` is for models that give a row one class.

    Raises:
        ConfigError: The model says something else.
    """
    said = {
        "a tag to each word": model.reads_words,
        "a number to each row": model.says_quantities,
        "a vector to each row": model.says_vectors,
    }
    for what, is_said in said.items():
        if request.all_scores and is_said:
            raise ConfigError(f"--all: the model gives {what}, and no classes: leave it out")


def read_input_texts(predictor: Any, request: PredictArguments) -> Iterator[Any]:
    """The texts of the input, each a ``NewRow``."""
    from kd_lightning.deploy.new_rows import STANDARD_INPUT, TextColumns, read_new_texts, read_streamed_texts

    columns = TextColumns(request.text, request.pair, predictor.model.columns)
    if request.source == str(STANDARD_INPUT):
        return read_streamed_texts(sys.stdin.buffer, columns)
    return read_new_texts(Path(request.source), columns)


def answer_words(predictor: Any, request: PredictArguments) -> Iterator[Answered]:
    """The tags of each text's words, which white space parts, in order; the score is the least sure word's."""
    rows, labels, seen = read_input_texts(predictor, request), predictor.model.labels, 0
    while piece := list(islice(rows, PIECE)):
        split = [row.texts[0].split() if row.texts else [] for row in piece]
        problems = [
            row.problem
            or (
                ""
                if predictor.fits(words)
                else f"row {seen + number}: more tokens than the model reads: split the text"
            )
            for number, (row, words) in enumerate(zip(piece, split, strict=True), 1)
        ]
        seen += len(piece)
        good = [words for words, problem in zip(split, problems, strict=True) if not problem]
        found = iter(predictor.predict_words(good))
        for words, problem in zip(split, problems, strict=True):
            shown = {"text": " ".join(words)}
            if problem:
                print_line(f"kd predict: {problem}")
                yield Answered(shown, None, None, None)
                continue
            best = next(found).max(dim=-1)
            tags = " ".join(labels[number] for number in best.indices.tolist())
            yield Answered(shown, tags, float(str(best.values.min().numpy())), None)


def answer_texts(predictor: Any, request: PredictArguments) -> Iterator[Answered]:
    """Of each text of the input, in order."""
    rows = read_input_texts(predictor, request)
    paired = "text_pair" in predictor.model.columns
    while piece := list(islice(rows, PIECE)):
        good = [row.texts for row in piece if not row.problem]
        texts, pairs = [each[0] for each in good], [each[1] for each in good] if paired else None
        found = iter(predictor.predict_texts(texts, pairs))
        for row in piece:
            shown = dict(zip(("text", "text_pair"), (*row.texts, "", "")[: 2 if paired else 1], strict=False))
            if row.problem:
                print_line(f"kd predict: {row.problem}")
                yield Answered(shown, None, None, None)
            else:
                yield make_answer(shown, next(found), predictor.model, request.all_scores)


def answer_arrays(predictor: Any, request: PredictArguments) -> Iterator[Answered]:
    """Of each row of an ``.npz`` file, in order."""
    from kd_lightning.data.sources.arrays import read_npz_inputs
    from kd_lightning.deploy.labeled_rows import check_inputs

    path = Path(request.source)
    if path.suffix != ".npz":
        raise ConfigError(f"{request.source}: the model reads arrays: name a .npz file that holds inputs")
    inputs = read_npz_inputs(path)
    check_inputs(predictor.model, inputs, path)
    for start in range(0, len(inputs), PIECE):
        found = predictor.predict_arrays(inputs[start : start + PIECE])
        for number, probabilities in enumerate(found, start):
            yield make_answer({"row": number}, probabilities, predictor.model, request.all_scores)


def answer_images(predictor: Any, request: PredictArguments) -> Iterator[Answered]:
    """Of each image below a folder, in the order of their paths."""
    import torch

    from kd_lightning.data.image_files import as_text, find_images, read_pixels

    paths, others = find_images(Path(request.source))
    if others:
        print_line(f"kd predict: {request.source}: {others} file{'s' * (others > 1)} not read (no image)")
    channels, size, _ = predictor.model.shape
    for start in range(0, len(paths), PIECE):
        pixels: list[Any] = []
        for path in paths[start : start + PIECE]:
            try:
                pixels.append(torch.from_numpy(read_pixels(path, size, channels)))
            except DataFormatError as error:
                print_line(f"kd predict: {error}")
                pixels.append(None)
        good = [each for each in pixels if each is not None]
        found = iter(predictor.predict_arrays(torch.stack(good)) if good else ())
        for path, each in zip(paths[start:], pixels, strict=False):
            named = {"path": as_text(path)}
            if each is None:
                yield Answered(named, None, None, None)
            else:
                yield make_answer(named, next(found), predictor.model, request.all_scores)


def make_answer(named: dict[str, Any], probabilities: Any, model: Any, all_scores: bool) -> Answered:
    """The likeliest class, the first of equal ones, and its probability; the labels likelier than not; a quantity; a vector."""
    # The shortest digits that stand for the float32, not all those of the float64 beside it.
    scores = [float(str(value)) for value in probabilities.numpy()]
    kept = scores if all_scores else None
    if model.says_quantities:
        return Answered(named, scores[0], None, None)
    if model.says_vectors:
        return Answered(named, tuple(scores), None, None)
    if model.says_labels:
        chosen = [number for number, score in enumerate(scores) if score > LIKELIER_THAN_NOT]
        return Answered(named, [model.labels[number] for number in chosen], [scores[number] for number in chosen], kept)
    number = int(probabilities.max(dim=-1).indices)
    return Answered(named, model.labels[number], scores[number], kept)
