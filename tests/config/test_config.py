"""Nothing that a configuration names runs unless it is allowed, and what cannot be built is said in one line."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from kd_lightning.config import allowlist
from kd_lightning.config.allowlist import ALLOWED_CALLS, check_target, locate_target
from kd_lightning.config.instantiate import build_node, check_arguments
from kd_lightning.config.resolve import resolve_config, yaml_text
from kd_lightning.config.stored_settings import read_stored_settings
from kd_lightning.errors import ConfigError, KDError, UntrustedTargetError
from kd_lightning.models.mlp import MLP
from tests.support.cli import DIGITS, kd, settings_of
from tests.support.hub import write_reviews

MLP_NODE = {
    "_target_": "kd_lightning.models.mlp.MLP",
    "num_classes": 3,
    "in_features": 4,
    "hidden": [5],
    "dropout": 0.0,
}

PACKAGE = """\
import os
from pathlib import Path

Path({mark!r}).touch()


class Thing:
    def __init__(self, size: int = 1, inner: object = None) -> None:
        self.size = size

    @classmethod
    def small(cls) -> "Thing":
        return cls(0)


def make(size: int) -> Thing:
    return Thing(size)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``foreign_pkg`` that can be imported and leaves a mark when it is; gives the mark's path."""
    mark = tmp_path / "imported"
    (tmp_path / "code" / "foreign_pkg").mkdir(parents=True)
    (tmp_path / "code" / "foreign_pkg" / "__init__.py").write_text(PACKAGE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setattr(allowlist, "_registered", set())
    yield mark
    sys.modules.pop("foreign_pkg", None)


# -- the allowlist ----------------------------------------------------------------------------------------------------

REFUSED = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.Popen",
    "functools.partial",
    "importlib.import_module",
    "pickle.loads",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "numpy.load",
    "hydra.utils.instantiate",
    "kd_lightning.store.Store",
    "kd_lightning.cli.main.main",
    "kd_lightning.config.allowlist.register_package",
    # Functions and foreign classes under allowed names.
    "kd_lightning.data.sources.documents.read_document",
    "kd_lightning.data.datamodule.Dataset",
    "torch.nn.functional.relu",
    "torch.optim.lr_scheduler.partial",
    "pytorch_lightning.callbacks.model_checkpoint.warn",
    # Through the attributes of an allowed module.
    "kd_lightning.data.sources.documents.random.Random",
    "kd_lightning.data.sources.arrays.np.load",
    "torch.nn.modules.module.Tensor",
    "torch.optim.adamw.torch.load",
    "torch.optim.optimizer.torch.load",
    "torch.nn.modules.module.torch.load",
    "torch.nn.modules.module.torch.jit.CompilationUnit",
    "torch.nn.modules.module.torch.package.PackageImporter",
    "pytorch_lightning.callbacks.timer.re.compile",
    "transformers.AutoModel.from_config",
]


@pytest.mark.parametrize("target", REFUSED)
def test_foreign_names_are_refused(target: str) -> None:
    for node in ({"_target_": target}, {"_target_": target, "_partial_": True}, {"_target_": target, "_args_": ["x"]}):
        with pytest.raises(ConfigError) as error:
            build_node(node)
        assert target in str(error.value)
        assert "\n" not in str(error.value)
        with pytest.raises(ConfigError):
            check_arguments({"node": node})


@pytest.mark.parametrize(
    "target",
    [
        "kd_lightning.models.mlp.MLP",
        "kd_lightning.training.schedules.Cosine",
        "torch.optim.AdamW",
        "torch.optim.adamw.AdamW",
        "torch.nn.Linear",
        "torchmetrics.Accuracy",
        "pytorch_lightning.Trainer",
        "pytorch_lightning.callbacks.EarlyStopping",
        "pytorch_lightning.loggers.CSVLogger",
        "pytorch_lightning.strategies.DDPStrategy",
        "pytorch_lightning.profilers.SimpleProfiler",
    ],
)
def test_control_known_classes_are_found(target: str) -> None:
    assert locate_target(target).__name__ == target.rpartition(".")[2]


def shapes(target: str) -> list[Any]:
    """The same foreign name in every place where a node can stand."""
    foreign = {"_target_": target}
    return [
        foreign,
        {**foreign, "_partial_": True},
        {**MLP_NODE, "dropout": foreign},
        {**MLP_NODE, "hidden": [1, foreign]},
        {**MLP_NODE, "dropout": {"plain": {"deeper": [[foreign]]}}},
        {**MLP_NODE, "_recursive_": False, "dropout": foreign},
        {"plain": [foreign]},
        {**foreign, "inner": MLP_NODE},
    ]


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("target", ["foreign_pkg.Thing", "foreign_pkg.os.system", "foreign_pkg"])
def test_refused_code_is_not_even_imported(number: int, target: str, package: Path) -> None:
    node = shapes(target)[number]
    for refuse in (lambda: build_node(node), lambda: check_arguments({"a": node})):
        with pytest.raises(UntrustedTargetError, match="KD_LIGHTNING_TRUST=foreign_pkg"):
            refuse()
    assert not package.exists()
    assert "foreign_pkg" not in sys.modules


def test_control_trusted_code_is_imported_and_built(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "another_pkg, foreign_pkg")
    assert build_node({"_target_": "foreign_pkg.Thing", "size": 3}).size == 3
    assert package.exists()
    assert build_node({"_target_": "foreign_pkg.make", "size": 4}).size == 4
    assert build_node({"_target_": "foreign_pkg.Thing.small"}).size == 0
    assert build_node({"_target_": "foreign_pkg.Thing", "_partial_": True})(size=5).size == 5


def test_trust_in_a_package_is_none_in_what_it_imports(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "foreign_pkg")
    for target in ("foreign_pkg.os.system", "foreign_pkg.Path", "foreign_pkg.os.path.join"):
        with pytest.raises(UntrustedTargetError, match="foreign_pkg"):
            build_node({"_target_": target, "_args_": ["true"]})


def test_trust_by_register(package: Path) -> None:
    allowlist.register_package("foreign_pkg")
    assert build_node({"_target_": "foreign_pkg.make", "size": 2}).size == 2


def test_trust_by_entry_point(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("mine", "foreign_pkg.plugin", "kd_lightning.trust")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == "kd_lightning.trust" else []
    )
    allowlist.list_trusted_distributions.cache_clear()
    try:
        assert allowlist.list_trusted_packages() == ["foreign_pkg"]
        assert build_node({"_target_": "foreign_pkg.make", "size": 2}).size == 2
    finally:
        allowlist.list_trusted_distributions.cache_clear()


def test_trust_never_comes_from_a_configuration(package: Path) -> None:
    with pytest.raises(UntrustedTargetError):
        build_node({"_target_": "kd_lightning.config.allowlist.register_package", "package": "foreign_pkg"})
    assert allowlist.list_trusted_packages() == []


def test_named_transformers_are_allowed_without_their_authors_code() -> None:
    target = "transformers.AutoModelForCausalLM.from_pretrained"
    assert target in ALLOWED_CALLS
    check_target(target)
    with pytest.raises(UntrustedTargetError, match="trust_remote_code"):
        build_node({"_target_": target, "pretrained_model_name_or_path": "x", "trust_remote_code": True})


@pytest.mark.parametrize("target", [5, None, ["os.system"], {"_target_": "os.system"}])
def test_a_target_is_a_text(target: Any) -> None:
    with pytest.raises(ConfigError, match="a dotted name is expected"):
        build_node({"_target_": target})


@pytest.mark.parametrize(
    "target", ["kd_lightning.models.nothing.Net", "kd_lightning.models.mlp.Mlp", "torch.nn..Linear"]
)
def test_what_is_not_there_is_said_in_one_line(target: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="cannot be found") as error:
        locate_target(target)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


# -- what Hydra itself would import -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Callback Thing")
def test_control_a_trusted_callback_of_hydra_is_imported(
    package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "foreign_pkg")
    answer = kd(capsys, "run", "+hydra.callbacks.mine._target_=foreign_pkg.Thing", "temperature=-1")
    assert "temperature=-1" in answer.err
    assert package.exists()


def test_trust_is_read_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with allowlist.freeze_trust():
        monkeypatch.setenv("KD_LIGHTNING_TRUST", "foreign_pkg")
        with pytest.raises(UntrustedTargetError):
            build_node({"_target_": "foreign_pkg.make", "size": 2})
    assert build_node({"_target_": "foreign_pkg.make", "size": 2}).size == 2


# -- arguments --------------------------------------------------------------------------------------------------------


def test_arguments_are_checked() -> None:
    check_arguments({"student": MLP_NODE})
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"drop_out": 0.1},
            "student.drop_out: kd_lightning.models.mlp.MLP has no argument 'drop_out'; did you mean 'dropout'?",
        ),
        ({"dropout": "much"}, "student.dropout='much': float is expected"),
        ({"dropout": None}, "student.dropout=None: float is expected"),
        ({"num_classes": 2.5}, "student.num_classes=2.5: int is expected"),
        ({"num_classes": True}, "student.num_classes=True: int is expected"),
    ]
    for change, message in wrong:
        with pytest.raises(ConfigError) as error:
            check_arguments({"student": {**MLP_NODE, **change}})
        assert str(error.value) == message


def test_whole_number_stands_for_a_float() -> None:
    check_arguments({"student": {**MLP_NODE, "dropout": 0}})


def test_text_stands_for_no_number_of_a_library() -> None:
    optimizer = {"_target_": "torch.optim.AdamW", "_partial_": True}
    check_arguments({"optimizer": {**optimizer, "lr": 0.1, "betas": [0.9, 0.99]}})
    with pytest.raises(ConfigError, match=r"optimizer\.lr='fast'"):
        check_arguments({"optimizer": {**optimizer, "lr": "fast"}})


def test_missing_argument_is_named() -> None:
    node = {key: value for key, value in MLP_NODE.items() if key != "num_classes"}
    with pytest.raises(
        ConfigError, match=r"student: kd_lightning.models.mlp.MLP needs num_classes: set student.num_cl"
    ):
        check_arguments({"student": node})
    check_arguments({"student": {**node, "_partial_": True}})  # given later


def test_nested_nodes_are_checked_under_their_path() -> None:
    with pytest.raises(ConfigError, match=r"task\.metrics\.accuracy\.x: .* has no argument 'x'"):
        check_arguments({"task": {"metrics": {"accuracy": {"_target_": "kd_lightning.models.mlp.MLP", "x": 1}}}})


# -- building ---------------------------------------------------------------------------------------------------------


def test_build_makes_objects_and_leaves_values() -> None:
    assert isinstance(build_node(MLP_NODE), MLP)
    assert build_node(0.5) == 0.5
    assert build_node(None) is None
    assert isinstance(
        build_node({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1})([torch.ones(1)]), torch.optim.SGD
    )


def test_what_is_built_is_never_interpolated() -> None:
    text = "${oc.create:{_target_: os.mkdir, path: made}}"
    settings = resolve_config(
        OmegaConf.create({"node": {"_target_": "torch.nn.ModuleDict", "modules": None}, "text": "\\" + text})
    )
    assert settings["text"] == text
    layer = {"_target_": "torch.nn.Linear", "_partial_": True, "device": settings["text"]}
    assert build_node(layer).keywords == {"device": text}


def test_directives_of_hydra() -> None:
    inner = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
    assert isinstance(build_node({"_target_": "torch.nn.Sequential", "_args_": [inner, inner]})[1], torch.nn.Linear)
    kept = {
        "_target_": "torch.nn.Linear",
        "_partial_": True,
        "_recursive_": False,
        "_convert_": "none",
        "device": inner,
    }
    assert build_node(kept).keywords == {"device": inner}
    assert build_node(kept).keywords["device"] is not inner


def test_our_errors_come_through_as_they_are() -> None:
    with pytest.raises(ConfigError, match="MLP: dropout=3 is not a probability") as error:
        build_node({**MLP_NODE, "dropout": 3})
    assert type(error.value) is ConfigError
    with pytest.raises(KDError, match="is not a probability"):  # from inside of another object
        build_node({"_target_": "torch.nn.Sequential", "_args_": [{**MLP_NODE, "dropout": 3}]})


def test_foreign_errors_name_the_target_in_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        build_node({"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 2})
    assert str(error.value).startswith("torch.nn.Linear: ")
    assert "\n" not in str(error.value)


def test_a_name_is_an_argument_only_where_the_constructor_has_one(tmp_path: Path) -> None:
    logger = build_node({"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(tmp_path), "name": "mine"})
    assert logger.name == "mine"
    assert isinstance(build_node({**MLP_NODE, "name": "only for the reader"}), MLP)


# -- plain settings ---------------------------------------------------------------------------------------------------


def test_plain_resolves() -> None:
    assert resolve_config(OmegaConf.create({"a": {"b": 2}, "c": "${a.b}", "d": ["${c}"]})) == {
        "a": {"b": 2},
        "c": 2,
        "d": [2],
    }


def test_plain_names_what_is_unset_and_what_leads_nowhere() -> None:
    with pytest.raises(ConfigError, match=r"data.root is not set: give it a value with data.root="):
        resolve_config(OmegaConf.create({"x": "${data.root}", "data": {"root": "???"}}))
    with pytest.raises(ConfigError, match=r"task.classes: .*'data.classes' not found"):
        resolve_config(OmegaConf.create({"task": {"classes": "${data.classes}"}, "data": {}}))


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_written_nowhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = ("teacher=mlp_tiny", "student=mlp_tiny", f"outputs={tmp_path}")
    secrets = ("+vars.api_key=hunter2", "+vars.inner={auth_token: hunter2}", "+vars.note=hunter3")
    answer = kd(capsys, "run", *DIGITS, *small, *secrets)
    assert answer.code == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    holding = {word: {p.name for p in files if word in p.read_bytes()} for word in (b"hunter2", b"hunter3")}
    assert holding[b"hunter2"] == set()
    assert "hunter2" not in answer.out + answer.err
    # The control: what is no secret stands where it should.
    assert {"config.yaml", "overrides.txt", "results.json"} <= holding[b"hunter3"]
    assert os.environ.get("HYDRA_FULL_ERROR") is None  # `kd run` leaves the environment as it was


def test_settings_are_written_as_omegaconf_writes_them_and_read_again() -> None:
    settings = {
        **settings_of("experiment=digits"),
        "odd": ["1e-5", "2024-01-31", "null", "1_0", 1e-5, None, "a: b", ""],
    }
    assert yaml_text(settings) == OmegaConf.to_yaml(OmegaConf.create(settings))


@pytest.mark.parametrize("name", ["${a", "a${", "${a}", "\\${a", "${${a}", "$", "${oc.env:HOME}"])
def test_a_label_may_be_called_like_an_interpolation_or_half_of_one(name: str, tmp_path: Path) -> None:
    write_reviews(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text((tmp_path / "rows.csv").read_text().replace("pos", name))
    words = ("task=text_classification", "data=table", "teacher=text_transformer", "student=bilstm")
    settings = settings_of(*words, f"data.path={tmp_path / 'rows.csv'}")
    assert name in settings["data"]["labels"]
    (tmp_path / "config.yaml").write_text(yaml_text(settings), encoding="utf-8")
    assert read_stored_settings(tmp_path) == settings
    assert yaml_text(read_stored_settings(tmp_path)) == yaml_text(settings)
