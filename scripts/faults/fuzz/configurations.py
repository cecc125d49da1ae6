"""Configurations of strangers."""

from __future__ import annotations

import random
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.hydra_errors import list_known_settings
from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
from kd_lightning.safety.verbs import run_verb
from kd_lightning.sweeps.job import check_job_settings, overrides_of_job
from kd_lightning.sweeps.launch import compose_and_run_job
from scripts.faults.fuzz.case import MARKER, TOUCH, answer
from scripts.faults.fuzz.spoil import damage
from tests.support.cli import DIGITS

SMALL = (*DIGITS, "teacher=mlp_tiny", "student=mlp_tiny")
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
        self.settings = [name for name in list_known_settings(list(SMALL), CONFIG_NAME) if not name.startswith("hydra")]
        self.files = [path for path in sorted(conf_dir().rglob("*.yaml")) if "hydra" not in path.parts]

    def case(self, rng: random.Random, folder: Path) -> tuple[str, list[str]]:
        """Compose the settings and check them, as ``kd run`` does before it trains."""
        words = [*SMALL, f"outputs={folder}/outputs"]
        if rng.random() < 0.35:
            words += self.write_file(rng, folder)
        else:
            words += [self.word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        code, _, problems = answer(lambda: run_verb("run", lambda: compose_and_run_job(words, check_alone)))
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
    check_job_settings(config, Path(HydraConfig.get().runtime.output_dir), overrides_of_job())
