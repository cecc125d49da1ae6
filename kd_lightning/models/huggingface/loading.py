"""Models of the ``transformers`` library from a folder or the hub, quietly and without running code that comes with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from kd_lightning.errors import CheckpointCorruptError, ConfigError, MissingExtraError
from kd_lightning.process.packaged import expand_packaged_path
from kd_lightning.safety.error_text import take_first_line


def import_transformers() -> Any:
    """The library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError('transformers is not installed: pip install "kd-lightning[hf]"') from error
    return transformers


@contextmanager
def transformers_are_quiet() -> Iterator[None]:
    """Inside, no bars and no warnings: a run builds a network many times, and says itself what a user needs to know."""
    logging = import_transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_config(path: str, revision: str | None) -> Any:
    """The configuration of a model.

    Args:
        path: A folder, ``package:NAME/FOLDER`` = one inside an installed package, or a name on the hub.
        revision: Of the hub's: branch, tag or commit; None = the main branch.

    Raises:
        ConfigError: There is none.
        MissingExtraError: ``transformers`` is not installed.
    """
    transformers = import_transformers()
    try:
        with transformers_are_quiet():
            return transformers.AutoConfig.from_pretrained(
                expand_packaged_path(path), revision=revision, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"model.path={path}: no model can be read there ({take_first_line(error)}): name a folder with config.json and "
            "model.safetensors, or a model of the hub"
        ) from error


def load_model(
    auto: str, config: Any, path: str, revision: str | None, pretrained: bool
) -> tuple[nn.Module, list[str]]:
    """The model, and the names of the weights that were not there and start at random.

    Args:
        auto: Name of the ``Auto...`` class.
        config: Of ``read_config``, perhaps changed.
        path: Likewise.
        revision: Likewise.
        pretrained: With its weights; False = all of them start at random.

    Raises:
        CheckpointCorruptError: The weights cannot be read.
        ConfigError: No model of that kind is made of this configuration.
    """
    made_by = getattr(import_transformers(), auto)
    try:
        with transformers_are_quiet():
            if not pretrained:
                model: nn.Module = made_by.from_config(config, dtype=torch.float32, trust_remote_code=False)
                return model, [name for name, _ in model.named_parameters()]
            model, found = made_by.from_pretrained(
                expand_packaged_path(path),
                revision=revision,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
            )
    except (ValueError, KeyError) as error:
        raise ConfigError(f"model.path={path} cannot be built as {auto}: {take_first_line(error)}") from error
    except Exception as error:  # what a damaged file raises shares no base class
        raise CheckpointCorruptError(
            f"model.path={path}: its weights cannot be read: {take_first_line(error)}"
        ) from error
    model.train()  # as every network that has just been built; the library hands it over for use
    return model, sorted(found["missing_keys"])


def keep_layers(model: nn.Module, layers: list[int]) -> None:
    """Leave out all transformer layers but some, in place; they keep their order.

    Args:
        model: With one list of ``config.num_hidden_layers`` layers, which is changed as well.
        layers: Numbers from 0, ascending.

    Raises:
        ConfigError: It has no such list, or no such layer.
    """
    config: Any = model.config
    count = getattr(config, "num_hidden_layers", 0)
    stacks = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if len(stacks) != 1:
        raise ConfigError(
            f"model.layers: {type(model).__name__} has {len(stacks)} lists of {count} layers, one is needed: leave layers out"
        )
    if not layers or sorted(set(layers)) != list(layers) or not 0 <= layers[0] <= layers[-1] < count:
        raise ConfigError(f"model.layers={list(layers)}: some of 0 to {count - 1}, ascending, are expected")
    parent, _, name = stacks[0].rpartition(".")
    owner = model.get_submodule(parent)
    stack = getattr(owner, name)
    setattr(owner, name, nn.ModuleList(stack[number] for number in layers))
    config.num_hidden_layers = len(layers)
