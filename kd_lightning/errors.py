"""Errors that a user can mend. Each message says what is wrong, where, and the fix, in one line.

The command line prints the message alone and exits with 2; everything else is a defect of ours and exits with 1.
"""

from __future__ import annotations

from collections.abc import Iterable


class KDError(ValueError):
    """Base of all errors that name what, where and the fix."""


class ConfigError(KDError):
    """A setting is unknown, of the wrong type or out of range."""


class UntrustedTargetError(ConfigError):
    """A ``_target_`` names code outside the allowlist."""


class MissingExtraError(KDError):
    """An optional package is not installed."""


class EmptyDatasetError(KDError):
    """A split has no rows."""


class DataFormatError(KDError):
    """A data file is not what its format asks for; the message names the line."""


class EmptyTextError(KDError):
    """A row has no text."""


class LeakageError(KDError):
    """The same row stands in two splits."""


class TableError(KDError):
    """Columns of rows do not go together, or one is missing."""


class LabelError(KDError):
    """A label is out of range or of the wrong type."""


class ClassMismatchError(KDError):
    """Two networks, or a network and its data, disagree about the number of classes."""


class VocabMismatchError(KDError):
    """Token ids, vocabulary sizes or tokenizers disagree."""


class SequenceTooLongError(KDError):
    """A sequence is longer than the network's limit."""


class TeacherOutputError(KDError):
    """The teacher's outputs are not finite, or lack what was asked for."""


class TapError(KDError):
    """A tap names no module of the network."""


class StageFailedError(KDError):
    """A stage that this job needs has failed in another job of the same sweep, and is not tried again."""


class Postponed(BaseException):
    """Another job does the stage that this one needs next, and this one makes room meanwhile: it is started again."""


class NonFiniteLossError(KDError):
    """A loss term or a weight became NaN or infinite during training."""


class TrialPruned(KDError):
    """A search has stopped this job on purpose: others were better at the same step."""


class CheckpointCorruptError(KDError):
    """A checkpoint is missing, truncated, damaged or does not fit the network."""


class CheckpointWriteError(KDError):
    """A checkpoint or a result could not be written."""


class ExportError(KDError):
    """An exported model is not the model that it was made of."""


class DeadProcessError(RuntimeError):
    """A process of a training ended without a word: it was killed, or crashed in native code."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'hidden'?"`` for the nearest known word, or the empty string."""
    import difflib  # only here: `kd --help` needs none

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
