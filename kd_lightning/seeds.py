"""One number from many: seeds for the order of rows, the labeled rows, each step's dropout."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^63) that depends on every part and on nothing else.

    Example:
        >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1), derive_seed(0, "order", 1) == derive_seed(0, "order", 2)
        (True, False)
    """
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
