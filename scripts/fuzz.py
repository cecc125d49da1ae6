"""Seeded fuzz of everything that a stranger may have written: configurations, result files, checkpoints.

    python scripts/fuzz.py                                     # 2,000 + 2,000 + 500 cases
    python scripts/fuzz.py --configurations 50 --seed 7        # fewer of one kind; the others keep their numbers
    python scripts/fuzz.py --only results --case 1234          # one case again, with what it printed

A case fails on a traceback or a defect (exit code 1 where the user's file is at fault), on a payload that runs or reaches a
page, on a control character on the terminal, on a hang, and on a silent change of a result: a damaged file is refused, or
shows what stands in it, and takes nothing from the others; of sealed files (store entries, resume points) every change is
refused. Positive controls: the payload runs where it is called, and the untouched files pass. Exit code 0: no case failed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import save_file

from kd_lightning.cli.main import main
from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.hydra_errors import known_settings
from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
from kd_lightning.errors import KDError
from kd_lightning.models.weights import load_teacher
from kd_lightning.results.sweep_folder import UNREADABLE
from kd_lightning.safety.json_files import read_json
from kd_lightning.safety.verbs import run_verb
from kd_lightning.store import Entry, file_digest, publish_json
from kd_lightning.sweeps.job import checked, overrides_of_job
from kd_lightning.sweeps.launch import composed_and_run
from kd_lightning.training.callbacks.checkpoints import newest_resume_point
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, digest_path
from tests.report.sweep_sample import GONE, results, write_grid, write_json, write_sweep, write_troubled
from tests.support.cli import DIGITS

SECONDS = 30.0
"""After which a case counts as hanging."""
MARKER = "PAYLOAD_RAN"
"""The file that every payload makes; it does nothing else."""
HTML = "<img src=x onerror=PAYLOAD>"
SMALL = (*DIGITS, "model@teacher=mlp_tiny", "model@student=mlp_tiny")
Case = Callable[[random.Random, Path], tuple[str, list[str]]]
"""Random numbers and an empty folder in; what became of it, and what is wrong with that."""


class Hang(BaseException):
    """A case has taken too long."""


@dataclass
class Tally:
    """What became of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


# -- one case ----------------------------------------------------------------------------------------------------------


def fuzz(kind: str, case: Case, number: int, seed: int, loud: bool = False) -> Tally:
    """So many cases, each in a folder and with random numbers of its own."""
    tally = Tally()
    for index in [number] if loud else range(number):
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{kind}-") as name, working_in(Path(name)):
            try:
                with time_limit():
                    outcome, problems = case(random.Random(f"{seed}-{kind}-{index}"), Path(name))
            except Hang:
                outcome, problems = "hang", [f"more than {SECONDS:.0f} s"]
            except Exception as error:
                outcome, problems = "raised", [f"{type(error).__name__}: {error}"]
            if list(Path(name).rglob(MARKER)):
                problems.append("a payload has run")
        tally.outcomes[outcome] += 1
        tally.failures += [f"{kind} {index}: {problem}" for problem in problems]
    return tally


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Inside, relative paths begin there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise ``Hang`` after a while."""

    def late(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def answer(work: Callable[[], int], defects: bool = True) -> tuple[int, str, list[str]]:
    """Do what a command does; its exit code, all that it printed, and what is wrong with that."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = work()
    text = out.getvalue() + err.getvalue()
    problems = ["a traceback"] if "Traceback (most recent" in text else []
    if defects and "HYDRA_FULL_ERROR" in err.getvalue():
        problems.append(f"a defect: {err.getvalue().strip()[-300:]}")
    if any((ord(each) < 32 and each not in "\n\t") or each in "\x7f\x9b\u202e" for each in text):
        problems.append(f"a control character on the terminal: {text[-200:]!r}")
    if HTML in text and "\x1b" in text:
        problems.append("markup")
    return code, text, problems


# -- configurations ----------------------------------------------------------------------------------------------------

TOUCH = f"touch {MARKER}"
NODES = (
    f"{{_target_: os.system, command: '{TOUCH}'}}",
    f"{{_target_: subprocess.run, args: [touch, {MARKER}]}}",
    f"{{_target_: builtins.eval, _args_: [\"__import__('os').system('{TOUCH}')\"]}}",
    f"{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{MARKER}]}}}}",
    "{_target_: torch.load, f: x.pt, weights_only: false}",
    "{_target_: kd_lightning.nothing.Here}",
    "{_target_: 3}",
)
VALUES = (
    *("1e30", "-1e30", "-1", "0", "nan", "inf", "9" * 400, "''", "null", "true", "[]", "{}", "[1,2]", "1e-320", "0.5"),
    *(
        "'${oc.env:HOME}'",
        "'${vars.x}'",
        "'${seed}'",
        "'${seed'",
        "'${oc.decode:\"{\"}'",
        "'a\x1b]0;t\x07b'",
        "'\u202egpj'",
    ),
    *("../../x", "/dev/zero", "'[bold red]x[/]'", "{a: {b: {c: {}}}}", "x" * 2000, "'\\'", "[[[]]]", "'日本'", "1_0"),
)
DOCUMENTS = (
    f"x: !!python/object/apply:os.system ['{TOUCH}']\n",
    f"hydra:\n  callbacks:\n    x: {{_target_: os.system, command: '{TOUCH}'}}\n",
    f"hydra:\n  launcher: {{_target_: os.system, command: '{TOUCH}'}}\n",
    "a: &a [1, 1]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n",
    "[" * 300 + "]" * 300,
    "defaults: 5\n",
    "defaults: [nothing]\n",
    "defaults:\n  - /model/../../x\n",
    "- a\n- b\n",
    "just text\n",
    "\x00\x01\n",
    "a: 1\na: 2\n",
    "seed: ${seed}\n",
    "seed: ${oc.env:NOT_THERE}\n",
    "\xff\xfe".encode("latin-1").decode("latin-1"),
)


class Configurations:
    """Words of the command line, and files in ``./conf``, from random settings with random values."""

    def __init__(self) -> None:
        register_with_hydra()
        self.settings = [name for name in known_settings(list(SMALL), CONFIG_NAME) if not name.startswith("hydra")]
        self.files = [path for path in sorted(conf_dir().rglob("*.yaml")) if "hydra" not in path.parts]

    def case(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """Compose the settings and check them, as ``kd run`` does before it trains."""
        words = [*SMALL, f"outputs={folder}/outputs"]
        if rng.random() < 0.35:
            words += self.write_file(rng, folder)
        else:
            words += [self.word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        code, _, problems = answer(lambda: run_verb("run", lambda: composed_and_run(words, check_alone)))
        return f"exit code {code}", [f"{problem} {words[len(SMALL) + 1 :]!r}" for problem in problems]

    def word(self, rng: random.Random) -> str:
        """An override."""
        name = rng.choice(self.settings)
        if rng.random() < 0.15:
            name = rng.choice((f"{name}.new", "vars.x", "hydra.run.dir", "hydra.callbacks.x", name[:-1], "", "\x1b[2J"))
        value = rng.choice(NODES if rng.random() < 0.25 else VALUES)
        return f"{rng.choice(('', '', '', '+', '++', '~'))}{name}={value}"

    def write_file(self, rng: random.Random, folder: Path) -> list[str]:
        """A file in ``./conf`` that hides one of ours, or is new; the words that choose it."""
        path = rng.choice(self.files)
        name = path.relative_to(conf_dir())
        if rng.random() < 0.5:
            content = rng.choice(DOCUMENTS).encode("utf-8", "surrogatepass")
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            at = rng.randrange(len(lines) + 1)
            lines.insert(at, f"{' ' * rng.choice((0, 2))}{rng.choice(self.settings)}: {rng.choice((*NODES, *VALUES))}")
            content = damage(rng, "\n".join(lines).encode()) if rng.random() < 0.5 else "\n".join(lines).encode()
        target = folder / "conf" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        group = name.parent.as_posix()
        return [] if group == "." else [f"{'+' if group not in STANDARD else ''}{group}={name.stem}"]


STANDARD = {"task", "data", "loss", "optimizer", "scheduler", "hard_loss", "annealing", "weighting", "trainer"} | {
    *("teacher_outputs", "callbacks", "logger", "experiment", "debug", "sweep")
}


def check_alone(config: DictConfig) -> None:
    """What ``kd run`` does with the settings before anything is trained."""
    checked(config, Path(HydraConfig.get().runtime.output_dir), overrides_of_job())


# -- result files ------------------------------------------------------------------------------------------------------

WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), 1.5, "x", "", [], ["x"], {}),
    *({"x": 1}, "\x1b[31m", HTML, "[bold]x[/bold]", "=1+1", "\ud800", "\u202egpj", [[[]]], 2**63),
)


def damage(rng: random.Random, content: bytes) -> bytes:
    """The bytes with something wrong with them."""
    at = rng.randrange(len(content) + 1)
    kind = rng.randrange(6)
    if kind == 0 and content:
        at = min(at, len(content) - 1)
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if kind == 1:
        return content[:at]
    if kind == 2:
        return content[:at] + rng.randbytes(rng.choice((1, 4, 64))) + content[at:]
    if kind == 3:
        return content[:at] + content[at + rng.choice((1, 16, 256)) :]
    if kind == 4:
        return content[:at] + content[: rng.randrange(len(content) + 1)]
    return b"" if rng.random() < 0.5 else rng.randbytes(200)


def replace_part(rng: random.Random, value: Any) -> Any:
    """The value with one of its parts, however deep, exchanged, lost or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: replace_part(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], replace_part(rng, value[at]), *value[at + 1 :]]
    return rng.choice(WRONG)


def spoil(rng: random.Random, path: Path) -> None:
    """Damage a file, or put something else in its place."""
    kind = rng.random()
    if kind < 0.06:
        path.unlink()
        rng.choice((os.mkfifo, os.mkdir, lambda at: os.symlink("/dev/zero", at), lambda at: os.symlink(at, at)))(path)
    elif kind < 0.65 and path.suffix == ".json":
        changed = json.loads(path.read_text(encoding="utf-8"))
        for _ in range(rng.choice((1, 1, 2, 5))):
            changed = replace_part(rng, changed)
        path.write_text(json.dumps(changed), encoding="utf-8")
    elif kind < 0.75 and path.suffix == ".csv":
        lines = path.read_text(encoding="utf-8").splitlines()
        cells = [str(rng.choice(WRONG)).encode("utf-8", "replace").decode() for _ in range(rng.choice((1, 4, 4, 5)))]
        lines.insert(rng.randrange(len(lines) + 1), ",".join(cells))
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        path.write_bytes(damage(rng, path.read_bytes()))


class Results:
    """Sweeps and runs with one or two spoiled files: status, the report of the sweep, the report of a run."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="fuzz-base-"))
        write_grid(self.place / "grid", {"temperature": (1, 2), "seed": (0, 1)}, points=4)
        write_troubled(self.place / "troubled")
        for number in range(4, 18):
            shutil.rmtree(self.place / "troubled" / str(number)) if number not in (4, 5) else None
        write_sweep(self.place / "troubled", 20, "running", pid=GONE, host="elsewhere")
        write_json(self.place / "grid" / "study.json", STUDY)
        for number in range(4):
            run = self.place / "grid" / str(number)
            write_json(run / "trial.json", {"number": number, "params": {}})
            write_json(run / "environment.json", {"python": "3.12", "threads": 1})
            write_json(run / "progress.json", {"stage": "distill", "step": 3, "steps": 4, "note": "a"})
            (run / "overrides.txt").write_text("temperature=1\nseed=0\n", encoding="utf-8")
            (run / "config.yaml").write_text("seed: 0\n", encoding="utf-8")
        groups = {"head": {"classes": [0, 1], "training_rows": [9, 8]}, "tail": {"classes": [2], "training_rows": [1]}}
        more = {"low": -0.1, "high": 0.2, "level": 0.95, "method": "bootstrap"}
        long = results(40.0, 0, interval=more, class_groups=groups, loss=["kd"], verdict="Better.", labelled=64)
        for name, model in long["models"].items():
            model["metrics"] = {"accuracy_head": 0.9, "accuracy_tail": 0.4}
            model |= {"label": name, "stage": "distill", "role": "student", "start": "distill", "steps_before": 0}
        write_json(self.place / "grid" / "0" / "results.json", long)
        with working_in(self.place):
            assert answer(lambda: main(["report", "grid"]))[0] == 0
        self.rows = rows_of(self.place / "grid")
        assert len(self.rows) == 4

    def case(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """Spoil files, then look at them in every way."""
        name = "troubled" if rng.random() < 0.2 else "grid"
        sweep = folder / "sweep"
        shutil.copytree(self.place / name, sweep)
        files = sorted(path for path in sweep.rglob("*") if path.suffix in (".json", ".csv", ".txt", ".yaml"))
        files = [path for path in files if path.parent != sweep or path.suffix == ".json"]
        spoiled = rng.sample(files, rng.choice((1, 1, 1, 2)))
        for path in spoiled:
            spoil(rng, path)
        problems, codes = [], []
        for words in (
            ["status", "sweep"],
            ["report", "sweep"],
            ["report", "sweep/0"],
            ["report", "sweep/0", "sweep/1", "--out", "out"],
        ):
            code, _, found = answer(lambda words=words: main(words))
            codes.append(str(code))
            problems += [f"{' '.join(words)}: {problem}" for problem in found]
            if words == ["report", "sweep"] and code == 0:
                problems += self.changes(sweep, spoiled) if name == "grid" else []
        pages = [path.read_text(encoding="utf-8") for path in folder.rglob("report.html")]
        problems += ["a payload on the page"] * any(HTML in page for page in pages)
        told = ", ".join(str(path.relative_to(sweep)) for path in spoiled)
        return f"exit codes {' '.join(codes)}", [f"{problem} ({told})" for problem in problems]

    def changes(self, sweep: Path, spoiled: list[Path]) -> list[str]:
        """Silent changes: a job whose files are whole shows what it did; another what stands in its file, or nothing."""
        problems = []
        rows, touched = rows_of(sweep), {path.parent.name for path in spoiled}
        for number, before in self.rows.items():
            after = rows.get(number)
            if number not in touched:
                changed = [name for name in KEPT if after is None or after.get(name, "") != before[name]]
                problems += [f"job {number}, which is whole, shows other {changed}"] if changed else []
            elif after and after["state"] != UNREADABLE and after.get("models.distilled.val"):
                stands = read_json(sweep / number / "results.json")["models"]["distilled"]["val"]
                shown = after["models.distilled.val"]
                problems += [] if same_number(shown, stands) else [f"job {number} shows {shown} for {stands}"]
        return problems


STUDY = {
    "name": "tpe",
    "storage": "sqlite:///study.db",
    "sampler": "TPE",
    "pruner": "median",
    "best": [1],
    "objectives": [{"value": "models.distilled.val", "direction": "minimize"}],
    "trials": {"complete": 4, "failed": 0},
    "importances": {"temperature": 0.8, "seed": 0.2},
}
KEPT = (
    "state",
    "params.temperature",
    "params.seed",
    "models.distilled.val",
    "models.distilled.test",
    "models.baseline.test",
)


def rows_of(sweep: Path) -> dict[str, dict[str, str]]:
    """``results.csv`` by job."""
    with (sweep / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def same_number(shown: str, stands: Any) -> bool:
    """The text is the value's, in full precision."""
    try:
        return repr(float(shown)) == repr(float(stands))
    except (TypeError, ValueError):
        return shown == str(stands)


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Touch:
    """Unpickled, it makes the marker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (TOUCH,)


class Checkpoints:
    """Weights of strangers, resume points and store entries: damaged, exchanged, or with a payload inside."""

    def case(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """One of the three."""
        torch.manual_seed(rng.randrange(2**31))
        return rng.choice((self.weights, self.resume_point, self.entry))(rng, folder)

    def weights(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """A teacher of one's own: loaded as it stands, or refused in one line."""
        network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        path = folder / f"w.{rng.choice(('safetensors', 'pt', 'ckpt'))}"
        state: dict[str, Any] = dict(network.state_dict())
        odd = rng.random()
        if odd < 0.2:
            state[rng.choice(("extra", "\x1b[2J", HTML, "0.weight"))] = torch.full((2, 2), float("nan"))
        if path.suffix == ".safetensors":
            save_file(state, path)
        else:
            content = {"state_dict": state} if odd > 0.8 else state
            torch.save({**content, "x": Touch()} if rng.random() < 0.3 else content, path)
        if rng.random() < 0.8:
            path.write_bytes(damage(rng, path.read_bytes()))
        if rng.random() < 0.2:
            path.with_suffix(".json").write_bytes(damage(rng, b'{"tokenizer_sha256": "abc"}'))

        def load() -> int:
            load_teacher(network, path, "")
            return 0

        code, text, problems = answer(lambda: run_verb("run", load))
        problems += ["advises to unpickle"] if "weights_only" in text else []
        finite = all(bool(torch.isfinite(each).all()) for each in network.state_dict().values())
        return f"weights: exit code {code}", [*problems, *([] if finite else ["weights that are not finite"])]

    def resume_point(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """With its digest every change is refused; with a stranger's digest nothing of it runs."""
        point = folder / "resume-000000004.ckpt"
        AtomicCheckpointIO().save_checkpoint({"step": 4, "state": torch.ones(3)}, point)
        assert newest_resume_point(folder)[0] == point
        before = point.read_bytes()
        if rng.random() < 0.3:
            torch.save({"step": 4, "x": Touch()}, point)
        else:
            point.write_bytes(damage(rng, before))
        theirs = rng.random() < 0.4
        if theirs:
            digest_path(point).write_text(f"{file_digest(point)}\n", encoding="utf-8")
        changed = point.read_bytes() != before

        def load() -> int:
            AtomicCheckpointIO().load_checkpoint(point)
            return 0

        code, text, problems = answer(lambda: run_verb("run", load))
        problems += ["a changed resume point is taken"] if changed and not theirs and code == 0 else []
        problems += ["advises to unpickle"] if "weights_only" in text else []
        return f"resume point: exit code {code}", problems

    def entry(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """A finished entry: whatever is changed in one of its files is seen; `kd cache` goes on."""
        entry = Entry(folder / "outputs" / "store" / "teacher_outputs" / "abc")
        entry.folder.mkdir(parents=True)
        (entry.folder / "shard-0.bin").write_bytes(rng.randbytes(300))
        publish_json(entry.path("manifest.json"), {"rows": 3, "of": {"outputs": {"_target_": "a.Logits", "k": 5}}})
        entry.finish(["shard-0.bin", "manifest.json"])
        assert entry.problem() is None
        path = rng.choice(sorted(entry.folder.iterdir()))
        before = meaning(path)
        spoil(rng, path)
        changed = meaning(path) != before
        problems = ["a changed entry is taken for whole"] if changed and entry.problem() is None else []
        codes = []
        for verb in ("ls", "verify"):
            code, _, found = answer(lambda verb=verb: main(["cache", verb]))
            codes.append(str(code))
            problems += [f"kd cache {verb}: {problem}" for problem in found]
        return f"entry: exit codes {' '.join(codes)}", problems


def meaning(path: Path) -> object:
    """What a file says: of the status, which seals itself, its JSON; of others, their bytes. None = it cannot be read."""
    if path.name == "status.json":
        with contextlib.suppress(KDError, OSError):
            return read_json(path)
        return None
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None


# -- all ---------------------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[], Any]] = {
    "configurations": Configurations,
    "results": Results,
    "checkpoints": Checkpoints,
}
NUMBERS = {"configurations": 2000, "results": 2000, "checkpoints": 500}


def control(folder: Path) -> None:
    """The payloads do run where they are called: in a YAML file read without care, in a node, in a pickle."""
    with working_in(folder):
        marker = folder / MARKER
        for work in (
            lambda: yaml.unsafe_load(DOCUMENTS[0]),
            lambda: instantiate(yaml.safe_load(NODES[3])),
            lambda: torch.save(Touch(), "x.pt") or torch.load("x.pt", weights_only=False),
        ):
            work()
            assert marker.exists()
            marker.unlink()


def run(kinds: dict[str, int], seed: int, case: int | None = None) -> dict[str, Tally]:
    """So many cases of each kind."""
    os.environ.pop("HYDRA_FULL_ERROR", None)
    with tempfile.TemporaryDirectory() as name:
        control(Path(name))
    found = {}
    for kind, number in kinds.items():
        start = time.monotonic()
        found[kind] = fuzz(kind, KINDS[kind]().case, number if case is None else case, seed, loud=case is not None)
        told = ", ".join(f"{count} {outcome}" for outcome, count in found[kind].outcomes.most_common(8))
        print(
            f"{kind}: {sum(found[kind].outcomes.values())} cases in {time.monotonic() - start:.0f} s: {told}",
            flush=True,
        )
        print(f"{kind}: {len(found[kind].failures)} failures", flush=True)
        for failure in found[kind].failures[:20]:
            print(f"  {failure[:600]}", flush=True)
    return found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, number in NUMBERS.items():
        parser.add_argument(f"--{kind}", type=int, default=number)
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--case", type=int)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    asked = {kind: getattr(given, kind) for kind in KINDS if given.only in (None, kind)}
    sys.exit(any(tally.failures for tally in run(asked, given.seed, given.case).values()))
