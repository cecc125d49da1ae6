"""What the tests that train each loss measure, over many starts: their bounds lie outside of these ranges.

    OMP_NUM_THREADS=1 python -m scripts.measure_training_margins                    # 20 starts, about 20 minutes on one core
    OMP_NUM_THREADS=2 python -m scripts.measure_training_margins --starts 3 hint kd # of these losses

``fall`` is the part of its value by which a loss falls, ``rise`` what the agreement with the teacher gains, ``ends`` where
that comes to. On another processor: ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41, or avx2 and AVX2.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache, partial

from tests.losses import test_feature_training as of_features
from tests.losses import test_training as of_logits

Trained = tuple[list[float], list[float]]


def trainings() -> Iterator[tuple[str, Callable[[int], Trained]]]:
    """Name -> a training from a start: those of the tests, and their controls."""
    lesson = cache(lambda kind: of_features.LESSONS[kind]())

    def on_features(name: str, start: int) -> Trained:
        loss, kind = of_features.loss_and_lesson(name)
        return of_features.train(loss, lesson(kind), start=start)

    def of_other_rows(name: str, start: int) -> Trained:
        return of_features.train(of_features.loss_and_lesson(name)[0], lesson("images"), shift=1, start=start)

    def of_nothing(kind: str, start: int) -> Trained:
        return of_features.train(of_features.Nothing(), lesson(kind), start=start)

    def on_logits(name: str, start: int) -> Trained:
        return of_logits.train(of_logits.build(name).float(), name in of_logits.WITH_THE_HARD_LOSS, start)

    for name in of_logits.ON_LOGITS:
        yield name, partial(on_logits, name)
    yield "nothing", lambda start: of_logits.train(of_logits.Nothing(), False, start)
    for name in of_features.ON_FEATURES:
        yield name, partial(on_features, name)
    for name in of_features.OTHER_ROWS:
        yield f"{name}, other rows", partial(of_other_rows, name)
    for kind in of_features.LESSONS:
        yield f"nothing, {kind}", partial(of_nothing, kind)


def measured(trained: Trained) -> tuple[float, float, float]:
    """Fall, rise, end."""
    values, agreements = trained
    return 1 - values[1] / values[0], agreements[1] - agreements[0], agreements[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of losses; all without")
    parser.add_argument("--starts", type=int, default=20)
    options = parser.parse_args()
    print(f"{'least, most of':28} {'fall':>17} {'rise':>17} {'ends':>17}")
    for name, train in trainings():
        if options.names and name.partition(",")[0] not in options.names:
            continue
        columns = zip(*(measured(train(start)) for start in range(options.starts)), strict=True)
        print(f"{name:28}", *(f"{min(column):8.4f} {max(column):8.4f}" for column in columns), flush=True)


if __name__ == "__main__":
    main()
