"""The tokenizer that comes with a pretrained model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from kd_lightning.errors import ConfigError, MissingExtraError
from kd_lightning.process.packaged import expand_packaged_path
from kd_lightning.safety.error_text import take_first_line


class HubTokenizer:
    """The tokenizer of a ``transformers`` model.

    Args:
        path: Its folder, ``package:NAME/FOLDER`` = one inside an installed package, or its name on the hub.
        max_length: Most tokens of a row, those that mark its ends included.
        revision: Of a model on the hub: branch, tag or commit; None = the main branch.
        digest: Of the model's files; part of the key of the ids that are made with it.

    Raises:
        ConfigError: ``max_length`` is below 1.
    """

    def __init__(
        self, path: str, max_length: int = 128, revision: str | None = None, digest: str | None = None
    ) -> None:
        if max_length < 1:
            raise ConfigError(f"tokenizer.max_length={max_length}: at least 1 token is needed")
        self.path = path
        self.max_length = max_length
        self.revision = revision

    @property
    def type_ids(self) -> bool:
        """The network tells the texts of a pair apart."""
        return "token_type_ids" in self._library_tokenizer.model_input_names

    def fit(self, texts: Iterable[str] = ()) -> str:
        """See ``TextTokenizer``: what the folder holds.

        Raises:
            ConfigError: There is no tokenizer, or one that only Python can run.
            MissingExtraError: ``transformers`` is not installed.
        """
        backend = self._library_tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        text: str = backend.to_str()
        return text

    @cached_property
    def _library_tokenizer(self) -> Any:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingExtraError('transformers is not installed: pip install "kd-lightning[hf]"') from error
        try:
            found = AutoTokenizer.from_pretrained(
                expand_packaged_path(self.path), revision=self.revision, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            first = take_first_line(error)
            raise ConfigError(
                f"tokenizer.path={self.path}: no tokenizer can be read there ({first}); name the folder of a model with its "
                "tokenizer.json"
            ) from error
        if not getattr(found, "is_fast", False):
            raise ConfigError(
                f"tokenizer.path={self.path}: {type(found).__name__} has no tokenizer.json: save one with "
                "AutoTokenizer.from_pretrained(path, use_fast=True).save_pretrained(folder)"
            )
        return found
