"""kd_lightning: knowledge distillation experiments that pay for the teacher once and end in an honest verdict."""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__version__ = "0.1.0"


class _LeanTorchmetrics:
    """Keeps torchmetrics from importing ``transformers`` for its BERTScore and InfoLM, which nobody may have asked for.

    Where ``transformers`` is installed, that makes every start of a process longer by a third. These two metrics then say that
    it is not installed. It has to stand here: whatever of ours is imported first may be what imports torchmetrics. It is no
    subclass of ``importlib.abc.MetaPathFinder``, because that import alone would make ``kd --help`` slower.
    """

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "torchmetrics.utilities.imports":
            return None
        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            for flag in [each for each in vars(module) if each.startswith("_TRANSFORMERS")]:
                setattr(module, flag, False)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _LeanTorchmetrics())
