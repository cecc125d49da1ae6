"""From Hydra's configuration to a search: everything is read and checked here, before the first job."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler

from kd_lightning import __version__
from kd_lightning.config.allowlist import list_trusted_packages, locate_target
from kd_lightning.config.conf_files import list_groups
from kd_lightning.config.instantiate import build_node, check_arguments
from kd_lightning.config.resolve import resolve_config
from kd_lightning.errors import ConfigError, MissingExtraError
from kd_lightning.experiment.settings import Settings
from kd_lightning.fingerprint import code_fingerprint, targets_of
from kd_lightning.safety.error_text import to_one_line
from kd_lightning.store import content_key, safe_name
from kd_lightning.sweeps.confirmation import LaunchJobs
from kd_lightning.sweeps.search.grid import Grid
from kd_lightning.sweeps.search.loop import Search
from kd_lightning.sweeps.search.objectives import Objective, read_objectives
from kd_lightning.sweeps.search.space import Space, read_space
from kd_lightning.sweeps.search.storage import choose_storage, first_line
from kd_lightning.sweeps.search.study import SharedStudy, silence_optuna

FREE_SETTINGS = frozenset({"outputs", "progress", "logger", "log_every", "checkpoint_every"})
"""Settings that change nothing in what a trial finds: a command that differs in them alone goes on with the study."""
BEGUN_WITH = "kd_lightning"
"""The study's user attribute that says which code began it."""
REHEARSED = 3
"""Trials in memory before the first real one."""


def run_search(config: DictConfig, loader: ConfigLoader, launch: LaunchJobs, words: Sequence[str]) -> Search:
    """Search as the configuration says; what was done.

    Args:
        config: The sweep's composed configuration.
        loader: Composes that of a job.
        launch: Runs jobs.
        words: The command's overrides but for Hydra's own.

    Raises:
        ConfigError: A setting is wrong; no job has run then.
    """
    settings = read_search_settings(config)
    swept = [f"{key}={'null' if value is None else value}" for key, value in (settings["params"] or {}).items()]
    space = read_space(OverridesParser.create(config_loader=loader).parse_overrides([*swept, *words]))
    composed = compose_samples(config, loader, space)
    objectives = read_objectives(settings["objectives"], mode=lambda: build_node(composed["task"]).mode)
    sampler, pruner = build_sampler(settings, space, objectives), build_pruner(settings, objectives)
    rehearse_trials(sampler, pruner, space, objectives)
    name = str(settings["study_name"] or derive_study_name(settings, space, objectives))
    storage = choose_storage(
        settings["storage"], Path(str(config.outputs)), safe_name(name, "hydra.sweeper.study_name")
    )
    shared = SharedStudy(
        name, storage, objectives, space, settings["n_trials"], sampler, seed=settings["seed"], pruner=pruner
    )
    with closing(shared):
        note_code(shared, composed, space)
        note_size(shared, sampler)
        folder, pruning = Path(str(config.hydra.sweep.dir)), not isinstance(pruner, NopPruner)
        found = Search(shared, launch, folder, n_jobs=settings["n_jobs"], pruning=pruning)
        found.run()
    return found


# -- settings ---------------------------------------------------------------------------------------------------------


def read_search_settings(config: DictConfig) -> Settings:
    """``hydra.sweeper`` as plain data, its numbers checked.

    Raises:
        ConfigError: One is out of range, or something is not set.
    """
    try:
        settings = OmegaConf.to_container(config.hydra.sweeper, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"hydra.sweeper: {to_one_line(error)}") from error
    assert isinstance(settings, dict)
    found = {str(key): value for key, value in settings.items()}
    for name, least in {"n_trials": 1, "n_jobs": 1, "seed": 0}.items():
        value = found[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"hydra.sweeper.{name}={value!r}: a whole number, {least} or more, is expected")
    for name in ("storage", "study_name"):
        if not (found[name] is None or (isinstance(found[name], str) and found[name])):
            raise ConfigError(f"hydra.sweeper.{name} is a {type(found[name]).__name__}: a text or null is expected")
    if not (found["params"] is None or isinstance(found["params"], Mapping)):
        raise ConfigError(f"hydra.sweeper.params={found['params']!r}: settings with what to try are expected")
    return found


def compose_samples(config: DictConfig, loader: ConfigLoader, space: Space) -> Settings:
    """Compose a few points of the space, so that a choice that does not exist is found now; the first one's settings.

    Raises:
        HydraException: One cannot be composed.
    """
    composed = [
        loader.load_sweep_config(config, space.overrides(params)) for params in space.samples(list(list_groups()))
    ]
    first = composed[0].copy()
    OmegaConf.set_struct(first, False)
    first.pop("hydra")
    first.folder = str(config.hydra.sweep.dir)
    return resolve_config(first)


def derive_study_name(settings: Settings, space: Space, objectives: Sequence[Objective]) -> str:
    """A study's name that is the same for the same search, however long it is to be and wherever it runs."""
    fixed = list_fixed_words(space)
    key = content_key(
        {
            "fixed": fixed,
            "searched": sorted(f"{each.name} {each.distribution} {each.choices}" for each in space.parameters),
            "objectives": [[each.value, each.direction] for each in objectives],
            "parts": [settings[part] for part in ("sampler", "pruner", "seed")],
        }
    )
    title = next((word.partition("=")[2] for word in fixed if word.startswith("sweep=")), "") or "search"
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', title)}-{key[:8]}"


# -- sampler and pruner -----------------------------------------------------------------------------------------------


def build_sampler(settings: Settings, space: Space, objectives: Sequence[Objective]) -> Callable[[int], BaseSampler]:
    """Makes a sampler from a seed.

    Raises:
        ConfigError: It does not go with the space or the objectives.
    """
    node = read_part(settings, "sampler")
    kind = locate_target(node["_target_"])
    takes = inspect.signature(kind).parameters
    if issubclass(kind, GridSampler):
        for parameter in space.parameters:
            if not parameter.choices:
                raise ConfigError(
                    f"{parameter.written}: a grid needs every value: {parameter.key}=choice(...) or range(...)"
                )
        return lambda seed: Grid(space.parameters)
    if issubclass(kind, CmaEsSampler):
        check_cma(space, objectives)

    def make(seed: int) -> BaseSampler:
        with silence_optuna():
            made: BaseSampler = build_node({**node, **({"seed": seed} if "seed" in takes else {})})
        return made

    if not isinstance(make(settings["seed"]), BaseSampler):
        raise ConfigError(f"hydra.sweeper.sampler: {node['_target_']} is no sampler")
    return make


def check_cma(space: Space, objectives: Sequence[Objective]) -> None:
    """CMA-ES moves a cloud of points through numbers, towards one objective.

    Raises:
        ConfigError: There is no such thing here.
    """
    if len(objectives) > 1:
        raise ConfigError("CMA-ES has one objective: use hydra/sweeper/sampler=nsgaii, tpe or gp for several")
    if all(isinstance(each, CategoricalDistribution) for each in space.distributions.values()):
        raise ConfigError("CMA-ES searches numbers, and all here are choices: use interval(...), or sampler=tpe")


def build_pruner(settings: Settings, objectives: Sequence[Objective]) -> BasePruner:
    """The pruner.

    Raises:
        ConfigError: It does not go with the objectives.
    """
    node = read_part(settings, "pruner")
    with silence_optuna():
        made = build_node(node)
    if not isinstance(made, BasePruner):
        raise ConfigError(f"hydra.sweeper.pruner: {node['_target_']} is no pruner")
    if len(objectives) > 1 and not isinstance(made, NopPruner):
        raise ConfigError("with several objectives nothing can be pruned: use hydra/sweeper/pruner=none")
    return made


def rehearse_trials(
    sampler: Callable[[int], BaseSampler], pruner: BasePruner, space: Space, objectives: Sequence[Objective]
) -> None:
    """A few trials in memory: what a sampler makes of its settings and of the space shows only there.

    Raises:
        ConfigError: They do not go together.
        MissingExtraError: A package is missing that the sampler needs.
    """
    directions = [objective.direction for objective in objectives]
    with silence_optuna():
        study = optuna.create_study(directions=directions, sampler=sampler(0), pruner=pruner)  # type: ignore[arg-type]
        try:
            for _ in range(int(min(REHEARSED, space.size))):
                trial = study.ask(space.distributions)
                if len(objectives) == 1:
                    trial.report(0.0, step=1)
                    trial.should_prune()
                study.tell(trial, [0.0] * len(objectives))
        except ImportError as error:
            raise MissingExtraError(f"the sampler needs {error.name}: pip install 'kd-lightning[sweep]'") from error
        except Exception as error:  # samplers raise what they like: ValueError, TypeError, assertions
            raise ConfigError(f"hydra.sweeper.sampler: {type(error).__name__}: {first_line(error)}") from error


def read_part(settings: Settings, name: str) -> Settings:
    """The node that describes the sampler or the pruner, its arguments checked.

    Raises:
        ConfigError: It describes nothing that may be built.
    """
    node = settings[name]
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise ConfigError(f"hydra.sweeper.{name} is {node!r}: choose one with hydra/sweeper/{name}=...")
    given = {"seed": 0, "search_space": {}} if name == "sampler" else {}
    takes = inspect.signature(locate_target(node["_target_"])).parameters
    filled = {**{key: value for key, value in given.items() if key in takes}, **node}
    check_arguments({"hydra": {"sweeper": {name: filled}}})
    return node


# -- what is said before the first trial ------------------------------------------------------------------------------


def note_code(shared: SharedStudy, composed: Settings, space: Space) -> None:
    """Say so where the study was begun by other code or with other settings: its values may not compare."""
    now = {
        "version": __version__,
        "code": code_fingerprint(
            ["kd_lightning.experiment.experiment", *targets_of(composed)], list_trusted_packages()
        )[:12],
        "fixed": hashlib.sha256(repr(list_fixed_words(space)).encode()).hexdigest()[:12],
    }
    begun = shared.study.user_attrs.get(BEGUN_WITH)
    if begun is None:
        shared.study.set_user_attr(BEGUN_WITH, now)
        return
    named = {"version": f"version {begun.get('version')}", "code": "other code", "fixed": "other fixed settings"}
    changed = [said for key, said in named.items() if begun.get(key) != now[key]]
    if changed:
        print(
            f"kd: study {shared.name} was begun with {' and '.join(changed)}: its values may not compare; "
            "hydra.sweeper.study_name=... begins a new one",
            file=sys.stderr,
            flush=True,
        )


def list_fixed_words(space: Space) -> list[str]:
    """The fixed words that change what a trial finds."""
    return sorted(word for word in space.fixed if word.lstrip("+~").partition("=")[0] not in FREE_SETTINGS)


def note_size(shared: SharedStudy, sampler: Callable[[int], BaseSampler]) -> None:
    """A grid has its own number of trials; and a searched seed is luck."""
    made = sampler(shared.seed)
    if isinstance(made, Grid):
        cells = len(made.cells)
        if cells > shared.n_trials:
            print(f"the grid has {cells} combinations: hydra.sweeper.n_trials={shared.n_trials} stops before its end")
        shared.n_trials = min(cells, shared.n_trials)
    elif "seed" in shared.space.distributions:
        print("kd: seed is among what is searched: the best trial is then in part the luckiest seed", file=sys.stderr)
