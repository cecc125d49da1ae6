"""kd_lightning: knowledge distillation experiments that pay for the teacher once and end in an honest verdict.

    import kd_lightning as kd

    kd.run("experiment=digits", "temperature=2")     what the command ``kd run`` does, in this process
    kd.load("last")                                  a model of a finished run, to ask about new rows
    kd.distill(teacher, student, train, val, ...)    networks and loaders of your own

They are imported when they are first asked for: ``import kd_lightning`` alone imports neither torch nor Hydra.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__version__ = "0.1.0"

_LAZY = {"run": "python.run", "load": "python.load", "distill": "python.distill", "KDError": "errors"}
"""Name -> the module of ours that it is imported from when it is first asked for."""
TYPE_CHECKING = False  # what type checkers take for True; the one of `typing` would make `kd --help` slower
if TYPE_CHECKING:
    from kd_lightning.errors import KDError as KDError
    from kd_lightning.python.distill import distill as distill
    from kd_lightning.python.load import load as load
    from kd_lightning.python.run import run as run
else:

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LAZY})


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
