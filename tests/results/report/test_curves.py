"""From CSV files to the series of both charts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kd_lightning.results.report.run.curves import (
    assign_model_styles,
    chart_loss_terms,
    draw_learning_curves,
    thin_points,
)
from kd_lightning.results.report.run.run_files import read_run
from kd_lightning.results.roles import list_models
from tests.results.report.conftest import METRICS

Results = dict[str, Any]
Write = Callable[..., Path]


def test_distillation_counts_on_from_the_pretraining(results: Results, write_run: Write) -> None:
    chart = draw_learning_curves(read_run(write_run(results)))
    assert chart is not None
    assert {line.label: line.points for line in chart.series} == {
        "teacher": ((50, 90.0), (200, 30.0)),
        "student alone": ((50, 120.0), (100, 80.0), (200, 50.0)),
        "pre-trained": ((50, 100.0), (100, 60.0)),
        "distilled": ((150, 45.0), (200, 40.0)),
    }
    assert [line.style for line in chart.series] == [0, 1, 2, 3]
    assert [line.chosen for line in chart.series] == [(200, 30.0), (200, 50.0), (100, 60.0), (200, 40.0)]
    assert chart.boundary == 100


def test_without_pretraining_distillation_begins_at_zero(results: Results, write_run: Write) -> None:
    results["models"]["pretrained"] = None
    chart = draw_learning_curves(read_run(write_run(results)))
    assert chart is not None
    assert [line.label for line in chart.series] == ["teacher", "student alone", "distilled"]
    assert chart.series[-1].points == ((50, 45.0), (100, 40.0))
    assert chart.series[-1].style == 3  # the color stays the model's own
    assert chart.boundary is None


def test_a_best_step_that_is_unknown_or_not_logged_has_no_ring(results: Results, write_run: Write) -> None:
    results["models"]["teacher"]["best_step"] = 999
    del results["models"]["baseline"]["best_step"]
    chart = draw_learning_curves(read_run(write_run(results)))
    assert chart is not None
    assert [line.chosen is None for line in chart.series] == [True, True, False, False]


def test_a_resumed_step_counts_once_and_non_finite_values_do_not(results: Results, write_run: Write) -> None:
    lines = (
        "20,val,perplexity,9\n10,val,perplexity,7\n20,val,perplexity,8\n30,val,perplexity,nan\n40,val,perplexity,inf\n"
    )
    chart = draw_learning_curves(read_run(write_run(results, {"baseline": lines})))
    assert chart is not None
    assert [line.points for line in chart.series] == [((10, 7.0), (20, 8.0))]


def test_accuracy_is_drawn_in_percent_on_a_linear_axis(results: Results, write_run: Write) -> None:
    results |= {"metric": "accuracy", "mode": "max"}
    chart = draw_learning_curves(
        read_run(write_run(results, {"teacher": "1,val,accuracy,0.125\n2,val,accuracy,0.75\n"}))
    )
    assert chart is not None
    assert chart.series[0].points == ((1, 12.5), (2, 75.0))
    assert chart.y_label == "validation accuracy, %"
    assert not chart.axes(5)[1].log


def test_loss_terms_leave_out_the_learning_rate(results: Results, write_run: Write) -> None:
    chart = chart_loss_terms(read_run(write_run(results)))
    assert chart is not None
    assert [(line.label, line.points) for line in chart.series] == [
        ("loss", ((50, 4.5),)),
        ("kd", ((50, 4.0),)),
        ("loss", ((150, 3.0),)),
        ("kd", ((150, 2.0),)),
        ("hard", ((150, 5.0),)),
    ]
    assert list(chart.legend()) == ["loss", "kd", "hard"]


def test_nothing_logged_is_no_chart(results: Results, write_run: Write) -> None:
    run = read_run(write_run(results, {"teacher": ""}))
    assert draw_learning_curves(run) is None
    assert chart_loss_terms(run) is None


def test_thinning_averages_neighbors() -> None:
    points = tuple((step, float(step)) for step in range(1, 11))
    assert thin_points(points, 5) == ((2, 1.5), (4, 3.5), (6, 5.5), (8, 7.5), (10, 9.5))
    assert thin_points(points, 10) == points


def test_the_description_tells_the_chart_in_words(results: Results, write_run: Write) -> None:
    chart = draw_learning_curves(read_run(write_run(results)))
    assert chart is not None
    assert "student alone: 3 values, from 120.0 at step 50 to 50.00 at step 200." in chart.description()
    assert "Chosen on validation: step 200, 40.00." in chart.description()


def test_each_model_has_a_line_in_the_recorded_order(results_of_six: Results, write_run: Write) -> None:
    metrics = METRICS | {"help": "150,val,perplexity,34\n", "again": "25,val,perplexity,39\n50,val,perplexity,37\n"}
    chart = draw_learning_curves(read_run(write_run(results_of_six, metrics)))
    assert chart is not None
    shown = ["teacher", "assistant", "student alone", "pre-trained", "distilled", "<b>born</b> \\x1b[31magain"]
    assert [line.label for line in chart.series] == list(chart.legend()) == shown
    assert [line.style for line in chart.series] == [0, 2, 1, 4, 3, 5]  # the three of every run keep theirs
    assert chart.series[-1].points == ((225, 39.0), (250, 37.0))  # after the 200 steps that it went on from
    assert chart.series[-1].chosen == (250, 37.0)
    assert chart.boundary == 100


def test_more_models_than_styles_repeat_them(results: Results) -> None:
    results["models"] |= {f"m{number}": {"val": 1.0} for number in range(9)}
    styles = [style for _, style in assign_model_styles([role for role, _ in list_models(results)])]
    assert styles == [0, 1, 2, 3, 4, 5, 6, 7, 2, 4, 5, 6, 7]


def test_loss_terms_follow_the_distilled_student_through_all_its_stages(
    results_of_six: Results, write_run: Write
) -> None:
    models = results_of_six["models"]
    models["pretrained"] |= {"start": "help", "steps_before": 150}
    models["distilled"]["steps_before"] = 250
    metrics = METRICS | {"help": "10,train,hint,7\n", "again": "10,train,other,7\n"}
    chart = chart_loss_terms(read_run(write_run(results_of_six, metrics)))
    assert chart is not None
    assert [(line.label, line.points[0][0]) for line in chart.series] == [
        *(("hint", 10), ("loss", 200), ("kd", 200)),
        *(("loss", 300), ("kd", 300), ("hard", 300)),
    ]
    assert chart.boundary == 250
