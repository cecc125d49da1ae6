"""Ask the model of this folder. Needs what ``requirements.txt`` names, and nothing else.

    python inference.py "a fine film" "a dull one"      a line of JSON for each row
    python inference.py - < rows.txt                    a row in each line; of pairs, the two texts parted by a tab
    python inference.py rows.npz                        models of arrays: those called inputs
    python inference.py photo.png other.jpg             models of images
    python inference.py --check                         the answers to the examples are those of the model that was exported

In a program of yours: ``Model(folder).predict(rows)``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]
Inputs = dict[str, Numbers]
ABOUT_FILE, EXAMPLES_FILE, TOKENIZER_FILE = "bundle.json", "examples.json", "tokenizer.json"
ONNX_FILE, PROGRAM_FILE, WEIGHTS_FILE, NETWORK_FILE = "model.onnx", "model.pt2", "model.safetensors", "network.json"
LSTM_FILE, COPIED_CODE = "lstm_operator.py", "network_code"
HERE = "bundle:"  # before a path inside this folder
BATCH_ROWS, CHOSEN_ABOVE, NEXT_TOKENS = (
    64,
    0.5,
    5,
)  # the probability of a label that is chosen; how many tokens are said
CHECKED = {32: 1e-3, 8: 0.2}
"""How far outputs for the examples may lie apart, in units of the largest, by the bits of the weights."""


class Model:
    """The model of the bundle in a folder."""

    def __init__(self, folder: Path | str = Path(__file__).parent) -> None:
        self.folder = Path(folder)
        self.about: dict[str, Any] = json.loads((self.folder / ABOUT_FILE).read_text(encoding="utf-8"))
        self.labels: list[str] = self.about["labels"]
        self.run: Callable[[Inputs], Numbers] = RUN_TIMES[self.about["run_time"]](self.folder, self.about)
        path = self.folder / TOKENIZER_FILE
        self.tokenizer = load_tokenizer(path, self.about) if path.is_file() else None

    def predict(self, rows: Sequence[Any], at_once: int = BATCH_ROWS) -> list[dict[str, Any]]:
        """What the model says of each row, in order.

        Args:
            rows: Texts, pairs of texts, lists of words, paths of images, arrays of the model's shape, or lists of a language
                model's token ids.
            at_once: Rows of a batch.

        Returns:
            ``label`` and ``score``; several ``labels`` with their ``scores``; a ``value``; a ``vector``; of words, ``tags``
            with their ``scores``; of a language model, ``next``: the likeliest next tokens.
        """
        answers: list[dict[str, Any]] = []
        for start in range(0, len(rows), at_once):
            part = list(rows[start : start + at_once])
            starts = [self.first_tokens(row) for row in part] if self.about["reads"] == "words" else None
            inputs = self.read(part)
            for number, logits in enumerate(self.run(inputs)):
                if starts is not None:
                    logits = logits[starts[number]]
                elif self.about["reads"] == "tokens":
                    logits = logits[inputs["attention_mask"][number].sum() - 1]
                answers.append(self.answer(logits))
        return answers

    def read(self, rows: Sequence[Any]) -> Inputs:
        """The inputs of the network for some rows."""
        reads = self.about["reads"]
        if reads == "images":
            shape = self.about["shape"]
            pixels = [read_image(row, shape) if isinstance(row, str | Path) else np.asarray(row) for row in rows]
            return {"inputs": np.stack([as_floats(each) for each in pixels])}
        if reads == "arrays":
            return {"inputs": np.stack([np.asarray(row, np.float32) for row in rows])}
        encoded = [self.encode(row) for row in rows]
        ids = pad_rows([ids for ids, _ in encoded])
        attention = pad_rows([[1] * len(ids) for ids, _ in encoded]).astype(bool)
        made = {"input_ids": ids, "attention_mask": attention}
        if "token_type_ids" in self.about["inputs"]:
            made["token_type_ids"] = pad_rows([types for _, types in encoded])
        return made

    def encode(self, row: Any) -> tuple[list[int], list[int]]:
        """Ids of a row's tokens, and which of two texts each belongs to."""
        longest = self.about["max_length"] if self.about["reads"] == "tokens" else None
        if self.about["reads"] == "tokens" and not isinstance(row, str):
            return list(row)[-(longest or len(row)) :], []
        assert self.tokenizer is not None, f"{self.folder} has no {TOKENIZER_FILE}"
        if self.about["reads"] == "words":
            found = self.encode_words(row)
        elif isinstance(row, str) == self.about["pairs"]:
            raise ValueError(
                "two texts are expected, parted by a tab" if self.about["pairs"] else "one text is expected"
            )
        else:
            found = self.tokenizer.encode(*row) if isinstance(row, tuple | list) else self.tokenizer.encode(row)
        ids = found.ids[-longest:] if longest else found.ids  # a language model goes on from the end
        return (ids, found.type_ids) if ids else ([0], [0])

    def encode_words(self, words: Sequence[str] | str) -> Any:
        """The tokens of words; one of which a tokenizer leaves nothing is read as an unknown sign."""
        assert self.tokenizer is not None, f"{self.folder} has no {TOKENIZER_FILE}"
        words = words.split() if isinstance(words, str) else list(words)
        found = self.tokenizer.encode([f" {word}" for word in words], is_pretokenized=True)
        there = set(found.word_ids)
        if not all(number in there for number in range(len(words))):
            readable = [f" {word if number in there else self.about['unknown']}" for number, word in enumerate(words)]
            found = self.tokenizer.encode(readable, is_pretokenized=True)
        if len(found.ids) > self.about["max_length"]:
            raise ValueError(f"{len(found.ids)} tokens, the model reads {self.about['max_length']}: split the row")
        return found

    def first_tokens(self, words: Sequence[str] | str) -> list[int]:
        """The position of each word's first token."""
        firsts: dict[int, int] = {}
        for position, word in enumerate(self.encode_words(words).word_ids):
            if word is not None:
                firsts.setdefault(word, position)
        return [firsts[number] for number in sorted(firsts)]

    def answer(self, logits: Numbers) -> dict[str, Any]:
        """What the outputs [C] for a row, or [words, C] for one of words, say."""
        answers, wide = self.about["answers"], logits.astype(np.float64)
        if answers == "a vector":
            return {"vector": [as_short_number(each) for each in logits]}
        if answers == "a quantity":
            return {"value": as_short_number(self.about["offset"] + self.about["scale"] * wide[0])}
        if answers == "several labels":
            likely = 1 / (1 + np.exp(-wide))
            chosen = np.flatnonzero(likely > CHOSEN_ABOVE)
            return {
                "labels": [self.labels[each] for each in chosen],
                "scores": [as_short_number(likely[each]) for each in chosen],
            }
        shares = np.exp(wide - wide.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        if answers == "the next token":
            best = np.argsort(-shares, kind="stable")[:NEXT_TOKENS]
            return {
                "next": [{"token": self.say_token(int(each)), "score": as_short_number(shares[each])} for each in best]
            }
        if answers == "a tag for each word":
            best = shares.argmax(axis=-1)
            scores = np.take_along_axis(shares, best[:, None], axis=-1)[:, 0]
            return {"tags": [self.labels[each] for each in best], "scores": [as_short_number(each) for each in scores]}
        number = int(shares.argmax())
        return {"label": self.labels[number], "score": as_short_number(shares[number])}

    def say_token(self, number: int) -> str:
        """A token as text."""
        return str(number) if self.tokenizer is None else str(self.tokenizer.id_to_token(number))

    def check(self) -> str:
        """Why the answers to the examples are not those of the model that was exported; empty = they are."""
        examples = json.loads((self.folder / EXAMPLES_FILE).read_text(encoding="utf-8"))
        allowed = CHECKED[self.about["bits"]]
        for number, (row, wanted) in enumerate(zip(examples["rows"], examples["outputs"], strict=True), 1):
            said, told = self.run(self.read([row]))[0], np.asarray(wanted, np.float32)
            if self.labels:  # the outputs of the example may stand in another order
                said = said[..., [self.labels.index(label) for label in examples["labels"]]]
            if said.shape != told.shape:
                return f"example {number}: outputs of the shape {list(said.shape)}, {list(told.shape)} are expected"
            off = float(np.abs(said - told).max() / max(1.0, float(np.abs(told).max())))
            if not off <= allowed:
                return f"example {number}: outputs differ by {off:.3g}, at most {allowed:g} is allowed"
        return ""


def load_tokenizer(path: Path, about: Mapping[str, Any]) -> Any:
    """The tokenizer, which cuts texts to the length that the model reads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    if about["reads"] == "texts":
        tokenizer.enable_truncation(about["max_length"])
    else:
        tokenizer.no_truncation()
    return tokenizer


def pad_rows(rows: Sequence[Sequence[int]]) -> Numbers:
    """[B, T] int64, 0 behind a row's last one."""
    made = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for number, row in enumerate(rows):
        made[number, : len(row)] = row
    return made


def read_image(path: Path | str, shape: Sequence[int]) -> Numbers:
    """The pixels [channels, size, size] uint8 of an image, upright, cut to a square around its middle, on white."""
    from PIL import Image, ImageOps

    channels, size, _ = shape
    with Image.open(path) as image:
        image.draft(None, (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            colors = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors).convert("RGB")
        square = ImageOps.fit(upright.convert({1: "L", 3: "RGB"}[channels]), (size, size), Image.Resampling.BILINEAR)
        return np.array(square).reshape(size, size, channels).transpose(2, 0, 1)


def as_floats(pixels: Numbers) -> Numbers:
    """Bytes of pixels as float32 in [0, 1]; other numbers as they are."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def as_short_number(value: Any) -> float:
    """The shortest decimal number that stands for a float32."""
    return float(str(np.float32(value)))


def run_onnx(folder: Path, about: Mapping[str, Any]) -> Callable[[Inputs], Numbers]:
    """onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(os.environ.get("KD_INFERENCE_THREADS", "0"))  # 0 = as onnxruntime likes
    session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: np.asarray(session.run(None, {name: inputs[name] for name in names})[0])


def run_program(folder: Path, about: Mapping[str, Any]) -> Callable[[Inputs], Numbers]:
    """A program of ``torch.export``."""
    import torch

    if (folder / LSTM_FILE).is_file():
        load_code(folder, Path(LSTM_FILE).stem)
    program = torch.export.load(str(folder / PROGRAM_FILE)).module()
    return run_torch(lambda inputs: program(*(inputs[name] for name in about["inputs"])))


def run_weights(folder: Path, about: Mapping[str, Any]) -> Callable[[Inputs], Numbers]:
    """The code of the network, which is in this folder, with its weights."""
    from safetensors.torch import load_file

    for name in [name for name in sys.modules if name.partition(".")[0] == COPIED_CODE]:
        del sys.modules[name]  # of another bundle
    network = build_copied(json.loads((folder / NETWORK_FILE).read_text(encoding="utf-8")), folder)
    network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    network.eval()
    first, named = about["inputs"][: about["positional"]], about["inputs"][about["positional"] :]
    return run_torch(lambda inputs: network(*map(inputs.get, first), **{name: inputs[name] for name in named}))


def run_transformers(folder: Path, about: Mapping[str, Any]) -> Callable[[Inputs], Numbers]:
    """A model of ``transformers``."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    network = getattr(transformers, about["auto"]).from_pretrained(str(folder)).eval()
    return run_torch(lambda inputs: network(**{name: inputs[name].long() for name in about["inputs"]}).logits)


def run_torch(network: Callable[[dict[str, Any]], Any]) -> Callable[[Inputs], Numbers]:
    """Torch on the CPU."""
    import torch

    def run(inputs: Inputs) -> Numbers:
        with torch.inference_mode():
            made = network({name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in inputs.items()})
        return np.asarray(made.float().numpy())

    return run


def build_copied(node: Any, folder: Path) -> Any:
    """What settings with a ``_target_`` describe, of the code in this folder or of torch."""
    if isinstance(node, list):
        return [build_copied(each, folder) for each in node]
    if not isinstance(node, dict):
        return str(folder / node.removeprefix(HERE)) if isinstance(node, str) and node.startswith(HERE) else node
    values = {name: build_copied(each, folder) for name, each in node.items()}
    if "_target_" not in node:
        return values
    module, _, name = values.pop("_target_").rpartition(".")
    made, given, later = (
        getattr(load_code(folder, module), name),
        values.pop("_args_", ()),
        values.pop("_partial_", False),
    )
    return partial(made, *given, **values) if later else made(*given, **values)


def load_code(folder: Path, module: str) -> Any:
    """A module of this folder."""
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))


RUN_TIMES = {
    "onnxruntime": run_onnx,
    "torch.export": run_program,
    "torch": run_weights,
    "transformers": run_transformers,
}


def list_named_rows(model: Model, words: Sequence[str]) -> Iterator[Any]:
    """The rows that the command line names."""
    for word in words:
        if word.endswith(".npz") and model.about["reads"] in ("arrays", "images"):
            yield from np.load(word, allow_pickle=False)["inputs"]
            continue
        for line in (each.rstrip("\r\n") for each in sys.stdin) if word == "-" else (word,):
            yield tuple(line.split("\t", 1)) if model.about["pairs"] and "\t" in line else line


def run_program_words(words: Sequence[str]) -> int:
    """A line for each row; the exit code."""
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a terminal, a file or a pipe
    if not words or (words[0].startswith("-") and list(words) not in (["-"], ["--check"])):
        print(__doc__)
        return 0 if words and words[0] in ("-h", "--help") else 2
    model, bad = Model(), 0
    if words[0] == "--check":
        problem = model.check()
        print(problem or "the answers to the examples are those of the model that was exported")
        return 1 if problem else 0
    for row in list_named_rows(model, words):
        named = {"row": row} if isinstance(row, str | tuple) else {}
        try:
            said = model.predict([row])[0]
        except Exception as error:  # of a row: the next ones may be in order
            said, bad = {"error": f"{type(error).__name__}: {error}"}, bad + 1
        print(json.dumps({**named, **said}, ensure_ascii=False))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(run_program_words(sys.argv[1:]))
