"""``kd run`` from a checkout: python scripts/train.py temperature=2 alpha=0.5."""

from __future__ import annotations

import sys

from kd_lightning.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
