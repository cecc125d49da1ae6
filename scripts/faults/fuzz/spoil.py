"""Files and values with something wrong with them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from scripts.faults.fuzz.case import HTML

WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), 1.5, "x", "", [], ["x"], {}),
    *({"x": 1}, "\x1b[31m", HTML, "[bold]x[/bold]", "=1+1", "\ud800", "\u202egpj", [[[]]], 2**63),
)


def damage(rng: random.Random, content: bytes) -> bytes:
    """The bytes with something wrong with them."""
    at = rng.randrange(len(content) + 1)
    kind = rng.randrange(6)
    if kind == 0 and content:
        at = min(at, len(content) - 1)
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if kind == 1:
        return content[:at]
    if kind == 2:
        return content[:at] + rng.randbytes(rng.choice((1, 4, 64))) + content[at:]
    if kind == 3:
        return content[:at] + content[at + rng.choice((1, 16, 256)) :]
    if kind == 4:
        return content[:at] + content[: rng.randrange(len(content) + 1)]
    return b"" if rng.random() < 0.5 else rng.randbytes(200)


def replace_part(rng: random.Random, value: Any) -> Any:
    """The value with one of its parts, however deep, exchanged, lost or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: replace_part(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], replace_part(rng, value[at]), *value[at + 1 :]]
    return rng.choice(WRONG)


def spoil(rng: random.Random, path: Path) -> None:
    """Damage a file, or put something else in its place."""
    kind = rng.random()
    if kind < 0.06:
        path.unlink()
        rng.choice((os.mkfifo, os.mkdir, lambda at: os.symlink("/dev/zero", at), lambda at: os.symlink(at, at)))(path)
    elif kind < 0.65 and path.suffix == ".json":
        changed = json.loads(path.read_text(encoding="utf-8"))
        for _ in range(rng.choice((1, 1, 2, 5))):
            changed = replace_part(rng, changed)
        path.write_text(json.dumps(changed), encoding="utf-8")
    elif kind < 0.75 and path.suffix == ".csv":
        lines = path.read_text(encoding="utf-8").splitlines()
        cells = [str(rng.choice(WRONG)).encode("utf-8", "replace").decode() for _ in range(rng.choice((1, 4, 4, 5)))]
        lines.insert(rng.randrange(len(lines) + 1), ",".join(cells))
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        path.write_bytes(damage(rng, path.read_bytes()))
