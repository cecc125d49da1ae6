"""What the verdict rests on, as plain sentences. The page and the Markdown file print the same ones."""

from __future__ import annotations

import shlex
from typing import Any

from kd_lightning.results.groups import groups, has_groups
from kd_lightning.results.numbers import count, finite, is_share, percent, shorten_hash, significant
from kd_lightning.results.report.gap import describe_weak_teacher, measure_share_closed
from kd_lightning.results.report.run.run_files import RunFiles
from kd_lightning.results.roles import ALONE, DISTILLED, PRETRAINED, TEACHER, present, record, steps_before

Fact = tuple[str, str]  # what it is about, the sentences


def facts(run: RunFiles) -> list[Fact]:
    """Everything a reader needs in order to doubt the verdict, in the order of importance."""
    results = run.results
    found = [
        ("Metric", metric(results)),
        ("Gain", gain(results)),
        ("Interval", interval(results)),
        ("Seeds", seeds(results)),
        ("Budget", budget(results)),
        ("Checkpoint", choice(results)),
        ("Test", "Measured once for each model, after its checkpoint had been chosen."),
        ("Loss", loss(results)),
        ("Teacher", teacher(results)),
        ("Data", data(results)),
        *([("Groups", groups(results))] if has_groups(results) else []),
        ("Store keys", keys(results)),
    ]
    return [*found, *([("Gaps", " ".join(run.gaps))] if run.gaps else [])]


def title(results: dict[str, Any]) -> str:
    """The page's heading."""
    return f"Distillation report: {results.get('task') or 'a run'}".replace("_", " ")


def command(run: RunFiles) -> str:
    """The command that repeats the run; where it was not recorded, built from the overrides."""
    if run.results.get("command"):
        return str(run.results["command"])
    if run.overrides is None:
        return "# not recorded: neither a command in results.json nor overrides.txt"
    return shlex.join(["kd", "run", *run.overrides])


def metric(results: dict[str, Any]) -> str:
    """Which number decides, and what is made of it."""
    direction = "lower" if results["mode"] == "min" else "higher"
    return (
        f"Test {results['metric']}, {direction} is better. The column 'gap closed' is how far a model has gone from the "
        "student alone (0%) to the teacher (100%)."
    )


def gain(results: dict[str, Any]) -> str:
    """Distilled against alone, and how much of the distance to the teacher that closes."""
    number = finite(results.get("gain_over_baseline"))
    if number is None:
        return "Not known: a student's test result is missing or not finite."
    side = "better" if number >= 0 else "WORSE"
    size = f"{amount(abs(number), results)} {unit(results)} {side} than the student alone."
    weak, closed = describe_weak_teacher(results), measure_share_closed(results, record(results, DISTILLED).get("test"))
    if closed is not None and closed > 0:
        return f"{size} Of the gap between the student alone and the teacher, {percent(closed, 0)} is closed."
    return f"{size} {weak}" if weak else size


def in_points(results: dict[str, Any]) -> bool:
    """Whether differences of the metric are told in percentage points."""
    return is_share(record(results, ALONE).get("test"), results["metric"], results["mode"])


def amount(value: float, results: dict[str, Any]) -> str:
    """A difference of two metric values, in ``unit``."""
    return f"{100 * value:.2f}" if in_points(results) else significant(value, 3)


def unit(results: dict[str, Any]) -> str:
    """The unit of such differences."""
    return f"percentage points of {results['metric']}" if in_points(results) else str(results["metric"])


def interval(results: dict[str, Any]) -> str:
    """The interval of the gain, how it was made, and whether it leaves chance out."""
    found = results.get("interval")
    if not found or any(finite(found.get(name)) is None for name in ("low", "high", "level")):
        return "None, so this run cannot tell the gain from chance."
    ends = f"{amount(found['low'], results)} to {amount(found['high'], results)} {unit(results)}"
    zero = found["low"] <= 0 <= found["high"]
    ending = "It includes 0: the gain may be chance." if zero else "It leaves out 0."
    return f"{100 * found['level']:.0f}% interval of the gain: {ends} ({found.get('method')}). {ending}"


def seeds(results: dict[str, Any]) -> str:
    """One run is one seed."""
    of_teacher = f", teacher {results['teacher_seed']}" if "teacher_seed" in results else ""
    return f"One ({results.get('seed', 'not recorded')}{of_teacher}). How much another seed would change is not known."


def budget(results: dict[str, Any]) -> str:
    """Batch times steps of both students, and whether these are the same."""
    batch = results["batch_size"]
    alone, parts = _steps(results, ALONE), _steps(results, DISTILLED)
    sentences = [
        f"{name}: {batch} rows x {_sum(steps)} steps = {count(batch * sum(steps))} rows."
        for name, steps in (("Student alone", alone), ("Distilled student", parts))
        if steps
    ]
    if not (alone and parts and record(results, DISTILLED)):
        return " ".join(sentences) or "No student was trained."
    same = "The same for both students." if sum(alone) == sum(parts) else "NOT the same for both students."
    return " ".join([same, *sentences, "The teacher's training and its forward passes come on top."])


def _steps(results: dict[str, Any], name: str) -> list[int]:
    """Steps of the stages that the model went on from, and of its own; without those that are 0."""
    return [steps for steps in (steps_before(results, name), int(record(results, name).get("steps") or 0)) if steps]


def _sum(steps: list[int]) -> str:
    terms = " + ".join(map(count, steps))
    return f"({terms})" if len(steps) > 1 else terms


def choice(results: dict[str, Any]) -> str:
    """At which step each model was kept."""
    kept = [
        f"{role.label} {count(model['best_step'])} of {count(model.get('steps'))}"
        for role, model in present(results)
        if model.get("best_step") is not None and model.get("steps")  # a teacher from outside has none
    ]
    steps = f" Step of the stage: {', '.join(kept)}." if kept else ""
    return f"The best validation {results['metric']} of each stage, never the test set.{steps}"


def loss(results: dict[str, Any]) -> str:
    """How the two kinds of loss are mixed."""
    temperature, alpha = (finite(results.get(key)) for key in ("temperature", "alpha"))
    if temperature is None or alpha is None:
        return "Mixing not recorded; see the configuration."
    names = results.get("loss") or results.get("objective")  # older results say objective, and balancing
    terms = f" ({', '.join(names)})" if names else ""
    start = " Pre-training: the soft loss alone." if record(results, PRETRAINED) else ""
    annealed = results.get("annealing")
    changing = (
        f" While distilling, {' and '.join(annealed)} followed a schedule; see the configuration." if annealed else ""
    )
    labels = f" ({results['hard_loss']})" if results.get("hard_loss") else ""
    mix = f"{1 - alpha:.4g} x hard loss{labels} + {alpha:.4g} x soft loss{terms}, temperature {temperature:.4g}."
    weighting = results.get("weighting") or results.get("balancing") or "Fixed"
    factors = "" if weighting == "Fixed" else f" {weighting} put factors before the terms, see weight_* in the metrics."
    return f"{mix}{factors}{changing}{start}"


def teacher(results: dict[str, Any]) -> str:
    """Whether the frozen teacher stayed as it was, and whether it was trained for this run."""
    unchanged = results.get("teacher_unchanged")
    proof = "hashes of its parameters and buffers before and after distillation"
    if unchanged is None:
        frozen = f"Not recorded whether it stayed unchanged ({proof})."
    else:
        frozen = f"Unchanged: {proof} are equal." if unchanged else f"CHANGED: {proof} differ. Do not trust this run."
        frozen += f" Hash {shorten_hash(results['teacher_hash'])}." if unchanged and results.get("teacher_hash") else ""
    trained = f" Trained with the hard loss {results['teacher_hard_loss']}." if results.get("teacher_hard_loss") else ""
    reused = " Taken from the store, trained by an earlier run." if record(results, TEACHER).get("reused") else ""
    return frozen + trained + reused


def data(results: dict[str, Any]) -> str:
    """Which data, and who saw rows without a label."""
    fingerprint = f"Fingerprint {shorten_hash(results.get('data_fingerprint') or '') or 'not recorded'}."
    labeled = results.get("num_labeled", results.get("labelled"))  # older results say labelled
    if labeled is None:
        return fingerprint
    return (
        f"{fingerprint} {count(labeled)} training rows keep a label; the student alone sees only these, "
        "the distilled student all rows, the others through the teacher alone."
    )


def keys(results: dict[str, Any]) -> str:
    """Under which key each stage lies in the store."""
    found = [
        f"{role.label} {shorten_hash(model['store_key'])}" for role, model in present(results) if model.get("store_key")
    ]
    return f"{', '.join(found)}." if found else "Not recorded."
