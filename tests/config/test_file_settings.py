"""What a file may set that does not come with kd, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.config import hydra_guard
from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.file_settings import check_chosen_groups, check_interpolations, check_place, find_resolvers
from kd_lightning.errors import ConfigError, UntrustedTargetError
from tests.support.cli import kd, settings_of

REFUSED: dict[str, dict[str, Any]] = {
    "hydra.job.env_set.PATH": {"job": {"env_set": {"PATH": "here"}}},
    "hydra.job.env_copy": {"job": {"env_copy": ["HOME"]}},
    "hydra.job.chdir": {"job": {"chdir": True}},
    "hydra.job.name": {"job": {"name": "../x"}},
    "hydra.callbacks.mine._target_": {"callbacks": {"mine": {"_target_": "x.Y"}}},
    "hydra.job_logging.version": {"job_logging": {"version": 1}},
    "hydra.hydra_logging": {"hydra_logging": "${vars.logging}"},
    "hydra.run.dir": {"run": {"dir": "x"}},
    "hydra.sweep.subdir": {"sweep": {"subdir": "../../x"}},
    "hydra.output_subdir": {"output_subdir": "x"},
    "hydra.mode": {"mode": "MULTIRUN"},
    "hydra.verbose": {"verbose": True},
    "hydra.searchpath": {"searchpath": ["pkg://x"]},
    "hydra.launcher": {"launcher": "${vars.launcher}"},
    "hydra.launcher.setup": {"launcher": {"setup": ["touch x"]}},
    "hydra.launcher.slurm_setup": {"launcher": {"slurm_setup": ["touch x"]}},
    "hydra.launcher.slurm_srun_args": {"launcher": {"slurm_srun_args": ["--prolog=x"]}},
    "hydra.launcher.slurm_additional_parameters.wrap": {"launcher": {"slurm_additional_parameters": {"wrap": "x"}}},
    "hydra.launcher.submitit_folder": {"launcher": {"submitit_folder": "/x"}},
    "hydra.launcher.slurm_partition": {"launcher": {"slurm_partition": "gpu\ntouch x"}},
    "hydra.launcher.slurm_account": {"launcher": {"slurm_account": "${vars.account}"}},
    "hydra.launcher.n_jobs._target_": {"launcher": {"n_jobs": {"_target_": "x.Y"}}},
    "hydra.sweeper.storage": {"sweeper": {"storage": "sqlite:////x"}},
    "hydra.sweeper._recursive_": {"sweeper": {"_recursive_": True}},
    "hydra.sweeper.params.hydra.run.dir": {"sweeper": {"params": {"hydra.run.dir": "x"}}},
    "hydra.sweeper.params.+vars/x@hydra.job.env_set": {"sweeper": {"params": {"+vars/x@hydra.job.env_set": "mine"}}},
    "hydra.sweeper.params.outputs": {"sweeper": {"params": {"outputs": "/x"}}},
    "hydra": "${vars.hydra}",  # type: ignore[dict-item]
}
ALLOWED: dict[str, dict[str, Any]] = {
    "launcher": {"launcher": {"n_jobs": 4, "gpus": [0, 1], "stack": False, "threads_each": None}},
    "cluster": {"launcher": {"slurm_partition": "gpu", "slurm_gres": "gpu:a100:1", "mem_gb": 8, "timeout_min": 5}},
    "search": {"sweeper": {"n_trials": 3, "objectives": [{"value": "models.distilled.val"}], "study_name": "mine"}},
    "parameters": {"sweeper": {"params": {"seed": "range(0,3)", "student": "choice(a,b)", "vars.x": "${seed}"}}},
    "sampler": {"sweeper": {"sampler": {"_target_": "optuna.samplers.TPESampler", "multivariate": True}}},
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_the_command_lines_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_place({"hydra": REFUSED[key]}, {}, "conf/mine.yaml")
    assert str(error.value).startswith(f"conf/mine.yaml sets {key}, which no file may: ")
    check_place({"hydra": REFUSED[key]}, {"hydra": REFUSED[key]}, "conf/config.yaml")  # a copy of ours says it, too


@pytest.mark.parametrize("name", ALLOWED)
def test_numbers_and_names_of_a_sweep_are_allowed(name: str) -> None:
    check_place({"hydra": ALLOWED[name], "temperature": 2}, {}, "conf/mine.yaml")


@pytest.mark.parametrize("folder", ["/x", "a/../../x", "${vars.x}", None, 5, {"a/../../x": 1}])
def test_outputs_of_a_file_stay_in_the_working_folder(folder: Any) -> None:
    check_place({"outputs": "runs/mine"}, {}, "conf/mine.yaml")
    with pytest.raises(ConfigError, match="kd run outputs=FOLDER"):
        check_place({"outputs": folder}, {}, "conf/mine.yaml")


def test_groups_of_hydra_that_a_file_may_choose() -> None:
    check_chosen_groups(["/hydra/launcher", "/hydra/sweeper/sampler", "/data", "_self_"], [], "experiment/x", "x.yaml")
    check_chosen_groups(["hydra/job_logging"], ["hydra/job_logging"], "config", "config.yaml")
    for group, at in {
        "/hydra/job_logging": "a/b",
        "hydra/env": "config",
        "callbacks": "hydra/x",
        "/hydra/env/x": "a",
    }.items():
        with pytest.raises(ConfigError, match="on the command line"):
            check_chosen_groups([group], [], at, "x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:HOME}",
        r"\${oc.env:HOME}",
        r"\\\${oc.create:{a: 1}}",
        "${ oc.decode : x}",
        "a${vars.x}b${oc.env:HOME}",
        "${oc.select:a,${oc.env:HOME}}",
        "${${vars.name}:x}",
        '${${oc.select:vars.name,"}"}:x}',
        "${oc.${vars.name}:HOME}",
        "${mine:1}",
        "${'oc.env':HOME}",
    ],
)
def test_resolvers_that_read_or_make_are_refused(text: str) -> None:
    with pytest.raises(UntrustedTargetError, match=r"conf/x.yaml:3 uses the resolver"):
        check_interpolations(text, "conf/x.yaml:3")


@pytest.mark.parametrize(
    "text",
    [
        "${vars.x}",
        "${data.${vars.kind}.size}",
        "${now:%H:%M}",
        "${hydra:runtime.cwd}",
        "12:30",
        "${oc.select:a,b}",
        "${a",
    ],
)
def test_harmless_ones_pass(text: str) -> None:
    check_interpolations(text, "conf/x.yaml:3")


@pytest.mark.parametrize("text", ["x" * 2000 + "${a}", "${a}" * 51])
def test_a_text_that_would_take_minutes_or_gigabytes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"conf/x.yaml:3: a text with interpolations"):
        check_interpolations(text, "conf/x.yaml:3")
    check_interpolations(text.replace("${a}", "a"), "conf/x.yaml:3")


def test_all_of_ours_are_harmless() -> None:
    names = {name for path in conf_dir().rglob("*.yaml") for name in find_resolvers(path.read_text(encoding="utf-8"))}
    assert names == {"now", "kd_unique"}


# -- where Hydra reads them -------------------------------------------------------------------------------------------

FILES = {
    "conf/config.yaml seems to be another project's": {"config": "defaults: [db: mysql]\nserver: {port: 1}\n"},
    "conf/config.yaml:3: ": {"config": "a: 1\nb: [\n"},
    "conf/experiment/mine.yaml:2 uses the resolver 'oc.env'": {"experiment/mine": "a: 1\nb: '${oc.env:HOME}'\n"},
    "chooses hydra/env": {"experiment/mine": "# @package _global_\ndefaults: [{override /hydra/env: default}]\n"},
    "data/_base.yaml is put into hydra.callbacks": {
        "experiment/mine": "defaults: [/data/sotu@_global_.hydra.callbacks]\n"
    },
    "the configuration is composed of more than 200 files": {
        "experiment/mine": "defaults: [{/vars@a: x0}, {/vars@b: x0}]\n",
        **{f"vars/x{i}": f"defaults: [{{/vars@a: x{i + 1}}}, {{/vars@b: x{i + 1}}}]\n" for i in range(12)},
        "vars/x12": "c: 1\n",
    },
    "its aliases stand for more than": {
        "experiment/mine": "vars:\n  a0: &a0 [1, 2]\n"
        + "".join(f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
    },
    "stand for too many values": {
        "experiment/mine": "# @package _global_\nvars:\n  a0: [1, 2]\n"
        + "".join(f"  a{i}: ['${{vars.a{i - 1}}}', '${{vars.a{i - 1}}}']\n" for i in range(1, 30))
    },
}


def plant(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("said", FILES)
def test_a_file_is_refused_in_one_line(
    said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(FILES[said], tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hydra_guard, "MAX_FILES", 200)
    words = ["experiment=mine"] if "experiment/mine" in FILES[said] else []
    answer = kd(capsys, "run", *words)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert "Traceback" not in answer.err


def test_a_link_out_of_the_folder_is_not_followed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("token: hunter2\n")
    (tmp_path / "here" / "conf" / "vars").mkdir(parents=True)
    (tmp_path / "here" / "conf" / "vars" / "mine.yaml").symlink_to(secret)
    monkeypatch.chdir(tmp_path / "here")
    answer = kd(capsys, "run", "+vars=mine", "--cfg", "job")
    assert answer.code == 2
    assert "conf/vars/mine.yaml leads out of conf" in answer.err
    assert "hunter2" not in answer.out + answer.err


def test_a_copy_of_ours_works_and_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("config", "hydra/launcher/submitit_local", "hydra/sweeper/optuna", "sweep/pareto", "debug/fast_dev_run")
    monkeypatch.setattr(hydra_guard, "_announced", set())
    plant({name: (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8") for name in names}, tmp_path)
    before = settings_of("debug=fast_dev_run", "hydra/launcher=submitit_local", "sweep=pareto")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert settings_of("debug=fast_dev_run", "hydra/launcher=submitit_local", "sweep=pareto") == before
    settings_of("debug=fast_dev_run", "hydra/launcher=submitit_local", "sweep=pareto")
    said = capsys.readouterr().err
    assert said.startswith("kd: these files are read instead of kd's own: ")
    assert sorted(said.strip().split("kd's own: ")[-1].split(", ")) == sorted(f"conf/{name}.yaml" for name in names)
    assert said.count("\n") == 1


def test_words_of_the_command_line_are_the_users(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", "elsewhere")
    words = (
        "hydra/job_logging=default",
        "hydra.verbose=true",
        "+hydra.job.env_set.A=b",
        "hydra.run.dir=${oc.env:HERE}",
    )
    answer = kd(capsys, "run", *words, "--cfg", "hydra")
    assert answer.code == 0
    assert "filename: ${hydra.runtime.output_dir}/${hydra.job.name}.log" in answer.out or "kd.log" in answer.out
    assert "A: '***'" in answer.out  # set, and hidden: it may be a secret


def test_a_package_on_the_search_path_is_not_imported_unasked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "stranger_conf").mkdir()
    (tmp_path / "stranger_conf" / "__init__.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    answer = kd(capsys, "run", "hydra.searchpath=[pkg://stranger_conf]", "--cfg", "job")
    assert answer.code == 2
    assert "set KD_LIGHTNING_TRUST=stranger_conf" in answer.err
    assert not (tmp_path / "mark").exists()
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "stranger_conf")
    assert kd(capsys, "run", "hydra.searchpath=[pkg://stranger_conf]", "--cfg", "job").code == 0
    assert (tmp_path / "mark").exists()


def test_trust_is_not_set_by_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    answer = kd(capsys, "run", "+hydra.job.env_set.KD_LIGHTNING_TRUST=x")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert "KD_LIGHTNING_TRUST=... kd run" in answer.err
