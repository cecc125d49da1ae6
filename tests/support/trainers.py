"""Imported by the processes of the tests that train: Lightning reads what all installed packages say of themselves once.

It does so for each ``Trainer``, to find callbacks in them: 30 ms, nine times in the smallest run.
"""

from __future__ import annotations

from functools import cache

from pytorch_lightning.trainer.connectors import callback_connector

callback_connector._load_external_callbacks = cache(callback_connector._load_external_callbacks)
