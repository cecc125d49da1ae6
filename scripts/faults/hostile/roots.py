"""Every way in that we know."""

from __future__ import annotations

from scripts.faults.hostile import configurations, files
from scripts.faults.hostile.attempt import Root


def all_roots() -> dict[str, Root]:
    """Name -> root."""
    return {root.name: root for root in (*configurations.ROOTS, *files.ROOTS)}
