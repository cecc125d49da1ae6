"""Factor transfer: the student's translation is to be the teacher's paraphrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair, counted_of, mean_over_rows
from kd_lightning.losses.features.feature_maps import by_places
from kd_lightning.losses.features.projections import PIXELS, channels, channels_last, raster, resized
from kd_lightning.losses.functional.features import scale_to_unit_length
from kd_lightning.losses.functional.precision import at_least_float32, without_autocast
from kd_lightning.losses.functional.reduce import masked_mean

SLOPE = 0.1
"""Of the leaky ReLUs, as in the authors' code."""


class Layers(nn.Module):
    """Layers with a norm and a leaky ReLU after each: 3 x 3 convolutions for pixels, else linear over the channels.

    The norm is one of each row's or position's own numbers (for vectors the root mean square, as few numbers less their
    mean have little left to say). The paper's is a batch norm, whose statistics rows that do not count would enter; with
    none the paraphraser diverges at the learning rates of small students.

    Args:
        widths: Channels, first to last.
        pixels: The feature is [B, D, H, W].
        bare: After the last layer stand neither norm nor ReLU, so that any number can come out.
    """

    def __init__(self, widths: Sequence[int], pixels: bool, bare: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1) if pixels else nn.Linear(before, after)]
            layers += [nn.GroupNorm(1, after) if pixels else nn.RMSNorm(after), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*(layers[:-2] if bare else layers))

    def forward(self, feature: Tensor) -> Tensor:
        """A feature with ``widths[-1]`` channels for one with ``widths[0]``, on the same raster."""
        with without_autocast(feature):  # norms of half precision are no norms
            return self.layers(feature.to(next(self.parameters()).dtype))


class Factors(nn.Module):
    """The paraphraser (the teacher's feature -> factor -> the teacher's feature) and the translator (student's -> factor).

    Args:
        student: Shape of the student's feature, B included.
        teacher: Shape of the teacher's.
        rate: Channels of the factor, as a share of the teacher's.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], rate: float) -> None:
        super().__init__()
        own, its, pixels = channels(student), channels(teacher), len(teacher) == PIXELS
        width = max(1, round(rate * its))
        self.paraphrase = Layers([its, its, width, width], pixels)
        self.restore = Layers([width, width, its, its], pixels, bare=True)
        self.translate = Layers([own, own, width, width], pixels)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The student's factor, the teacher's factor, and the teacher's feature restored from it."""
        factor = self.paraphrase(teacher)
        return self.translate(resized(student, raster(teacher.shape))), factor, self.restore(factor)


class FactorTransfer(FeatureLoss):
    """L1 distance of the normalized factors, and what the paraphraser loses.

    Formula: ``|F_s / |F_s|_2 - F_t / |F_t|_2|_1`` over all numbers of a row's factor, mean over the rows that count; plus
    ``mean (restored - t)^2`` over channels and pixels, then over the rows or positions that count. The second part trains
    the paraphraser alone, the first the translator and the student alone: no gradient goes from one to the other.

    The paper trains the paraphraser before and then keeps it. Here it learns beside the student, so that a loss
    stays one thing; the student's target moves until the paraphraser has settled.

    Args:
        match: Pairs of modules, see ``features.py``.
        rate: Channels of the factor as a share of the teacher's; 0.5 as in the paper's main experiments.
        weight: Factor of this term among the soft losses. The paper's 500 multiplies the mean over a factor's numbers; here
            they are summed, so it is 500 / numbers: about 0.5 for 14 channels of 8 x 8.

    Raises:
        ConfigError: As in ``FeatureLoss``; or ``rate`` is not above 0.

    Reference: Kim, Park, Kwak 2018, "Paraphrasing Complex Network: Network Compression via Factor Transfer", section 3.
    """

    def __init__(self, match: Sequence[TapPair], rate: float = 0.5, weight: float = 1.0) -> None:
        super().__init__("factor", match, weight)
        if rate <= 0:
            raise ConfigError(f"loss.factor.rate={rate}: a number > 0 is expected")
        self.rate = rate
        self.factors = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.factors[tap] = Factors(student[tap].shape, teacher[tap].shape, self.rate)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, factor, restored = self.factors[tap](student, teacher)
        lost = mean_over_rows(channels_last((at_least_float32(restored) - teacher).square()), mask)
        return distance(own, factor.detach(), mask) + lost


def distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean over the rows of the L1 distance of two factors, each of length 1; a factor's places that do not count are 0."""
    if student.dim() == 2:
        counted, rows = counted_of(student, mask), [at_least_float32(each) for each in (student, teacher)]
    else:
        rasters = [by_places(each, mask) for each in (student, teacher)]
        counted, rows = rasters[1].rows, [each.places.flatten(1) for each in rasters]
    own, its = map(scale_to_unit_length, rows)
    return masked_mean((own - its).abs().sum(dim=1), counted)
