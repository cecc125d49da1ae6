"""The interface of one term of the distillation loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from kd_lightning.losses.functional.chunked.terms import SoftTerm
from kd_lightning.types import Aligned, OutputKind, Outputs


class Loss(nn.Module):
    """One soft term. A subclass is one Python file and one YAML; it may own projections and memories (trained, never
    exported), and what pre-training has made of them goes on into distillation.

    Attributes:
        weight: Factor of the term in the sum; the logged value is without it.
        taps: name -> (module path in the student, module path in the teacher); the tapped outputs come as
            ``student.features[name]`` and ``teacher.features[name]``. Empty for losses on logits.
        reads_features: ``expect_rows``, ``attach`` and ``build`` are to be called before training.
        counts_classes: ``expect_classes`` is to be called before training.
        classwise: Student and teacher have the same classes; where it is False, the teacher's logits may have more.
        bounded: The value is never below 0.
        goes_on: Parameters and buffers go on from stage to stage; False = they follow the stage's progress, and begin anew.
        compares: The kinds of outputs for which its formula makes sense.
        raw_logits: It reads the teacher's logits as they are: their probabilities would not do in their place.
    """

    reads_features: ClassVar[bool] = False
    counts_classes: ClassVar[bool] = False
    classwise: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    goes_on: ClassVar[bool] = True
    compares: ClassVar[frozenset[OutputKind]] = frozenset(OutputKind)
    raw_logits: bool = False

    def __init__(self, weight: float = 1.0, taps: dict[str, tuple[str, str]] | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.taps = {name: (student, teacher) for name, (student, teacher) in (taps or {}).items()}

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        """The value of the term.

        Args:
            student: Outputs with gradient.
            teacher: Outputs without gradient.
            aligned: Which positions count.
            temperature: The run's T at this step, annealed or not. Losses without a temperature ignore it.

        Returns:
            Scalar, unweighted; 0 when no position counts.
        """
        raise NotImplementedError

    def expect_rows(self, rows: int) -> None:
        """Told before ``attach`` how many rows are trained on: ``aligned.index`` is below.

        Args:
            rows: Of the training split, > 0.

        Raises:
            ConfigError: Too few.
        """

    def expect_classes(self, class_rows: Tensor) -> None:
        """Told how often each class is among the training rows.

        Args:
            class_rows: [C] int64, positions that count and whose label the student may read.
        """

    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        """Settle ``taps`` now that the networks are known.

        Args:
            student: Untrained.
            teacher: Untrained.

        Raises:
            ConfigError: They do not have what is asked for.
        """

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Make the projections, from the features of the task's example batch; called after ``attach``.

        Args:
            student: Tap -> feature, B = 2.
            teacher: Likewise.

        Raises:
            ConfigError: The features cannot be compared.
        """

    def prepare(self, student: nn.Module, teacher: Callable[[], nn.Module]) -> None:
        """Told which student the stage will train, before its first step, and again when it goes on from a resume point.

        A loss that gives the student parts of the teacher does it here; a part that is not to be trained loses
        ``requires_grad``.

        Args:
            student: With the weights that it starts with.
            teacher: Gives the trained teacher, which may be changed: nobody else has it.
        """

    def advance(self, progress: float, value: Tensor) -> None:
        """Told after each training batch what came of it; a loss that changes over the stage changes here.

        All that it changes is a buffer, so that it is in every checkpoint, and ``forward`` changes nothing: a resumed run is
        bit for bit the uninterrupted one. What follows the progress is to begin anew in the next stage: ``goes_on = False``.

        Args:
            progress: The stage's at this batch, in [0, 1).
            value: Scalar without gradient: the term's, unweighted.
        """

    def soft_term(self, temperature: float, share: float) -> SoftTerm | None:
        """The same value for a loss that never makes whole logits; None where it is not of that kind.

        Args:
            temperature: As in ``forward``.
            share: Factor of all soft terms in the loss; the term's own weight comes on top.
        """
        return None


def lasting(losses: Mapping[str, Loss]) -> dict[str, Loss]:
    """The terms that have something to remember from stage to stage."""
    return {name: term for name, term in losses.items() if term.goes_on and term.state_dict()}


def all_taps(losses: Mapping[str, Loss]) -> dict[str, tuple[str, str]]:
    """``TERM/TAP`` -> (module path in the student, module path in the teacher), of all terms."""
    return {f"{name}/{tap}": paths for name, term in losses.items() for tap, paths in term.taps.items()}


def teacher_taps(losses: Mapping[str, Loss]) -> dict[str, str]:
    """``TERM/TAP`` -> module path in the teacher, of all terms."""
    return {name: teacher for name, (_, teacher) in all_taps(losses).items()}
