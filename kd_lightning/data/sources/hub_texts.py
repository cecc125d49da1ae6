"""Texts of a data set of the ``datasets`` library, from a folder or from the hub, in its own splits where it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kd_lightning.data.rows.hub_dataset import (
    DatasetAddress,
    choose_split,
    find_split,
    load_splits,
    open_split,
    parse_address,
    read_class_order,
)
from kd_lightning.data.rows.label_readers import EMBEDDING, REGRESSION
from kd_lightning.data.rows.values import HUB_PREFIX
from kd_lightning.data.sources.text_table import TextTable, check_data_path
from kd_lightning.errors import ConfigError
from kd_lightning.process.packaged import expand_packaged_path

OWN_SPLIT = "own"
"""In place of a split's name: what the data set calls it."""


class HubTexts(TextTable):
    """Texts with labels in the columns of a data set. Labels are the names of its classes, in its own order.

    Args:
        path: A folder of ``save_to_disk``, one of files that ``load_dataset`` reads, or a name of the hub.
        text: As in ``TextTable``, like all that is not named here.
        label: Likewise.
        subset: Which configuration of the data set; None = the only one.
        revision: Of a data set of the hub: branch, tag or commit; None = the newest.
        train_split: Its name for the rows that train.
        val_split: Its name for those of validation; ``own`` = a usual one or, where there is none, drawn as in a ``TextTable``;
            None = drawn.
        test_split: Likewise.
        more: Of a ``TextTable``.

    Raises:
        KDError: The data set cannot be read, or has no such split; or as ``TextTable``.
    """

    def __init__(
        self,
        path: str,
        text: str,
        label: str | Sequence[str] | None = None,
        subset: str | None = None,
        revision: str | None = None,
        train_split: str = OWN_SPLIT,
        val_split: str | None = OWN_SPLIT,
        test_split: str | None = OWN_SPLIT,
        **more: Any,
    ) -> None:
        train = locate_training_rows(path, subset, revision, train_split)
        drawn = more.get("split_column") is not None or more.get("time") is not None
        more |= {
            f"{split}_path": locate_other_rows(train, split, None if drawn and name == OWN_SPLIT else name)
            for split, name in (("val", val_split), ("test", test_split))
        }
        super().__init__(str(train), text, label, **more)

    @staticmethod
    def read_open_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """As ``TextTable.read_open_settings``, of the training rows; labels in the order of the data set.

        Args:
            settings: Also ``subset``, ``revision`` and ``train_split``.
        """
        train = locate_training_rows(*(settings[name] for name in ("path", "subset", "revision", "train_split")))
        described = {**settings, "path": str(train), "delimiter": None}
        label = settings["label"]
        if settings["task"] == EMBEDDING:
            return TextTable.read_open_settings(described)
        if label is None:
            label = TextTable.read_open_settings(described)["label"]
        named: dict[str, Any] = {"label": label}
        if settings["labels"] is None and settings["task"] != REGRESSION and isinstance(label, str):
            names = read_class_order(train, label)
            named |= {"labels": names} if names is not None else {}
        return {**named, **TextTable.read_open_settings({**described, **named})}


def locate_training_rows(path: str, subset: str | None, revision: str | None, split: str) -> DatasetAddress:
    """The address of the rows that train.

    Raises:
        ConfigError: The path is none.
        KDError: The data set cannot be read, or has no such split.
    """
    check_data_path(path)
    whole = expand_packaged_path(str(path)).removeprefix(HUB_PREFIX)  # as a Path, ./NAME would be a name of the hub
    address = parse_address(f"{HUB_PREFIX}{whole}")
    if address is None:
        raise ConfigError(f"data.path={path!r}: a folder, or the name of a data set of the hub, is expected")
    address = replace(address, subset=subset or address.subset, revision=revision or address.revision)
    if address.revision is not None and address.folder is not None:
        raise ConfigError(
            f"data.revision={address.revision} is of data sets of the hub, and {path} is a folder: leave it out"
        )
    if split == OWN_SPLIT:
        return address if address.split is not None else replace(address, split=choose_split(address, "train"))
    address = replace(address, split=split)
    open_split(address)
    return address


def locate_other_rows(train: DatasetAddress, split: str, name: str | None) -> str | None:
    """The address of the rows of validation or test; None = they are drawn from those that train.

    Args:
        train: Of the rows that train.
        split: ``val`` or ``test``.
        name: As in ``HubTexts``.

    Raises:
        ConfigError: The data set has no split of that name, or it is the one that trains.
    """
    found = find_split(load_splits(train), split) if name == OWN_SPLIT else name
    if found is None:
        return None
    if found == train.split:
        raise ConfigError(
            f"data.{split}_split={found}: these rows train: name another split, or null to have rows drawn"
        )
    address = replace(train, split=found)
    open_split(address)
    return str(address)
