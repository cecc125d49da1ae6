"""JSON files that others may have written, read once and with care: every reader of a record goes through here.

Only a regular file of a sensible size is read, so a named pipe cannot hold the reader up. What is in it must be UTF-8, and JSON
of a sensible depth with each key once. What a reader relies on must have the type that it relies on.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_lightning.errors import KDError

LARGEST_JSON_BYTES = 64 * 2**20
"""Bytes: ours are a thousand times smaller."""
DEEPEST = 32
LARGEST_NUMBER = 2**64
"""Of whole numbers, either way: arithmetic with a float breaks far above it, and no count or seed is there."""

Kind = type | tuple[type, ...] | list[Any] | dict[str, Any]
"""What a field may be: a type; ``[kind]``, a list of it; a mapping of fields, where ``"*"`` stands for all other names."""
Fields = dict[str, Kind]
TEXT, FLAG, WHOLE = str, bool, int
NUMBER = (int, float)
ANY = object
KIND_NAMES: Mapping[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
}


READ_AT_ONCE = 2**16
"""Bytes."""


def read_text(path: Path, largest: int = LARGEST_JSON_BYTES, errors: str = "strict", links: bool = False) -> str:
    """The text of a regular file.

    Args:
        path: The file.
        largest: Bytes that it may have.
        errors: What becomes of bytes that are no UTF-8, as for ``bytes.decode``.
        links: The file may be a link to one; not so where what it holds is copied or shown as our own.

    Raises:
        FileNotFoundError: There is none.
        KDError: It is a link or no regular file, too large, not readable, or no UTF-8.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for somebody who writes into it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise KDError(f"{path}: no regular file, so it is not read")
            content = bytearray()  # not read(largest + 1), which takes so much memory for a file of any size
            while len(content) <= largest and (piece := file.read(READ_AT_ONCE)):
                content += piece
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "it is a link" if path.is_symlink() and not links else error.strerror
        raise KDError(f"{path}: cannot be read: {why}") from error
    if len(content) > largest:
        raise KDError(f"{path}: larger than {largest / 2**20:.4g} MiB, so it is not read")
    try:
        return content.decode(errors=errors)
    except UnicodeDecodeError as error:
        raise KDError(f"{path}: no UTF-8 text at byte {error.start}") from error


def read_json(path: Path) -> Any:
    """What a JSON file says. NaN and infinities are numbers, as Python writes them.

    Raises:
        FileNotFoundError: There is none.
        KDError: It cannot be read, or is no JSON that makes sense.
    """
    text = read_text(path)
    try:
        found = json.loads(text, object_pairs_hook=without_repeats, parse_int=sensible_int)
        check_depth(found)
    except RecursionError:
        raise KDError(f"{path}: nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise KDError(f"{path}: not readable as JSON ({error})") from error
    return found


def read_record(path: Path, fields: Fields, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object whose fields have the types that its readers rely on; a field may be absent or null unless it is needed.

    Args:
        path: The file.
        fields: Name -> kind; other names may hold anything.
        needed: Names that must be there.

    Raises:
        FileNotFoundError: There is no such file.
        KDError: The file cannot be read, or a field is not what is expected.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise KDError(f"{path}: {name_kind(found)}, an object with fields is expected")
    missing = [name for name in needed if found.get(name) is None]
    if missing:
        raise KDError(f"{path}: lacks {', '.join(missing)}")
    problem = find_misfit(found, fields, "")
    if problem:
        raise KDError(f"{path}: {problem}")
    return found


def find_misfit(value: Any, kind: Kind, where: str) -> str | None:
    """What is wrong with the first field that is not of its kind; None where all are."""
    if value is None or kind is ANY:
        return None
    parts: list[tuple[str, Any, Any]]
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return f"field {where!r} is {name_kind(value)}, an object with fields is expected"
        parts = [(name, each, kind.get(name, kind.get("*", ANY))) for name, each in value.items()]
    elif isinstance(kind, list):
        if not isinstance(value, list):
            return f"field {where!r} is {name_kind(value)}, a list is expected"
        parts = [(str(number), each, kind[0]) for number, each in enumerate(value)]
    else:
        types = kind if isinstance(kind, tuple) else (kind,)
        if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
            return None
        return f"field {where!r} is {name_kind(value)}, {KIND_NAMES[types[-1]]} is expected"
    below = (find_misfit(each, inner, f"{where}.{name}" if where else name) for name, each, inner in parts)
    return next((problem for problem in below if problem), None)


def name_kind(value: Any) -> str:
    """What a value is, in words."""
    return "null" if value is None else KIND_NAMES.get(type(value), "an object")


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; which of two values of one name counts would be anybody's guess."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} stands there twice")
        found[name] = value
    return found


def sensible_int(text: str) -> int:
    """A whole number with which one can compute."""
    if len(text) > 21 or abs(int(text)) > LARGEST_NUMBER:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def check_depth(value: Any) -> None:
    """Refuse what no reader that walks down can follow."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise RecursionError
