"""What records the predictions on a split, by what the outputs are. No task knows it: it is in no training's key."""

from __future__ import annotations

from kd_lightning.tasks.label_predictions import LabelPredictions
from kd_lightning.tasks.predicted_quantities import PredictedQuantities
from kd_lightning.tasks.predicted_vectors import PredictedVectors
from kd_lightning.tasks.predictions import PredictionRecord, Predictions
from kd_lightning.types import OutputKind

PREDICTION_RECORDS: dict[OutputKind, type[PredictionRecord]] = {
    OutputKind.CLASSES: Predictions,
    OutputKind.LABELS: LabelPredictions,
    OutputKind.QUANTITIES: PredictedQuantities,
    OutputKind.VECTORS: PredictedVectors,
}
