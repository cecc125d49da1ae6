"""The tokens of a vocabulary as texts that another tokenizer can read."""

from __future__ import annotations

import json

from kd_lightning.data.tokenizers.vocabulary import SPECIAL_TOKENS, import_tokenizers


def read_token_texts(fitted: str) -> dict[int, str]:
    """Id -> text of each token that stands for a text, ids ascending.

    ``##ly``, as parts of words are written by some vocabularies, is ``ly``; what byte pair encodings write as ``\u0120good`` is
    ``good``. Left out are padding, unknown words and marks of beginning and end, and tokens of white space alone.

    Args:
        fitted: JSON of a ``tokenizers.Tokenizer``.

    Raises:
        MissingExtraError: The ``tokenizers`` package is not installed.
    """
    tokenizer = import_tokenizers().Tokenizer.from_str(fitted)
    described = json.loads(fitted)
    marks = {each["content"] for each in described.get("added_tokens") or () if each["special"]}
    prefix = described["model"].get("continuing_subword_prefix") or ""
    found: dict[int, str] = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if token in marks or token in SPECIAL_TOKENS:
            continue
        if prefix and token.startswith(prefix) and token != prefix:
            text = token[len(prefix) :]
        else:
            text = tokenizer.decode([number], skip_special_tokens=False)
        if text.strip():
            found[number] = text.strip()
    return found
