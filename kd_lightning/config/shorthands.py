"""Short words for settings of teacher and student, on the command line and in sweeps: ``teacher=mlp``, ``optimizer.lr=0.01``.

Records and reports keep a word as it was typed; Hydra is given the composed one. Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kd_lightning.data.rows.label_readers import EMBEDDING
from kd_lightning.data.rows.values import HUB_PREFIX
from kd_lightning.errors import ConfigError
from kd_lightning.safety.redaction import redact_override

PARTS = ("model", "optimizer", "scheduler", "hard_loss")
"""What teacher and student each choose a file of, from the group of that name."""
UNDER = {
    "teacher": (*PARTS, "steps", "seed", "train", "checkpoint", "num_labeled"),
    "student": (*PARTS, "steps", "pretrain_steps", "num_labeled", "init", "init_layers"),
}
"""Role -> its settings."""
ROLES = tuple(UNDER)
"""``ROLE=NAME`` chooses the role's model."""
OF_STUDENT = ("optimizer", "scheduler", "hard_loss")
"""Without a role, these are the student's: they are what sweeps vary."""
SHORTHAND_PATTERN = re.compile(r"([+~]*)([^=@]*)(.*)", re.DOTALL)
"""Sign, name up to an ``@``, the rest; fits every text."""


TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz")
"""``data=FILE`` with one of these is a table of texts."""
EMBEDDING_CHOICES = (f"task={EMBEDDING}", f"experiment={EMBEDDING}", f"experiment={EMBEDDING}_layers")
"""``task=embedding`` alone is the experiment of that name: without labels, another scheme and other losses are needed. With
one of these, ``teacher=hf:NAME`` is a model without a head; an experiment of one's own names ``hf_embedder`` itself."""
HUB_RATE = "5e-5"
"""Learning rate of a pretrained model where none is given: the usual one of fine-tuning."""


def expand_files(words: Sequence[str]) -> list[str]:
    """The words of a command; those that name a file, a data set or a pretrained model become choices and a path.

    Example:
        >>> expand_files(["data=reviews.csv", "seed=1"])
        ['experiment=texts', 'data.path=reviews.csv', 'seed=1']
        >>> expand_files(["data=hf:imdb", "experiment=mine"])
        ['data=hf', 'data.path=imdb', 'experiment=mine']
        >>> expand_files(["experiment=mine", "student=hf:models/MiniLM", "student.optimizer.lr=1e-4"])
        ['experiment=mine', 'student=hf', 'student.model.path=models/MiniLM', 'student.optimizer.lr=1e-4']
        >>> expand_files(["task=embedding", "data=texts.csv", "teacher=hf:models/MiniLM", "teacher.optimizer.lr=1"])[:4]
        ['experiment=embedding', 'task=embedding', 'data=table', 'data.path=texts.csv']
    """
    given = {expand(word).partition("=")[0].lstrip("+") for word in words}
    embeds = any(word.lstrip("+") in EMBEDDING_CHOICES for word in words)
    found = [f"experiment={EMBEDDING}"] if embeds and "experiment" not in given else []
    hub = "hf_embedder" if embeds else "hf"
    for word in words:
        name, _, value = word.partition("=")
        if name == "data" and value.lower().endswith(TABLE_ENDINGS):
            found += ["data=table" if "experiment" in given or embeds else "experiment=texts", f"data.path={value}"]
        elif name == "data" and value.startswith(HUB_PREFIX):
            found += [*([] if "experiment" in given or embeds else ["experiment=texts"]), "data=hf"]
            found.append(f"data.path={value.removeprefix(HUB_PREFIX)}")
        elif name in ROLES and value.startswith(HUB_PREFIX):
            found += [f"{name}={hub}", f"{name}.model.path={value.removeprefix(HUB_PREFIX)}"]
            rate = f"{name}.optimizer.lr"
            found += [] if {rate, "experiment"} & given else [f"{rate}={HUB_RATE}"]
        else:
            found.append(word)
    return found


def expand(word: str) -> str:
    """A word as Hydra composes it; one without a shorthand stays as it is.

    Example:
        >>> expand("teacher=mlp"), expand("optimizer=sgd")
        ('model@teacher.model=mlp', 'optimizer@student.optimizer=sgd')
        >>> expand("optimizer.lr=0.1"), expand("teacher.steps=5")
        ('student.optimizer.lr=0.1', 'teacher.steps=5')
    """
    match = SHORTHAND_PATTERN.fullmatch(word)
    assert match is not None
    sign, name, rest = match.groups()
    if rest.startswith("@") or not (rest or sign == "~"):  # a place is named already; no setting at all
        return word
    holds_settings = rest[1:].lstrip().startswith("{")
    if name in ROLES:
        return word if sign or holds_settings else f"model@{name}.model{rest}"
    if name in OF_STUDENT and not holds_settings and sign in ("", "~"):
        return f"{sign}{name}@student.{name}{rest}"
    return f"{sign}student.{name}{rest}" if name.partition(".")[0] in OF_STUDENT else word


def explain_shorthands(words: Iterable[str]) -> str:
    """What the shorthands among the words of a command stand for, in one line; empty where there are none.

    Example:
        >>> explain_shorthands(["-m", "teacher=mlp", "seed=1", "optimizer.lr=0.1,0.2"])
        'teacher=mlp is model@teacher.model=mlp, optimizer.lr=0.1,0.2 is student.optimizer.lr=0.1,0.2'
    """
    composed = {word: expand(word) for word in words}
    return ", ".join(
        f"{redact_override(word)} is {redact_override(whole)}" for word, whole in composed.items() if word != whole
    )


def refuse_two_names(words: Iterable[str]) -> None:
    """No setting is set both by its shorthand and by its whole name: which of them counts would depend on their order.

    Raises:
        ConfigError: One is.
    """
    typed: dict[str, str] = {}
    for word in words:
        name = word.lstrip("+~").partition("=")[0]
        whole = expand(word).lstrip("+~").partition("=")[0]
        other = typed.setdefault(whole, name)
        if other != name:
            raise ConfigError(f"{other} and {name} are the same setting: write one of them")
