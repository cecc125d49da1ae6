"""A network as its exported graph sees it: tensors in order in, logits out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.data.table import PAIR_COLUMN, TEXT_COLUMN, WORDS_COLUMN, Table
from kd_lightning.data.texts import text_column
from kd_lightning.data.words import join_words
from kd_lightning.deploy.export import lstm_operator
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.types import NetworkInputs

TOKEN_INPUTS, ARRAY_INPUTS = "input_ids", "inputs"
"""What the first input of a graph is called."""
OUTPUTS = "logits"
"""What its output is called."""
EXAMPLE_TEXTS = (
    "An example of a text, for a start.",
    "Another one.",
    "The third text is a little longer than the others.",
)
"""Texts to trace with, and to try a bundle with: nobody's data."""


@dataclass(frozen=True)
class Example:
    """A batch to trace with.

    Attributes:
        names: Of the inputs.
        inputs: In their order, three rows each.
        positional: How many of them are not given by name.
        lengths: Their second dimension is a length, and free.
    """

    names: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    positional: int
    lengths: bool

    @property
    def free(self) -> tuple[dict[int, str], ...]:
        """Of each input, its free dimensions and what they are called."""
        return tuple({0: "rows", 1: "length"} if self.lengths else {0: "rows"} for _ in self.inputs)


class TracedNetwork(nn.Module):
    """Calls a network with inputs in order, and answers in float32.

    Args:
        network: A copy is used, in evaluation mode, with one operator in the place of each LSTM.
        example: Says which of the inputs are given by name.
    """

    def __init__(self, network: nn.Module, example: Example) -> None:
        super().__init__()
        self.network = replace_recurrent(copy.deepcopy(network)).eval()
        self.positional = example.positional
        self.named = example.names[example.positional :]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits [..., C]."""
        named = dict(zip(self.named, inputs[self.positional :], strict=True))
        made: Tensor = self.network(*inputs[: self.positional], **named)
        return made.float()


class OperatorLSTM(nn.Module):
    """The layers of an ``nn.LSTM``, each as one operator; called and answering as that is, from a zero state."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

        self.hidden_size, self.num_layers, self.batch_first = lstm.hidden_size, lstm.num_layers, True

    def flatten_parameters(self) -> None:
        """As of an ``nn.LSTM``; there is nothing to do."""

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """States [B, T, H] of inputs [B, T, E]; the last hidden and cell states of all layers."""
        if state is not None:  # torch.export follows that for one length alone, and says so
            found: tuple[Tensor, tuple[Tensor, Tensor]] = self.lstm(inputs, state)
            return found
        hidden, cell = [], []
        for layer in range(self.lstm.num_layers):
            names = (f"{name}_l{layer}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            inputs, last, memory = lstm_operator.lstm(inputs, *(getattr(self.lstm, name) for name in names))
            hidden.append(last)
            cell.append(memory)
        return inputs, (torch.cat(hidden), torch.cat(cell))


def replace_recurrent(network: nn.Module) -> nn.Module:
    """Put the operator where an LSTM stands that it can do, in place."""
    for name, child in list(network.named_children()):
        if type(child) is nn.LSTM and is_plain(child):
            setattr(network, name, OperatorLSTM(child))
        else:
            replace_recurrent(child)
    return network


def is_plain(lstm: nn.LSTM) -> bool:
    """Rows first, one direction, with biases and without projections."""
    return lstm.batch_first and lstm.bias and not lstm.bidirectional and not lstm.proj_size


def make_example(model: TrainedModel) -> Example:
    """Three rows as the model's network reads them."""
    table, task = example_rows(model), model.task
    if table is None:
        batch = task.example_batch()
    else:
        read = model.read_by_network(table).with_column("targets", torch.zeros(len(table), dtype=torch.int64))
        batch = task.collate(read, torch.arange(len(table)))
    inputs = task.inputs(batch)
    tensors = (*inputs.args, *inputs.kwargs.values())
    return Example(name_inputs(inputs), tensors, len(inputs.args), not tensors[0].is_floating_point())


def example_rows(model: TrainedModel) -> Table | None:
    """Raw rows for a model that reads texts or words; None = the task's own example will do."""
    if model.reads_words:
        return Table({WORDS_COLUMN: text_column(join_words(text.split()) for text in EXAMPLE_TEXTS)})
    if not model.reads_texts:
        return None
    columns = {TEXT_COLUMN: text_column(EXAMPLE_TEXTS)}
    if "text_pair" in model.columns:
        columns[PAIR_COLUMN] = text_column(reversed(EXAMPLE_TEXTS))
    return Table(columns)


def name_inputs(inputs: NetworkInputs) -> tuple[str, ...]:
    """What a graph calls what a network is called with."""
    first = ARRAY_INPUTS if inputs.args[0].is_floating_point() else TOKEN_INPUTS
    return (first, *(f"{first}_{number}" for number in range(2, len(inputs.args) + 1)), *inputs.kwargs)
