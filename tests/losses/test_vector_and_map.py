"""Relations between samples: a student's vectors may be compared with a teacher's maps."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss
from kd_lightning.losses.features.hint import Hint
from kd_lightning.losses.relations.correlation_congruence import CorrelationCongruence
from kd_lightning.losses.relations.pkt import PKT
from kd_lightning.losses.relations.rkd import RKD
from kd_lightning.losses.relations.similarity import Similarity
from tests.losses.relations import PAIR, features, value


@pytest.mark.parametrize("loss", [RKD(PAIR), Similarity(PAIR), PKT(PAIR), CorrelationCongruence(PAIR)])
def test_a_map_counts_as_the_vector_of_its_numbers(loss: FeatureLoss) -> None:
    student, teacher = features(0, 3), features(1, 12)
    maps = teacher.reshape(5, 3, 2, 2)
    loss.build({"0": student[:2]}, {"0": maps[:2]})
    assert torch.equal(value(loss, student, maps), value(loss, student, teacher))


def test_one_that_compares_features_themselves_refuses() -> None:
    with pytest.raises(ConfigError, match="cannot be brought to"):
        Hint(PAIR).build({"0": torch.zeros(2, 3)}, {"0": torch.zeros(2, 3, 2, 2)})
