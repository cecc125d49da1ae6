"""What the verdict rests on, as plain sentences. The page and the Markdown file print the same ones."""

from __future__ import annotations

import shlex
from typing import Any

from kd_lightning.results.groups import describe_class_groups, has_groups
from kd_lightning.results.numbers import (
    as_finite,
    format_percent,
    format_significant,
    format_whole,
    is_share,
    shorten_hash,
)
from kd_lightning.results.report.gap import describe_weak_teacher, measure_share_closed
from kd_lightning.results.report.run.run_files import RunFiles
from kd_lightning.results.roles import (
    BASELINE_MODEL,
    DISTILLED_MODEL,
    PRETRAINED,
    TEACHER_MODEL,
    count_steps_before,
    list_models,
    name_baseline,
    read_model_record,
)

Fact = tuple[str, str]  # what it is about, the sentences


def list_run_facts(run: RunFiles) -> list[Fact]:
    """Everything a reader needs in order to doubt the verdict, in the order of importance."""
    results = run.results
    found = [
        ("Metric", describe_metric(results)),
        ("Gain", describe_run_gain(results)),
        ("Interval", describe_interval(results)),
        ("Seeds", describe_seed(results)),
        ("Budget", describe_training_budget(results)),
        ("Checkpoint", describe_kept_steps(results)),
        ("Test", "Measured once for each model, after its checkpoint had been chosen."),
        ("Loss", describe_loss(results)),
        ("Teacher", describe_frozen_teacher(results)),
        ("Data", describe_data(results)),
        *([("Groups", describe_class_groups(results))] if has_groups(results) else []),
        ("Store keys", describe_store_keys(results)),
    ]
    return [*found, *([("Gaps", " ".join(run.gaps))] if run.gaps else [])]


def make_run_title(results: dict[str, Any]) -> str:
    """The page's heading."""
    return f"Distillation report: {results.get('task') or 'a run'}".replace("_", " ")


def make_run_command(run: RunFiles) -> str:
    """The command that repeats the run; where it was not recorded, built from the overrides."""
    if run.results.get("command"):
        return str(run.results["command"])
    if run.overrides is None:
        return "# not recorded: neither a command in results.json nor overrides.txt"
    return shlex.join(["kd", "run", *run.overrides])


def describe_metric(results: dict[str, Any]) -> str:
    """Which number decides, and what is made of it."""
    direction = "lower" if results["mode"] == "min" else "higher"
    return (
        f"Test {results['metric']}, {direction} is better. The column 'gap closed' is how far a model has gone from the "
        f"{name_baseline(results).removeprefix('the ')} (0%) to the teacher (100%)."
    )


def describe_run_gain(results: dict[str, Any]) -> str:
    """Distilled against alone, and how much of the distance to the teacher that closes."""
    number = as_finite(results.get("gain_over_baseline"))
    if number is None:
        return "Not known: a student's test result is missing or not finite."
    side = "better" if number >= 0 else "WORSE"
    size = f"{format_amount(abs(number), results)} {name_unit(results)} {side} than {name_baseline(results)}."
    weak, closed = (
        describe_weak_teacher(results),
        measure_share_closed(results, read_model_record(results, DISTILLED_MODEL).get("test")),
    )
    if closed is not None and closed > 0:
        return f"{size} Of the gap between {name_baseline(results)} and the teacher, {format_percent(closed, 0)} is closed."
    return f"{size} {weak}" if weak else size


def is_in_points(results: dict[str, Any]) -> bool:
    """Whether differences of the metric are told in percentage points."""
    return is_share(read_model_record(results, BASELINE_MODEL).get("test"), results["metric"], results["mode"])


def format_amount(value: float, results: dict[str, Any]) -> str:
    """A difference of two metric values, in ``name_unit``."""
    return f"{100 * value:.2f}" if is_in_points(results) else format_significant(value, 3)


def name_unit(results: dict[str, Any]) -> str:
    """The unit of such differences."""
    return f"percentage points of {results['metric']}" if is_in_points(results) else str(results["metric"])


def describe_interval(results: dict[str, Any]) -> str:
    """The interval of the gain, how it was made, and whether it leaves chance out."""
    found = results.get("interval")
    if not found or any(as_finite(found.get(name)) is None for name in ("low", "high", "level")):
        why = f" ({results['no_interval']})" if results.get("no_interval") else ""
        return f"None{why}, so this run cannot tell the gain from chance."
    ends = f"{format_amount(found['low'], results)} to {format_amount(found['high'], results)} {name_unit(results)}"
    zero = found["low"] <= 0 <= found["high"]
    ending = "It includes 0: the gain may be chance." if zero else "It leaves out 0."
    return f"{100 * found['level']:.0f}% interval of the gain: {ends} ({found.get('method')}). {ending}"


def describe_seed(results: dict[str, Any]) -> str:
    """One run is one seed."""
    of_teacher = f", teacher {results['teacher_seed']}" if "teacher_seed" in results else ""
    return f"One ({results.get('seed', 'not recorded')}{of_teacher}). How much another seed would change is not known."


def describe_training_budget(results: dict[str, Any]) -> str:
    """Batch times steps of both students, and whether these are the same."""
    batch = results["batch_size"]
    alone, parts = _steps(results, BASELINE_MODEL), _steps(results, DISTILLED_MODEL)
    sentences = [
        f"{name}: {batch} rows x {_sum(steps)} steps = {format_whole(batch * sum(steps))} rows."
        for name, steps in (("Student alone", alone), ("Distilled student", parts))
        if steps
    ]
    if not (alone and parts and read_model_record(results, DISTILLED_MODEL)):
        return " ".join(sentences) or "No student was trained."
    same = "The same for both students." if sum(alone) == sum(parts) else "NOT the same for both students."
    return " ".join([same, *sentences, "The teacher's training and its forward passes come on top."])


def _steps(results: dict[str, Any], name: str) -> list[int]:
    """Steps of the stages that the model went on from, and of its own; without those that are 0."""
    return [
        steps
        for steps in (count_steps_before(results, name), int(read_model_record(results, name).get("steps") or 0))
        if steps
    ]


def _sum(steps: list[int]) -> str:
    terms = " + ".join(map(format_whole, steps))
    return f"({terms})" if len(steps) > 1 else terms


def describe_kept_steps(results: dict[str, Any]) -> str:
    """At which step each model was kept."""
    kept = [
        f"{role.label} {format_whole(model['best_step'])} of {format_whole(model.get('steps'))}"
        for role, model in list_models(results)
        if model.get("best_step") is not None and model.get("steps")  # a teacher from outside has none
    ]
    steps = f" Step of the stage: {', '.join(kept)}." if kept else ""
    return f"The best validation {results['metric']} of each stage, never the test set.{steps}"


def describe_loss(results: dict[str, Any]) -> str:
    """How the two kinds of loss are mixed."""
    temperature, alpha = (as_finite(results.get(key)) for key in ("temperature", "alpha"))
    if temperature is None or alpha is None:
        return "Mixing not recorded; see the configuration."
    names = results.get("loss") or results.get("objective")  # older results say objective, and balancing
    terms = f" ({', '.join(names)})" if names else ""
    start = " Pre-training: the soft loss alone." if read_model_record(results, PRETRAINED) else ""
    annealed = results.get("annealing")
    changing = (
        f" While distilling, {' and '.join(annealed)} followed a schedule; see the configuration." if annealed else ""
    )
    labels = f" ({results['hard_loss']})" if results.get("hard_loss") else ""
    mix = f"{1 - alpha:.4g} x hard loss{labels} + {alpha:.4g} x soft loss{terms}, temperature {temperature:.4g}."
    weighting = results.get("weighting") or results.get("balancing") or "Fixed"
    factors = "" if weighting == "Fixed" else f" {weighting} put factors before the terms, see weight_* in the metrics."
    return f"{mix}{factors}{changing}{start}"


def describe_frozen_teacher(results: dict[str, Any]) -> str:
    """Whether the frozen teacher stayed as it was, and whether it was trained for this run."""
    unchanged = results.get("teacher_unchanged")
    proof = "hashes of its parameters and buffers before and after distillation"
    if unchanged is None:
        frozen = f"Not recorded whether it stayed unchanged ({proof})."
    else:
        frozen = f"Unchanged: {proof} are equal." if unchanged else f"CHANGED: {proof} differ. Do not trust this run."
        frozen += f" Hash {shorten_hash(results['teacher_hash'])}." if unchanged and results.get("teacher_hash") else ""
    trained = f" Trained with the hard loss {results['teacher_hard_loss']}." if results.get("teacher_hard_loss") else ""
    reused = (
        " Taken from the store, trained by an earlier run."
        if read_model_record(results, TEACHER_MODEL).get("reused")
        else ""
    )
    return frozen + trained + reused


def describe_data(results: dict[str, Any]) -> str:
    """Which data, and who saw rows without a label."""
    fingerprint = f"Fingerprint {shorten_hash(results.get('data_fingerprint') or '') or 'not recorded'}."
    labeled = results.get("num_labeled", results.get("labelled"))  # older results say labelled
    if labeled is None:
        return fingerprint
    return (
        f"{fingerprint} {format_whole(labeled)} training rows keep a label; the student alone sees only these, "
        "the distilled student all rows, the others through the teacher alone."
    )


def describe_store_keys(results: dict[str, Any]) -> str:
    """Under which key each stage lies in the store."""
    found = [
        f"{role.label} {shorten_hash(model['store_key'])}"
        for role, model in list_models(results)
        if model.get("store_key")
    ]
    return f"{', '.join(found)}." if found else "Not recorded."
