"""Every loss alone beside the hard loss, against the student alone with the same budget; and what its step costs.

    python -m scripts.bench.losses --data digits             # trains what is missing; killed, the same command goes on
    python -m scripts.bench.losses --data digits --times     # seconds of a step, on a quiet machine
    python -m scripts.bench.losses --data digits --report    # the table again, from the file beside it
    python -m scripts.bench.losses --data digits alpha=0.9 --file other.json

One teacher for all. The student has labels for one row in ten (mnist5k_all_labels: for every row), the soft loss uses all rows;
both students take the same number of steps, there is no pre-training, and alpha = 0.5, so that the loss is hard + weight * term
as the papers and the YAML files have it. Nothing is tuned for a loss: each runs as its file in conf/loss is. A seed
is: which rows are labeled, the start, the order.

Training is the product's own sweep, ``kd run -m hydra/launcher=cohort`` over loss and seed; what it costs is one pass of
the teacher for all jobs of a seed that tap alike. Differences to the student alone are paired by seed, intervals and
p values hold for all losses of the table at once (``kd_lightning/results/statistics/simultaneous_test.py``).

Times are those of loss, gradient, clipping and optimizer with the teacher inside, without the trainer around them, which would
make ratios look smaller: kd and the loss in turn, A B A B, in one process, in seconds of the processor, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kd_lightning.errors import NonFiniteLossError
from kd_lightning.results.numbers import format_significant
from kd_lightning.results.statistics.over_seeds import Configuration, list_configurations
from kd_lightning.results.statistics.seed_sentences import format_fine_difference, format_mean_sd
from kd_lightning.results.sweep_folder import DONE, Job, parse_params, read_sweep
from kd_lightning.safety.versions import list_versions
from scripts.bench.interleaved import ROOT, Silent, head, row
from scripts.bench.settings import compose_settings

MNIST = ("experiment=mnist5k", "teacher.model.channels=[16,32]", "teacher.steps=600", "student.steps=400")
WORKS = {
    "digits": ("experiment=digits", "teacher.steps=1000", "student.steps=500"),
    # A narrower teacher than the experiment's, and fewer steps: the whole of it would take hours. Labels for one row in ten,
    # as in digits: of the experiment's 100, a step would see less than one.
    "mnist5k": (*MNIST, "student.num_labeled=350"),
    "mnist5k_all_labels": (*MNIST, "student.num_labeled=null"),
}
COMMON = ("student.pretrain_steps=0", "alpha=0.5", "validate_every=100")
OTHER_TASKS = {
    "balanced_kd": "is kd where classes are equally frequent; on a long tail: docs/how-to/long-tailed-data.md",
    "minilm": "needs the attention of transformers",
    "minilm2": "needs the attention of transformers",
    "tinybert": "needs the attention of transformers",
    "ctc_frame_kd": "for CTC: class 0 would count as the blank",
    "binary_kd": "for labels that do not exclude each other",
    "regression_l1": "for predicted quantities",
    "regression_mse": "for predicted quantities; of logits it is logit_mse with another weight",
}
"""Losses that these data sets say nothing about."""
OWN_STUDENT = {"simkd": ["student=convnet_tiny_reused", "student.model.width=${teacher.model.channels[1]}"]}
"""Losses with a student of another shape; it is compared with itself alone."""
BASE = "kd"
ROUNDS, STEPS, WARM = 7, 20, 3
"""Of the timing: rounds, steps of each side in a round, steps before the first."""
KEPT = ("task", "metric", "mode", "seed", "teacher_seed", "data_fingerprint")
KEPT_OF_MODELS = ("val", "test", "steps", "parameters")


def losses() -> list[str]:
    """Those that apply, by their files."""
    found = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
    assert {BASE, *OTHER_TASKS, *OWN_STUDENT} <= set(found)
    return [name for name in found if name not in OTHER_TASKS]


# -- accuracy ---------------------------------------------------------------------------------------------------------


def accuracies(found: dict[str, Any], words: Sequence[str], names: Sequence[str], seeds: str, outputs: Path) -> None:
    """Train what is missing; what was found goes to ``jobs``, in the place of what was there of the same losses."""
    alike = [name for name in names if name not in OWN_STUDENT]
    alone = [(OWN_STUDENT[name], [name]) for name in names if name in OWN_STUDENT]
    for student, own in [*([([], alike)] if alike else []), *alone]:
        command, jobs = sweep([*words, *student], own, seeds, outputs)
        others = [each for each in found.get("jobs", []) if loss_of(each["record"]["overrides"]) not in own]
        every = [*others, *(kept(job) for job in jobs)]
        found["jobs"] = [{**each, "number": number} for number, each in enumerate(every)]
        found["commands"] = [*(each for each in found.get("commands", []) if each != command), command]
    found["versions"] = ", ".join(f"{name} {list_versions()[name]}" for name in ("torch", "pytorch-lightning"))


def sweep(words: Sequence[str], names: Sequence[str], seeds: str, outputs: Path) -> tuple[str, list[Job]]:
    """Train what is missing; the command, and its jobs."""
    terms = ",".join(f"[{name}]" for name in names)
    grid = [f"loss={terms}", f"seed={seeds}"]
    known = set((outputs / "sweeps").glob("*/"))
    given = ["-m", "hydra/launcher=cohort", "hydra.launcher.stack=false", *words, *grid]
    done = subprocess.run(
        [sys.executable, "-m", "kd_lightning.cli.main", "run", *given, f"outputs={outputs}", "progress=false"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    new = set((outputs / "sweeps").glob("*/")) - known
    jobs = read_sweep(new.pop()).jobs if len(new) == 1 else []
    # Exit code 1: some jobs diverged, the table says which; or something else went wrong.
    broken = [job for job in jobs if job.state != DONE and not job.error.startswith(NonFiniteLossError.__name__)]
    if done.returncode not in (0, 1) or not jobs or broken:
        why = f": job {broken[0].number} {broken[0].state}: {broken[0].error}" if broken else ""
        raise SystemExit(f"kd run ended with {done.returncode} and {len(jobs)} jobs{why}; the same command goes on")
    return " ".join(["kd run", *given]), jobs


def loss_of(overrides: Sequence[str]) -> str:
    """``loss=[kd]`` -> ``kd``."""
    return parse_params(overrides)["loss"].strip("[]")


def kept(job: Job) -> dict[str, Any]:
    """Of a job, what the table is made of."""
    telling = [word for word in job.overrides if word.startswith(("loss=", "seed=", "student="))]
    record = {"overrides": telling, "state": job.state, "error": job.error}
    if job.results is None:
        return {"number": job.number, "record": record, "results": None}
    models = {
        name: {key: model[key] for key in KEPT_OF_MODELS if key in model}
        for name, model in job.results["models"].items()
        if model
    }
    return {
        "number": job.number,
        "record": record,
        "results": {**{key: job.results[key] for key in KEPT}, "models": models},
    }


def json_text(found: dict[str, Any]) -> str:
    """With a line for each job."""
    jobs = ",\n".join(json.dumps(job) for job in found.get("jobs", []))
    rest = json.dumps({key: value for key, value in found.items() if key != "jobs"})
    return f'{rest[:-1]}{", " if len(rest) > 2 else ""}"jobs": [\n{jobs}\n]}}\n'


# -- time -------------------------------------------------------------------------------------------------------------


def stepper(words: Sequence[str], name: str) -> Callable[[], None]:
    """One step of the student with a loss."""
    import torch

    from kd_lightning.config.instantiate import build_node
    from kd_lightning.experiment.experiment import Experiment
    from kd_lightning.experiment.settings import softness
    from kd_lightning.training.loss_setup import prepare_module

    overrides = [
        *words,
        *OWN_STUDENT.get(name, []),
        f"loss=[{name}]",
        "outputs=outputs/bench_losses",
        "folder=x",
    ]
    settings = compose_settings(*overrides)
    builder = Experiment(settings, build_node, [], Silent()).builder
    teacher = builder.teacher_outputs("teacher", builder.network("teacher"), builder.sources()[0])
    module = builder.distilling(teacher, builder.network("student"), 1000, 0, softness(settings)).train()
    module = prepare_module(module, lambda: builder.network("teacher"))
    optimizer = module.configure_optimizers()["optimizer"]
    rows = builder.dataset.rows("student", 1, only_labeled=False)
    batch = rows.train_set.__getitems__(list(range(rows.batch_size)))

    def step() -> None:
        optimizer.zero_grad()
        module.losses(batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings["trainer"]["gradient_clip_val"])
        optimizer.step()

    return step


def times(words: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Ratios to ``kd`` in each round, and seconds of a step of ``kd``."""
    import torch

    torch.set_num_threads(1)
    base, seconds = stepper(words, BASE), []
    ratios: dict[str, list[float]] = {}
    for name in names:
        other = stepper(words, name)
        for _ in range(WARM):
            base(), other()
        pairs = [(taken(base), taken(other)) for _ in range(ROUNDS)]
        seconds += [one for one, _ in pairs]
        ratios[name] = [round(two / one, 4) for one, two in pairs]
        print(name, format_significant(statistics.median(ratios[name]), 3), flush=True)
    where = f"{platform.machine()}, one thread, torch {torch.__version__}"
    return {"seconds": statistics.median(seconds), "ratios": ratios, "where": where}


def taken(step: Callable[[], None]) -> float:
    """Seconds of the processor for a step, over ``STEPS`` of them."""
    started = time.process_time()
    for _ in range(STEPS):
        step()
    return (time.process_time() - started) / STEPS


# -- the table --------------------------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> Iterator[str]:
    """Lines of the report."""
    jobs = [Job(each["number"], Path(), each["record"], each["results"]) for each in found.get("jobs", [])]
    ratios = found.get("times", {}).get("ratios", {})
    alone = {loss_of(job.overrides): job.results["models"]["baseline"] for job in jobs if job.results}
    if not alone:
        yield from (f"{name}: {ratio(ratios, name)}" for name in ratios)
        return
    done = [job.results for job in jobs if job.results and loss_of(job.overrides) not in OWN_STUDENT]
    done = done or [job.results for job in jobs if job.results]
    one, teacher = done[0], done[0]["models"]["teacher"]
    show = partial(format_mean_sd, metric=one["metric"], mode=one["mode"])
    baselines = {result["seed"]: result["models"]["baseline"]["test"] for result in done}
    student = one["models"]["baseline"]
    seeds = "one seed" if len(baselines) == 1 else f"{len(baselines)} seeds"
    yield (
        f"Teacher {show([teacher['test']])}, {teacher['parameters']:,} parameters, {teacher['steps']} steps; student "
        f"{student['parameters']:,} parameters, {student['steps']} steps; {seeds}."
    )
    yield ""
    yield head("loss", "test accuracy", "gain, points", "95 % interval", "p, adjusted", "verdict", "step, times kd")
    yield row("student alone", show(list(baselines.values())), *[""] * 5)
    names = {job.number: loss_of(job.overrides) for job in jobs}
    for each in sorted(list_configurations(jobs), key=lambda each: -each.test_mean):
        name = names[each.jobs[0]]
        mark = f" ({alone[name]['parameters']:,} parameters)" if name in OWN_STUDENT else ""
        yield row(f"`{name}`{mark}", *cells(each), ratio(ratios, name))
    yield from (f"\n{' '.join(job.overrides)}: {job.state}: {job.error}" for job in jobs if job.results is None)
    yield "\nNot in the table: " + "; ".join(f"`{name}` {why}" for name, why in OTHER_TASKS.items()) + "."
    yield f"\n{found['versions']}. " + " ".join(f"`{command}`" for command in found["commands"])
    if "times" in found:
        yield f"\nA step of `{BASE}` takes {1000 * found['times']['seconds']:.1f} ms ({found['times']['where']})."


def cells(one: Configuration) -> list[str]:
    """Of one loss."""
    points = partial(format_fine_difference, example=one.test_mean, metric=one.metric, mode=one.mode)
    value = format_mean_sd([one.test_mean], one.metric, one.mode)
    spread = "" if one.test_sd is None else f" ± {points(one.test_sd, digits=2)}"
    interval = "" if one.interval is None else " to ".join(f"{100 * bound:+.1f}" for bound in one.interval)
    p = "" if one.p_adjusted is None else format_significant(one.p_adjusted, 2)
    return [value + spread, f"{100 * one.gain_mean:+.1f}", interval, p, one.verdict]


def ratio(ratios: dict[str, list[float]], name: str) -> str:
    """``median [least-most]``."""
    if name not in ratios:
        return ""
    values = sorted(ratios[name])
    return f"{statistics.median(values):.2f} [{values[0]:.2f}-{values[-1]:.2f}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=WORKS, required=True)
    parser.add_argument("--times", action="store_true", help="measure steps instead of accuracy")
    parser.add_argument("--report", action="store_true", help="print the table from the file")
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--losses", default="", help="names, with commas; default: all that apply")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/bench_losses"))
    parser.add_argument("--file", type=Path, help="default: docs/results/DATA.json")
    parser.add_argument("words", nargs="*", help="more overrides for kd run")
    given = parser.parse_args()
    if given.words and not given.file:
        parser.error("with overrides of your own, name a --file: the published one holds the usual settings")
    file = given.file or ROOT / "docs" / "results" / f"{given.data}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    names = given.losses.split(",") if given.losses else losses()
    words = [*WORKS[given.data], *COMMON, *given.words]
    if given.times:
        before, now = found.get("times", {}), times(words, names)
        found["times"] = {**now, "ratios": {**before.get("ratios", {}), **now["ratios"]}}
    elif not given.report:
        accuracies(found, words, names, given.seeds, given.outputs / given.data)
    if not given.report:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json_text(found), encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
