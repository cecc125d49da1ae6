"""What all losses share that compare logits: a temperature of their own, and logits that may be standardized."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.reduce import zeroed
from kd_lightning.losses.functional.sample_temperature import SampleTemperature
from kd_lightning.losses.functional.standardize import standardized
from kd_lightning.types import Aligned, OutputKind, Outputs

Temperature = float | SampleTemperature | None
"""T > 0 for one term alone; a temperature for each position, around the run's; or None = the run's."""


class LogitLoss(Loss):
    """A subclass says in ``compare`` what it makes of logits, temperature and mask.

    The student's logits reach it with 0 where they do not count, so that nothing of what stood there, were it NaN, gets into
    a gradient. The teacher's come as they are: a softmax of them may be there already, for all losses.

    Args:
        name: The loss's, for messages.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for; a
            ``SampleTemperature`` = one for each position, around the run's.
        standardize: True = the logits of student and teacher are standardized first, position by position; the formula is
            then that of the standardized logits, T included. Formula and reference at ``standardized``.

    Attributes:
        by_position: ``compare`` takes a temperature for each position.

    Raises:
        ConfigError: ``temperature`` is not above 0, or one for each position where the formula has none.
    """

    by_position: ClassVar[bool] = True
    compares: ClassVar[frozenset[OutputKind]] = frozenset({OutputKind.CLASSES})

    def __init__(
        self, name: str, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False
    ) -> None:
        super().__init__(weight)
        truth = isinstance(temperature, bool)
        number = isinstance(temperature, (int, float)) and not truth and 0 < temperature < math.inf
        if not number and temperature is not None and not isinstance(temperature, SampleTemperature):
            raise ConfigError(
                f"loss.{name}.temperature={temperature}: a number > 0 is expected, or null for the run's "
                f"(one for each position: +sample_temperature@loss.{name}.temperature=flsw)"
            )
        by_position = temperature if isinstance(temperature, SampleTemperature) else None
        if by_position and not self.by_position:
            raise ConfigError(
                f"loss.{name}.temperature: {name} takes no temperature by position: set a number, or null"
            )
        self.temperature = temperature
        self.standardize = standardize
        self.raw_logits = self.raw_logits or standardize or bool(by_position and by_position.reads_teacher)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        student = Outputs(zeroed(student.logits, aligned.mask))
        if self.standardize:
            student, teacher = (Outputs(standardized(outputs.logits)) for outputs in (student, teacher))
        own: Any = self.own(temperature)
        if isinstance(self.temperature, SampleTemperature):
            own = self.temperature(student.logits, teacher.logits, aligned.mask, temperature)
        return self.compare(student, teacher, aligned, own)

    def own(self, temperature: float) -> float:
        """This term's temperature, or the mean of those of its positions, where the run's is ``temperature``."""
        return self.temperature if isinstance(self.temperature, (int, float)) else temperature

    @property
    def whole(self) -> bool:
        """It reads whole logits whatever its formula: to standardize them, or to find a temperature for each position."""
        return self.standardize or isinstance(self.temperature, SampleTemperature)

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        """The value, as ``forward`` returns it.

        Args:
            student: Outputs with gradient, 0 where they do not count; standardized where asked for.
            teacher: Outputs without gradient; standardized likewise.
            aligned: Which positions count.
            temperature: This term's; where ``by_position``, it may be a tensor [...] with one for each position.
        """
        raise NotImplementedError
