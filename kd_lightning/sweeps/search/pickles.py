"""CMA-ES keeps its state in the study as a pickle, and whoever made the study may have put any program in its place.

Optuna loads it as it is. Here it is sealed with a key of the user's own, and what somebody else has written is loaded where the
user says so alone. Even then nothing is within reach but what such a state is made of: numbers, arrays and the optimizer itself
(no full protection: arrays can be made that crash the process).
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

from optuna.samplers import _cmaes

from kd_lightning.errors import ConfigError
from kd_lightning.safety.seal import add_seal, split_seal
from kd_lightning.safety.trust import list_packages_in_environment, list_remembered_packages

TRUSTED = "cmaes"
"""What a user trusts who goes on with states of others."""

OPTIMIZERS = re.compile(r"cmaes\._(cma\.CMA|sepcma\.SepCMA|cmawm\.CMAwM)")
ARRAYS = re.compile(r"numpy\.(ndarray|dtype|(_core|core)\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer))")
RANDOM_STATE = re.compile(
    r"numpy\.random\.(_pickle\.(__randomstate_ctor|__bit_generator_ctor)|_mt19937\.MT19937|mtrand\.RandomState)"
)


class StateUnpickler(pickle.Unpickler):
    """Loads the state of a CMA-ES sampler and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "_codecs.encode" or any(known.fullmatch(full) for known in (OPTIMIZERS, ARRAYS, RANDOM_STATE)):
            return super().find_class(module, name)
        raise ConfigError(
            f"the study's CMA-ES state would run {full!r}, which is no part of such a state: somebody has tampered with the "
            "study; choose another hydra.sweeper.study_name or hydra.sweeper.storage"
        )


class StatePickle:
    """Stands for the module ``pickle`` inside Optuna's CMA-ES sampler."""

    @staticmethod
    def dumps(state: Any) -> bytes:
        """The state, sealed."""
        return add_seal(pickle.dumps(state))

    @staticmethod
    def loads(data: bytes) -> Any:
        """The state.

        Raises:
            ConfigError: It is something else, or somebody else's.
        """
        content, own = split_seal(data)
        if not own and TRUSTED not in {*list_packages_in_environment(), *list_remembered_packages()}:
            raise ConfigError(
                "the study's CMA-ES state was not written by you, or in another home: choose another "
                "hydra.sweeper.study_name or hydra.sweeper.storage, or "
                f"trust whoever can write to this study: kd trust add {TRUSTED}"
            )
        try:
            state = StateUnpickler(io.BytesIO(content)).load()
        except ConfigError:
            raise
        except Exception as error:  # what damaged bytes raise inside pickle shares no base class
            raise ConfigError(
                "the study's CMA-ES state cannot be read: choose another hydra.sweeper.study_name"
            ) from error
        if not OPTIMIZERS.fullmatch(f"{type(state).__module__}.{type(state).__name__}"):
            raise ConfigError("the study's CMA-ES state is none: choose another hydra.sweeper.study_name")
        return state


def load_states_as_data() -> None:
    """Make Optuna's CMA-ES sampler load its states so, in this process."""
    _cmaes.pickle = StatePickle  # type: ignore[assignment]
