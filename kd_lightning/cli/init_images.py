"""``kd init FOLDER``: look at a folder of images and write the experiment that distills on it. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from kd_lightning.cli.init import (
    DRAWN_SHARE,
    InitArguments,
    InitPlan,
    choose_student_rate,
    plan_trainings,
    quote,
    relative_to_here,
)
from kd_lightning.cli.init_display import print_class_counts, show
from kd_lightning.data.image_profile import ImageProfile, profile_images
from kd_lightning.errors import KDError
from kd_lightning.safety.terminal import escape_unprintable

LARGEST_SIZE, SIZE_STEP = 64, 4
"""Pixels: what a CPU trains on in minutes, and what patches of a ``vit_tiny`` divide."""
IMAGE_TEACHER, IMAGE_STUDENT = "resnet_small", "convnet_tiny"
"""Choices of the group ``model``."""
IMAGE_TEACHER_RATE, IMAGE_STUDENT_RATE = "0.005", "0.03"
"""Learning rates, as in ``conf/experiment/images.yaml``."""
OF_TABLES = ("task", "teacher", "text", "label", "separator", "val", "test")
"""Options that a folder of images has no use for."""


def plan_images(name: str, request: InitArguments) -> tuple[str, InitPlan]:
    """Look at the folder and say what is in it; the text of the experiment's file, and the sizes of the trainings.

    Raises:
        KDError: An option is of tables alone, or the folder cannot be read.
    """
    for option in OF_TABLES:
        if getattr(request, option) != getattr(InitArguments, option):
            raise KDError(f"--{option} is for tables of texts, and {request.file} is a folder: leave it out")
    profile = profile_images(Path(request.file))
    print_image_profile(profile)
    size, channels = choose_size(profile), 3 if profile.in_color else 1
    show(
        f"size          {size} pixels: the shorter side in the middle, {LARGEST_SIZE} at most, a multiple of {SIZE_STEP}"
        " (data.size)"
    )
    show(f"channels      {channels}: {profile.in_color:,} images are in color (data.channels)")
    drawn = sum(split not in profile.split_counts for split in ("val", "test"))
    plan = plan_trainings(round(profile.split_counts["train"] * (1 - DRAWN_SHARE * drawn)), pretrained=False)
    return write_image_experiment(name, profile, plan, request, size, channels), plan


def print_image_profile(profile: ImageProfile) -> None:
    """What is in the folder."""
    counts = ", ".join(f"{split} {count:,}" for split, count in profile.split_counts.items())
    show(f"{profile.path}: {profile.images:,} images" + (f" ({counts})" if profile.in_splits else ""))
    print_class_counts(profile.label_counts, "images", profile.images)
    smallest, largest = (f"{width:,} x {height:,}" for width, height in (profile.smallest, profile.largest))
    show(f"sizes         {smallest} to {largest} pixels, the shorter side {profile.median_side:,} in the middle")
    show(f"duplicates    {profile.duplicates:,} (copies of an earlier file)")
    show(f"conflicts     {profile.conflicts:,} (copies of a file of another class)")
    if profile.in_splits:
        show(
            f"leakage       {profile.leaks:,} (copies of a file of another split; data.duplicates=drop leaves them out)"
        )
    if profile.ignored:
        show(f"ignored       {profile.ignored:,} (files that are no image)")
    for problem in profile.problems[:1]:
        show(f"unreadable    {len(profile.problems):,}, and a run needs all: {problem}")


def choose_size(profile: ImageProfile) -> int:
    """``data.size`` in pixels."""
    return max(SIZE_STEP, min(profile.median_side, LARGEST_SIZE) // SIZE_STEP * SIZE_STEP)


def write_image_experiment(
    name: str, profile: ImageProfile, plan: InitPlan, request: InitArguments, size: int, channels: int
) -> str:
    """The text of the experiment's file."""
    path = quote(relative_to_here(request.file))
    half = plan.student_steps // 2
    rate = choose_student_rate(request.student, IMAGE_STUDENT_RATE)
    return f"""\
# @package _global_
# kd run experiment={name}
# {escape_unprintable(profile.path.resolve().name)}: {profile.images:,} images of {len(profile.label_counts)} classes.
defaults:
  - override /task: classification
  - override /data: image_folder
  - override /model@teacher.model: {IMAGE_TEACHER}
  - override /model@student.model: {request.student or IMAGE_STUDENT}
data: {{path: {path}, size: {size}, channels: {channels}, batch_size: {plan.batch_size}}}
teacher: {{optimizer: {{lr: {IMAGE_TEACHER_RATE}}}, steps: {plan.teacher_steps}}}
student: {{optimizer: {{lr: {rate}}}, steps: {plan.student_steps}, pretrain_steps: {half}}}
"""
