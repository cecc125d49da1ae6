"""What a configuration file may set that does not come with kd: it is data, and it may be a stranger's.

``./conf`` is read wherever ``kd`` is started. So a file describes an experiment and the numbers of a sweep; what decides
where things are written, which code runs and what the environment holds is the command line's.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_lightning.errors import ConfigError, UntrustedTargetError

HARMLESS_RESOLVERS = frozenset(
    {"hydra", "kd_unique", "now", "oc.dict.keys", "oc.dict.values", "oc.select", "python_version"}
)
"""They read the configuration and the clock; others read the environment or make new configuration."""
RESOLVER_HEAD = re.compile(r"[^:{}$'\"]*")
MAX_TEXT = 2_000
MAX_INTERPOLATIONS = 50

FILE_GROUPS = ("hydra/launcher", "hydra/sweeper")
"""Groups of Hydra's that a file may choose from, those inside them too."""
LAUNCHER_SETTINGS = frozenset(
    {
        *("_target_", "n_jobs", "threads_each", "gpus", "n_cohorts", "max_jobs", "stack", "cluster", "timeout_min"),
        *("cpus_per_task", "mem_gb", "gpus_per_node", "nodes", "tasks_per_node", "name"),
        *("slurm_partition", "slurm_account", "slurm_qos", "slurm_constraint", "slurm_gres", "slurm_time"),
        *("slurm_array_parallelism", "slurm_mem", "slurm_mem_per_cpu", "slurm_mem_per_gpu", "slurm_cpus_per_gpu"),
        *("slurm_gpus_per_task", "slurm_ntasks_per_node", "slurm_num_gpus", "slurm_nodelist", "slurm_exclude"),
        *("slurm_exclusive", "slurm_signal_delay_s"),
    }
)
"""Numbers and names; what holds lines of a shell script or a path is not among them."""
SWEEPER_SETTINGS = frozenset(
    {"_target_", "n_trials", "n_jobs", "seed", "study_name", "objectives", "params", "sampler", "pruner"}
)
HARMLESS_NAME = re.compile(r"[\w.:,+@%*=-]*", re.ASCII)
"""What a launcher's text may be: it becomes a line of a batch script."""


def check_interpolations(text: str, where: str) -> None:
    """A text of a file uses harmless resolvers alone, also where the interpolation is escaped, and is short where it has any.

    Raises:
        UntrustedTargetError: It uses another.
        ConfigError: It is long: reading it would take minutes, or what it stands for gigabytes.
    """
    if "${" in text and (len(text) > MAX_TEXT or text.count("${") > MAX_INTERPOLATIONS):
        raise ConfigError(
            f"{where}: a text with interpolations ${{...}} has at most {MAX_TEXT:,} characters and {MAX_INTERPOLATIONS} of them"
        )
    for name in find_resolvers(text):
        if name not in HARMLESS_RESOLVERS:
            raise UntrustedTargetError(
                f"{where} uses the resolver {name!r}, which no file may use: write the value itself, or give it on "
                "the command line"
            )


def find_resolvers(text: str) -> Iterator[str]:
    """Names of the resolvers that a text calls, or would call if it were resolved again."""
    for start in (match.end() for match in re.finditer(r"\$\{", text)):
        head = RESOLVER_HEAD.match(text, start)
        assert head is not None
        following = text[head.end() : head.end() + 1]
        if following == ":":
            yield head[0].strip()
        elif following not in ("", "}") and ":" in text[head.end() :]:
            yield f"{head[0]}..."  # the name may itself be put together


def check_place(content: Mapping[str, Any], ours: Mapping[str, Any], shown: str) -> None:
    """A file sets nothing that is the command line's.

    Args:
        content: What the file sets, unresolved, at its place in the whole configuration.
        ours: The same of the file of that name that comes with kd: what stands there may stand here.
        shown: The file, for the message.

    Raises:
        ConfigError: It does.
    """
    known = dict(iterate_leaves(ours))
    for path, value in iterate_leaves(content):
        if path in known and known[path] == value:
            continue
        if path[0] == "hydra" and not is_harmless(path[1:], value):
            raise ConfigError(f"{shown} sets {join_path(path)}, which no file may: {suggest_instead(path)}")
        if path[0] == "outputs" and not (len(path) == 1 and stays_below(value)):
            raise ConfigError(
                f"{shown} sets outputs={value!r}: a file may name a folder inside the working folder; for another one "
                f"write it on the command line: kd run outputs=FOLDER"
            )


def iterate_leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path -> value of everything in nested settings that holds no settings itself; lists are values."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from iterate_leaves(value, (*path, str(key)))
    elif path:
        yield path, node


def is_harmless(path: Sequence[str], value: Any) -> bool:
    """A file may set this below ``hydra``."""
    part, name = (*path, "", "")[:2]
    if part == "launcher":
        values = value if isinstance(value, list) else [value]
        return len(path) == 2 and name in LAUNCHER_SETTINGS and all(map(is_number_or_name, values))
    if part == "sweeper" and name == "params":
        return len(path) == 3 and is_sweep_parameter(path[2])
    return part == "sweeper" and name in SWEEPER_SETTINGS


def is_number_or_name(value: Any) -> bool:
    """No text that could be more than a word."""
    return isinstance(value, (bool, int, float, type(None))) or (
        isinstance(value, str) and HARMLESS_NAME.fullmatch(value) is not None
    )


def is_sweep_parameter(key: str) -> bool:
    """A setting of the experiment: a sweep's parameters become words of its jobs' command lines."""
    return not {"hydra", "outputs"} & set(re.split(r"\W+", key))


def stays_below(folder: Any) -> bool:
    """A folder inside the working folder, written out."""
    return (
        isinstance(folder, str)
        and "${" not in folder
        and not Path(folder).is_absolute()
        and ".." not in Path(folder).parts
    )


def join_path(path: Sequence[str]) -> str:
    return ".".join(path)


def suggest_instead(path: Sequence[str]) -> str:
    """What to type."""
    if path[:3] == ("hydra", "sweeper", "params"):
        return "a sweep's parameters are settings of the experiment"
    return f"write it on the command line: kd run ++{join_path(path)}=..."


def check_chosen_groups(groups: Sequence[str], ours: Sequence[str], config_path: str, shown: str) -> None:
    """The ``defaults`` of a file choose nothing of Hydra's but launcher and sweeper.

    Args:
        groups: As its entries name them.
        ours: The same of the file of that name that comes with kd.
        config_path: The file's place, from which relative groups are meant.
        shown: The file, for the message.

    Raises:
        ConfigError: They do.
    """
    for group in groups:
        whole = group.lstrip("/") if group.startswith("/") else posixpath.join(posixpath.dirname(config_path), group)
        inside = any(whole == each or whole.startswith(f"{each}/") for each in FILE_GROUPS)
        if whole.split("/")[0] == "hydra" and not inside and group not in ours:
            raise ConfigError(f"{shown} chooses {whole}, which no file may: write it on the command line: {whole}=NAME")
