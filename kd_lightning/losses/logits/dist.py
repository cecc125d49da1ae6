"""DIST: the student's predictions correlate with the teacher's, within each position and within each class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.cosine import pearson_distance
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.shapes import check_same_shape
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.types import Aligned, Outputs


class DIST(LogitLoss):
    """``T^2 * (beta * mean_i (1 - corr(p_i, q_i)) + gamma * mean_c (1 - corr(p_:c, q_:c)))``.

    p_i are the teacher's probabilities at one counted position (relations between classes), p_:c those of one class at
    all counted positions of the batch (relations within a class). The second mean is over classes, and belongs to the
    batch: that of a larger batch is not the mean of its parts. It does not change when all rows come twice. Where a
    teacher's probabilities are all equal there is no correlation, and the distance is 0: a batch with one counted
    position has no second term. (The paper's code adds 1e-8 to the product of the norms; here the correlation is exact.)

    Args:
        beta: Weight of the relations between classes; 1 as in the paper for ImageNet, where it is 2 for CIFAR-100.
        gamma: Weight of the relations within a class; the same.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for. The paper's is
            1 for ImageNet and 4 for CIFAR-100.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.

    Reference: Huang, You, Wang, Qian, Xu 2022, "Knowledge Distillation from A Stronger Teacher".
    """

    by_position = False

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        weight: float = 1.0,
        temperature: float | None = None,
        standardize: bool = False,
    ) -> None:
        super().__init__("dist", weight, temperature, standardize)
        self.beta = beta
        self.gamma = gamma

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        check_same_shape(student.logits, teacher.logits)
        student_probs, teacher_probs = (
            F.softmax(at_least_float32(outputs.logits) / temperature, dim=-1).flatten(end_dim=-2)
            for outputs in (student, teacher)
        )
        mask = aligned.mask.flatten()
        between = masked_mean(pearson_distance(student_probs, teacher_probs), mask)
        within = pearson_distance(student_probs, teacher_probs, mask.unsqueeze(-1), dim=0).mean()
        return temperature**2 * (self.beta * between + self.gamma * within)
