"""A study that somebody else has made runs none of their code."""

from __future__ import annotations

import pickle
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from cmaes import CMA
from optuna.samplers import CmaEsSampler, _cmaes

from kd_lightning.cli.trust import run_trust_verb as trust_verb
from kd_lightning.errors import ConfigError
from kd_lightning.safety import seal
from kd_lightning.sweeps.search.pickles import StatePickle, load_states_as_data
from kd_lightning.sweeps.search.storage import Journal
from tests.sweeps.search_support import search_in, shared_study


class Payload:
    """Makes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def cma_sampler(kind: str) -> CmaEsSampler:
    with pytest.warns(optuna.exceptions.ExperimentalWarning) if kind else pytest.MonkeyPatch.context():
        return CmaEsSampler(seed=0, use_separable_cma=kind == "separable", with_margin=kind == "margin")


@pytest.mark.parametrize("kind", ["", "separable", "margin"])
def test_states_of_every_kind_are_restored(kind: str, tmp_path: Path) -> None:
    """Eight trials are more than one generation: each goes on from the state that the one before has left."""
    shared = shared_study(Journal(tmp_path / "a.journal"), n_trials=8, sampler=lambda seed: cma_sampler(kind))
    search_in(tmp_path / "sweep", shared)
    trials = shared.trials(optuna.trial.TrialState.COMPLETE)
    assert len(trials) == 8
    states = [name for trial in trials for name in trial.system_attrs if "optimizer" in name]
    assert states, "the control: there was a state to restore"


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    seal._key.cache_clear()
    yield tmp_path / "home"
    seal._key.cache_clear()


def test_what_another_user_has_written_is_loaded_where_it_is_trusted_alone(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = CMA(mean=np.zeros(2), sigma=1.0, seed=0)
    written = StatePickle.dumps(state)
    assert np.array_equal(StatePickle.loads(written).mean, state.mean)
    assert stat.S_IMODE((at_home / "kd_lightning" / "seal.key").stat().st_mode) == 0o600
    seal._key.cache_clear()
    assert StatePickle.loads(written).dim == 2, "another process of the same user"
    shutil.rmtree(at_home)
    seal._key.cache_clear()
    with pytest.raises(ConfigError, match="kd trust add cmaes"):
        StatePickle.loads(written)
    with pytest.raises(ConfigError, match="kd trust add cmaes"):
        StatePickle.loads(written[:40] + b"\0" + written[41:])
    assert trust_verb(["add", "cmaes"]) == 0
    assert np.array_equal(StatePickle.loads(written).mean, state.mean)
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", "nowhere")
    seal._key.cache_clear()
    assert StatePickle.loads(StatePickle.dumps(state)).dim == 2, "without a home: in this process"


def test_a_payload_in_the_place_of_a_state_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sampler(seed: int) -> CmaEsSampler:
        return CmaEsSampler(seed=0, n_startup_trials=1)

    shared = shared_study(Journal(tmp_path / "a.journal"), n_trials=2, sampler=sampler)
    search_in(tmp_path / "sweep", shared)
    marker = tmp_path / "marker"
    state = pickle.dumps(Payload(marker))
    planted = optuna.trial.create_trial(
        params=shared.study.trials[0].params,
        distributions=shared.space.distributions,
        value=0.5,
        system_attrs={"cma:optimizer:0": state.hex()},
    )
    shared.study.add_trial(planted)
    pickle.loads(state)
    assert marker.exists(), "the control: loaded as Optuna loads it, it runs"
    marker.unlink()
    more = shared_study(Journal(tmp_path / "a.journal"), n_trials=6, sampler=sampler)
    with pytest.raises(ConfigError, match="was not written by you"):
        search_in(tmp_path / "again", more)
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "cmaes")
    for data in (state, StatePickle.dumps(Payload(marker))):
        with pytest.raises(ConfigError, match=r"is no part of such a state|cannot be read"):
            StatePickle.loads(data)
    assert not marker.exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01", b"cos\nsystem\n(S'true'\ntR."])
def test_only_states_are_loaded(data: bytes) -> None:
    if data == b"\x80\x04K\x01":
        data += b"\x8c\x08builtins\x8c\x04eval\x93."
    for each in (data, seal.add_seal(data), seal.add_seal(pickle.dumps(5))):
        with pytest.raises(ConfigError, match="study_name"):
            StatePickle.loads(each)


def test_optuna_loads_by_the_name_that_is_replaced() -> None:
    """A private name of Optuna's: if it goes, this says so."""
    assert "pickle.loads(" in Path(_cmaes.__file__).read_text(encoding="utf-8")
    load_states_as_data()
    assert isinstance(_cmaes.pickle, type)


@pytest.mark.parametrize("place", ["a.journal", "a.journal.claim.lock", "a.journal.write.lock"])
def test_a_journal_that_is_a_link_is_neither_cut_nor_written(place: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("years of work without a last line's end")
    (tmp_path / place).symlink_to(precious)
    with pytest.raises(ConfigError, match="is a link to"):
        shared_study(Journal(tmp_path / "a.journal"))
    assert precious.read_text() == "years of work without a last line's end"
