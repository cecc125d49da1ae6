"""Hydra's own part of a configuration: what it would build is checked as it will be built, and Hydra still works so."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.config_sources import CheckedFileSource, TrustedPackageSource
from kd_lightning.config.hydra_parts import check_part, find_foreign_names, find_names_in_logging, resolve_part
from kd_lightning.config.hydra_setup import register_with_hydra
from kd_lightning.errors import ConfigError, UntrustedTargetError
from kd_lightning.sweeps.job import overrides_of_job
from kd_lightning.sweeps.launchers.orders_for import list_hydra_overrides

MKDIR = {"_target_": "os.mkdir", "path": "made"}
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
OPTUNA = "hydra_plugins.kd_optuna_sweeper.OptunaSweeper"


def composed(*words: str) -> DictConfig:
    """The whole configuration, Hydra's part too, as Hydra works on it."""
    register_with_hydra()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", list(words), return_hydra_config=True)


FOREIGN: dict[str, tuple[str, Any]] = {
    "callback": ("callbacks", {"mine": MKDIR}),
    "inside an allowed callback": (
        "callbacks",
        {"kd_sweep": {"_target_": "kd_lightning.sweeps.hydra_callback.SweepWatch", "more": [{"of": MKDIR}]}},
    ),
    "launcher": ("launcher", {"_target_": "os.mkdir"}),
    "a plugin that is none of ours": ("launcher", {"_target_": "hydra_plugins.stranger.Launcher"}),
    "inside a launcher": ("launcher", {"_target_": BASIC, "n_jobs": MKDIR}),
    "inside a sweeper that is built whole": ("sweeper", {"_target_": OPTUNA, "sampler": {"of": [MKDIR]}}),
    "no launcher at all": ("launcher", {"n_jobs": 2}),
    "a factory": ("job_logging", {"handlers": {"mine": {"()": "os.mkdir"}}}),
    "a class": ("hydra_logging", {"handlers": {"mine": {"class": "logging.config.DictConfigurator"}}}),
    "an object": (
        "job_logging",
        {"handlers": {"mine": {"class": "logging.StreamHandler", "stream": "ext://os.environ"}}},
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_code_is_refused_unless_it_is_trusted(case: str) -> None:
    key, part = FOREIGN[case]
    with pytest.raises(UntrustedTargetError, match=rf"hydra\.{key} names "):
        check_part(key, part, [])
    names = [name.removeprefix("ext://").split(".")[0] for name in find_foreign_names(key, part)]
    check_part(key, part, names)


def test_usual_parts_pass() -> None:
    config = composed(
        "hydra/job_logging=default", "hydra/hydra_logging=default", "sweep=pareto", "hydra/launcher=cohort"
    )
    for key in ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging"):
        assert list(find_foreign_names(key, OmegaConf.to_container(config.hydra[key]))) == []
    assert list(find_names_in_logging({"handlers": {"console": {"stream": "ext://sys.stdout"}}})) == []


def test_ours_launches_unless_a_word_or_a_file_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert composed().hydra.launcher._target_ == "hydra_plugins.kd_launchers.WorkerLauncher"
    assert composed("hydra/launcher=basic").hydra.launcher == composed("hydra/launcher=inline").hydra.launcher
    assert composed("hydra/launcher=basic").hydra.launcher._target_ == BASIC
    experiments = tmp_path / "conf" / "experiment"
    experiments.mkdir(parents=True)
    text = "# @package _global_\ndefaults: [{override /hydra/launcher: process}]\n"
    (experiments / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    choices = composed("experiment=mine").hydra.runtime.choices
    assert choices["hydra/launcher"] == "process"
    choices = composed("experiment=mine", "hydra/launcher=cohort").hydra.runtime.choices
    assert choices["hydra/launcher"] == "cohort"


def test_a_target_behind_an_interpolation_is_seen() -> None:
    words = (
        "+vars.jobs={_target_: os.mkdir, path: made}",
        "hydra/launcher=process",
        "hydra.launcher.n_jobs=${vars.jobs}",
    )
    with pytest.raises(UntrustedTargetError, match=r"os\.mkdir"):
        composed(*words)
    with pytest.raises(UntrustedTargetError, match=r"ext://os\.environ"):
        composed(
            "+vars.s='ext://os.environ'",
            "hydra/job_logging=stdout",
            "hydra.job_logging.handlers.console.stream=${vars.s}",
        )
    with pytest.raises(UntrustedTargetError, match=r"'oc\.env'"):
        composed("+vars.d='$'", "sweep=losses", "hydra.sweeper.params.seed='${vars.d}{oc.env:HOME}'")


def test_what_was_checked_is_what_hydra_builds() -> None:
    """Nothing is left to be resolved, but for what is known when a job begins."""
    config = composed(
        "+vars.n=3", "hydra/launcher=process", "hydra.launcher.n_jobs=${vars.n}", "hydra/job_logging=default"
    )
    raw = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert isinstance(raw, dict)
    assert raw["n_jobs"] == 3
    logging = OmegaConf.to_container(config.hydra.job_logging, resolve=False)
    assert "${hydra.runtime.output_dir}/kd.log" in str(logging)
    again = composed("sweep=losses", r"hydra.sweeper.params.seed='\${teacher.seed}'")
    assert again.hydra.sweeper.params.seed == "${teacher.seed}"  # for the jobs, not for us


def test_words_are_kept_as_they_were_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are parsed and recorded; what they stand for may be a secret, or no word at all."""
    monkeypatch.setenv("HERE", "hunter2")
    config = composed("seed=${teacher.seed}", "+vars.here=${oc.env:HERE}", "hydra.verbose=${progress}")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # put back afterwards
    HydraConfig.instance().set_config(config)
    assert overrides_of_job()[0] == "seed=${teacher.seed}"
    assert "hunter2" not in str(overrides_of_job())
    assert list_hydra_overrides(config) == ["hydra.verbose=${progress}"]


def test_late_values_are_filled_in(tmp_path: Path) -> None:
    config = composed("hydra/job_logging=default")
    config.hydra.runtime.output_dir = str(tmp_path)
    configure_log(config.hydra.job_logging, False)
    assert (tmp_path / "kd.log").exists()
    configure_log(composed().hydra.job_logging, False)
    assert resolve_part(config, "job_logging")["handlers"] == config.hydra.job_logging.handlers


# -- contracts: what we use of Hydra's own ----------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the wrapped functions, as Hydra calls them."""
    seen: list[str] = []
    register_with_hydra()
    for owner, name in (
        (ConfigLoaderImpl, "load_configuration"),
        (ConfigLoaderImpl, "_load_single_config"),
        (CachingConfigRepository, "load_config"),
    ):
        wrapped = getattr(owner, name)
        assert hasattr(wrapped, "__wrapped__")

        def noted(*args: Any, _wrapped: Any = wrapped, _name: str = name, **kwargs: Any) -> Any:
            seen.append(_name)
            return _wrapped(*args, **kwargs)

        noted.__wrapped__ = wrapped.__wrapped__  # type: ignore[attr-defined]
        monkeypatch.setattr(owner, name, noted)
    return seen


def test_contract_hydra_composes_through_these(calls: list[str]) -> None:
    composed("seed=1")
    assert calls.count("load_configuration") == 1
    assert calls.count("_load_single_config") > 20  # each file at its place
    assert calls.count("load_config") > calls.count("_load_single_config")


def test_contract_their_arguments() -> None:
    assert list(inspect.signature(ConfigLoaderImpl._load_single_config).parameters) == ["self", "default", "repo"]
    assert list(inspect.signature(ConfigLoaderImpl._embed_result_config).parameters) == ["ret", "package_override"]


def test_contract_hydra_finds_sources_in_the_registry() -> None:
    register_with_hydra()
    assert SourcesRegistry.instance().resolve("file") is CheckedFileSource
    assert SourcesRegistry.instance().resolve("pkg") is TrustedPackageSource
    assert Plugins.is_in_toplevel_plugins_module(BASIC)


def test_contract_a_source_of_packages_imports_nothing_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="pkg://no_such_package"):
        TrustedPackageSource("main", "pkg://no_such_package/conf")
