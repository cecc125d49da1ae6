"""``kd init FILE``: look at a table of texts or a folder of images, and write an experiment for it. Imports no torch."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.cli.config_files import create_config_file
from kd_lightning.cli.init_display import print_profile, print_shared_texts
from kd_lightning.cli.predict import check_word
from kd_lightning.config.conf_files import list_groups
from kd_lightning.config.resolution import escape_node
from kd_lightning.data.image_files import as_text, holds_images
from kd_lightning.data.rows.label_readers import LABEL_SEPARATOR, MULTI_LABEL
from kd_lightning.data.rows.text_folder import holds_text_files
from kd_lightning.data.rows.values import HUB_PREFIX
from kd_lightning.data.table_profile import TableProfile, profile_table
from kd_lightning.errors import KDError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable

INIT_HELP = """\
kd init FILE|FOLDER [--task NAME] [--teacher PATH] [--student NAME] [--text COLUMN] [--label COLUMN] [--name NAME] [--force]

  kd init reviews.csv                       look at the file, write conf/experiment/reviews.yaml
  kd init reviews.csv --teacher models/big  with a Hugging Face model as the teacher: a folder, or a name of the hub
  kd init train.csv --val val.csv --test test.csv
                                            with files for validation and test
  kd init photos                            a folder of images: photos/CLASS/*.png or photos/{train,val,test}/CLASS/*.png
  kd init tickets.csv --task multi_label --label topics --separator "|"
                                            several labels a row, in one column, or of 0 and 1: --label urgent,billing
  kd init snippets.csv --task regression --label rating
                                            a number for each text

FILE is a .csv, .tsv, .jsonl (each also .gz) or .parquet with a text and a label in each row, or a folder that holds one of .txt
files for each class; --text and --label name their columns where names and values do not tell. --name is the experiment's name,
else the file's; --force replaces a file.
"""
BATCH_SIZE = 32
DRAWN_SHARE = 0.1
"""Of the rows, for each of validation and test that has no file; as in ``conf/data/_texts.yaml``."""
INIT_OPTIONS = {
    "--teacher": "models/big",
    "--student": "bilstm",
    "--text": "review",
    "--label": "stars",
    "--task": "multi_label",
    "--separator": ";",
    "--val": "val.csv",
    "--test": "test.csv",
    "--name": "reviews",
}
"""With a value -> an example of it."""
PRETRAINED_EPOCHS, PRETRAINED_LEAST = 3, 200
EPOCHS, LEAST_STEPS, MOST_STEPS = 10, 300, 3000
PRETRAINED_RATE, OWN_RATE, STUDENT_RATE = "0.00005", "0.001", "0.003"
"""Learning rates: usual ones for fine-tuning, and for small networks from scratch."""
TRANSFORMER_TARGET = re.compile(r"^_target_:.*transformer", re.MULTILINE | re.IGNORECASE)
"""In the file of a model that learns at ``OWN_RATE``: what suits convolutions is too much for attention."""
RATES = ((re.compile(r"^_target_:.*huggingface", re.MULTILINE), PRETRAINED_RATE), (TRANSFORMER_TARGET, OWN_RATE))
"""What a model's file says -> its learning rate."""
DEFAULT_STUDENT, OWN_TEACHER, PRETRAINED_TEACHER = "bilstm", "text_transformer", "hf"
"""Choices of the group ``model``."""
INIT_LOSSES = {"text_classification": "kd", "multi_label": "binary_kd", "regression": "regression_mse"}
"""Task -> the loss to begin with."""


@dataclass(frozen=True)
class InitArguments:
    """What the words ask for; None = not said."""

    file: str
    teacher: str | None = None
    student: str | None = None
    text: str | None = None
    label: str | None = None
    task: str = "text_classification"
    separator: str = LABEL_SEPARATOR
    val: str | None = None
    test: str | None = None
    name: str | None = None
    force: bool = False


@dataclass(frozen=True)
class InitPlan:
    """Sizes of the trainings, from the number of rows.

    Attributes:
        batch_size: Rows of a step.
        epoch: Steps of one pass over the training rows.
        teacher_steps: Of the teacher.
        student_steps: Of the student, pre-training included.
    """

    batch_size: int
    epoch: int
    teacher_steps: int
    student_steps: int


def run_init_verb(words: list[str]) -> int:
    """The verb; the exit code.

    Raises:
        KDError: The words are not understood, the file cannot be read, or the experiment is there already.
    """
    if any(word in ("-h", "--help") for word in words):
        print(INIT_HELP, end="")
        return 0
    request = parse_init_arguments(words)
    if request.file.startswith(HUB_PREFIX):
        raise KDError(
            f"{request.file} needs no file of settings: kd run data={request.file} finds its columns and labels"
        )
    for named in (request.file, request.val, request.test, request.teacher):
        check_utf8(named or "")
    name = request.name or make_experiment_name(request.file)
    check_experiment_name(name, request.force)
    check_student(request.student)
    folder = Path(request.file)
    if folder.is_dir() and (holds_images(folder) or not holds_text_files(folder)):
        from kd_lightning.cli.init_images import plan_images  # which imports from here

        text, plan = plan_images(name, request)
    else:
        text, plan = plan_table(name, request)
    target = Path("conf") / "experiment" / f"{name}.yaml"
    create_config_file(target, text.encode(), request.force)
    print(f"\n{target}: {describe_trainings(plan, request.teacher is not None)}")
    print(f"Next: kd run experiment={name}")
    return 0


def plan_table(name: str, request: InitArguments) -> tuple[str, InitPlan]:
    """Look at the file and say what is in it; the text of the experiment's file, and the sizes of the trainings.

    Raises:
        KDError: The file cannot be read.
    """
    check_word("--task", request.task, INIT_LOSSES)
    several = request.task == MULTI_LABEL and "," in (request.label or "")
    label = (request.label or "").split(",") if several else request.label
    profile = profile_table(request.file, request.text, label, task=request.task, separator=request.separator)
    print_profile(profile)
    print_shared_texts(profile, {"train": request.file, "val": request.val, "test": request.test})
    drawn = (request.val is None) + (request.test is None)
    plan = plan_trainings(round(profile.rows * (1 - DRAWN_SHARE * drawn)), request.teacher is not None)
    return write_experiment(name, profile, plan, request), plan


# -- words ------------------------------------------------------------------------------------------------------------


def parse_init_arguments(words: list[str]) -> InitArguments:
    """The file and the options.

    Raises:
        KDError: There is no file or more than one, or an option is not known or has no value.
    """
    files: list[str] = []
    options: dict[str, str] = {}
    force, rest = False, list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--force":
            force = True
        elif name in INIT_OPTIONS:
            if not equals and not rest:
                raise KDError(f"{name}: a value is expected, as in {name} {INIT_OPTIONS[name]}")
            options[name.removeprefix("--")] = value if equals else rest.pop(0)
        elif word.startswith("-"):
            raise KDError(f"no option {name!r}{did_you_mean(name, [*INIT_OPTIONS, '--force'])} (see kd init --help)")
        else:
            files.append(word)
    if len(files) != 1:
        raise KDError(f"{len(files)} files: name one, as in kd init reviews.csv (see kd init --help)")
    return InitArguments(files[0], force=force, **options)


def check_utf8(path: str) -> None:
    """A path can stand in a file of YAML.

    Raises:
        KDError: It is not UTF-8.
    """
    if as_text(path) != path:
        raise KDError(f"{escape_unprintable(as_text(path))}: this path is not UTF-8: rename what is not")


def make_experiment_name(file: str) -> str:
    """The name of a file or folder as the name of an experiment.

    Example:
        >>> [make_experiment_name(file) for file in ("a/My reviews.v2.csv.gz", "2024.tsv", "my photos/")]
        ['my_reviews_v2', 'data_2024', 'my_photos']
    """
    whole = re.sub(r"(\.gz)?$", "", os.path.basename(os.path.abspath(file)).lower())
    stem = whole.rpartition(".")[0] or whole
    name = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")
    return name if name.isidentifier() else f"data_{name}".rstrip("_")


def check_experiment_name(name: str, force: bool) -> None:
    """It is one word, and no experiment is called so yet.

    Raises:
        KDError: It is not.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise KDError(f"--name {name}: letters, digits and underscores are expected, as in --name reviews")
    if name in list_groups()["experiment"] and not force:
        raise KDError(f"there is an experiment {name} already: choose another --name, or replace it with --force")


def check_student(student: str | None) -> None:
    """There is such a model.

    Raises:
        KDError: There is none.
    """
    models = list_groups()["model"]
    if student is not None and student not in models:
        raise KDError(f"--student {student}: no such model{did_you_mean(student, models)} (see kd ls model)")


def choose_student_rate(student: str | None, usual: str) -> str:
    """The learning rate of a student.

    Args:
        student: Choice of the group ``model``; None = the default one.
        usual: Of networks without attention.
    """
    file = list_groups()["model"].get(student or "")
    text = "" if file is None else file.read_text(encoding="utf-8")
    return next((rate for target, rate in RATES if target.search(text)), usual)


# -- what is written --------------------------------------------------------------------------------------------------


def plan_trainings(rows: int, pretrained: bool) -> InitPlan:
    """Steps for so many training rows.

    Args:
        rows: That train.
        pretrained: The teacher has been trained on other texts already.

    Example:
        >>> plan_trainings(3200, pretrained=True)
        InitPlan(batch_size=32, epoch=100, teacher_steps=300, student_steps=1000)
    """
    batch_size = min(BATCH_SIZE, max(1, rows // 2))
    epoch = math.ceil(rows / batch_size)
    steps = min(max(EPOCHS * epoch, LEAST_STEPS), MOST_STEPS)
    return InitPlan(batch_size, epoch, max(PRETRAINED_EPOCHS * epoch, PRETRAINED_LEAST) if pretrained else steps, steps)


def describe_trainings(plan: InitPlan, pretrained: bool) -> str:
    """The steps, and the rule that they come from."""
    rule = f"{EPOCHS} epochs, between {LEAST_STEPS} and {MOST_STEPS} steps"
    teacher = f"{PRETRAINED_EPOCHS} epochs, at least {PRETRAINED_LEAST} steps" if pretrained else rule
    return (
        f"an epoch has {plan.epoch:,} steps of {plan.batch_size} rows; teacher {plan.teacher_steps:,} steps ({teacher}), "
        f"student {plan.student_steps:,} ({rule})"
    )


def write_experiment(name: str, profile: TableProfile, plan: InitPlan, request: InitArguments) -> str:
    """The text of the experiment's file."""
    teacher, rate = (OWN_TEACHER, OWN_RATE) if request.teacher is None else (PRETRAINED_TEACHER, PRETRAINED_RATE)
    label = profile.label if isinstance(profile.label, str) else list(profile.label)
    data: dict[str, str | int | list[str]] = {
        "path": relative_to_here(request.file),
        "text": profile.text,
        "label": label,
    }
    if request.separator != LABEL_SEPARATOR:
        data["label_separator"] = request.separator
    data |= {
        f"{split}_path": relative_to_here(file)
        for split, file in (("val", request.val), ("test", request.test))
        if file
    }
    data["batch_size"] = plan.batch_size
    model = "" if request.teacher is None else f"model: {{path: {quote(locate_teacher_model(request.teacher))}}}, "
    settings = ", ".join(f"{key}: {quote(value)}" for key, value in data.items())
    described = "with a number each" if profile.numbers is not None else f"of {len(profile.labels)} classes"
    loss = INIT_LOSSES[request.task]
    student_rate = choose_student_rate(request.student, STUDENT_RATE)
    return f"""\
# @package _global_
# kd run experiment={name}
# {escape_unprintable(profile.path.name)}: {profile.rows:,} texts {described}.
defaults:
  - override /task: {request.task}
  - override /data: table
  - override /model@teacher.model: {teacher}
  - override /model@student.model: {request.student or DEFAULT_STUDENT}
  - override /loss: [{loss}]
  - override /teacher_outputs: auto
data: {{{settings}}}
teacher: {{{model}optimizer: {{lr: {rate}}}, steps: {plan.teacher_steps}}}
student: {{optimizer: {{lr: {student_rate}}}, steps: {plan.student_steps}, pretrain_steps: {plan.student_steps // 2}}}
"""


def quote(value: str | int | list[str]) -> str:
    """A value in YAML that stays as it is: text in quotes, and no ``${`` that would be resolved."""
    return json.dumps(escape_node(value), ensure_ascii=False)


def relative_to_here(file: str) -> str:
    """A path as it is written: from the working folder if it lies below it, else absolute."""
    path = Path(os.path.abspath(file))
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.as_posix()


def locate_teacher_model(teacher: str) -> str:
    """As ``relative_to_here``, of a folder; a name of the hub is left as it is.

    Raises:
        KDError: It is a path, and nothing is there.
    """
    if Path(teacher).exists():
        return relative_to_here(teacher)
    if teacher.startswith((".", "/", "~")) or teacher.count("/") > 1:
        raise KDError(f"--teacher {teacher}: no such folder; name a folder, or a model of the hub as OWNER/NAME")
    return teacher
