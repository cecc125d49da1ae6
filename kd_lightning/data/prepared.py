"""Prepared rows on disk: one safetensors file for each split, the tokenizer, the facts."""

from __future__ import annotations

import json

from safetensors.torch import load_file, save

from kd_lightning.data.datamodule import Prepared
from kd_lightning.store import Entry, publish, publish_json


def write_prepared(entry: Entry, prepared: Prepared) -> None:
    """Put the rows into the entry and declare it whole."""
    files = ["data.json", "tokenizer.json"]
    publish_json(entry.path("data.json"), {"fingerprint": prepared.fingerprint(), "facts": prepared.facts})
    publish(entry.path("tokenizer.json"), prepared.tokenizer)
    for split, rows in prepared.splits.items():
        publish(entry.path(f"{split}.safetensors"), save({k: v.contiguous() for k, v in rows.items()}))
        files.append(f"{split}.safetensors")
    entry.finish(files)


def read_prepared(entry: Entry) -> tuple[Prepared, str]:
    """The rows of a whole entry and their fingerprint."""
    described = json.loads(entry.path("data.json").read_text(encoding="utf-8"))
    splits = {path.stem: load_file(path) for path in sorted(entry.folder.glob("*.safetensors"))}
    prepared = Prepared(splits, entry.path("tokenizer.json").read_text(encoding="utf-8"), described["facts"])
    return prepared, described["fingerprint"]
