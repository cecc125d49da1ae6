"""What ``kd init`` says of a table of texts, or of classes. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from kd_lightning.data.table_profile import LengthSummary, TableProfile, count_shared_texts
from kd_lightning.safety.terminal import escape_unprintable

SHOWN_CLASSES = 20


def print_profile(profile: TableProfile) -> None:
    """What is in the file."""
    show(f"{profile.path}: {profile.rows:,} rows, columns {', '.join(profile.columns)}")
    show(f"text column   {profile.text} ({profile.text_reason})")
    columns = profile.label if isinstance(profile.label, str) else ", ".join(profile.label)
    show(f"label column  {columns} ({profile.label_reason})")
    print_labels(profile, columns)
    show(f"lengths       {format_lengths(profile.words, 'words')}")
    show(f"              {format_lengths(profile.characters, 'characters')}")
    show(f"duplicates    {profile.duplicates:,} (text and label as in an earlier row)")
    show(f"conflicts     {profile.conflicts:,} (text as in an earlier row, another label)")


def print_labels(profile: TableProfile, columns: str) -> None:
    """The numbers, or how many rows each label has."""
    if profile.numbers is not None:
        found = profile.numbers
        show(
            f"numbers       mean {found.mean}, standard deviation {found.std}, from {found.smallest:g} to {found.largest:g}"
        )
        return
    print_class_counts(profile.label_counts, "rows", profile.rows)
    if len(profile.label_counts) > profile.rows / 2:
        show(
            f"warning: most rows have a label of their own; if {columns} is no label, name another column: --label COLUMN"
        )


def print_class_counts(label_counts: Mapping[str, int], unit: str, rows: int) -> None:
    """How many rows, of ``rows``, each class has, the largest first."""
    counts = sorted(label_counts.items(), key=lambda item: -item[1])
    imbalance = counts[0][1] / max(1, counts[-1][1])
    show(f"classes       {len(counts)}, {imbalance:.3g} {unit} of the largest for each of the smallest")
    width = max(len(escape_unprintable(name)) for name, _ in counts[:SHOWN_CLASSES])
    for name, count in counts[:SHOWN_CLASSES]:
        print(f"  {escape_unprintable(name):<{width}}  {count:>9,}  {count / rows:6.1%}")
    if len(counts) > SHOWN_CLASSES:
        print(f"  and {len(counts) - SHOWN_CLASSES} more")


def format_lengths(lengths: LengthSummary, unit: str) -> str:
    """In the middle, of most texts, of the longest."""
    return f"{lengths.median:,} {unit} in the middle, 95 % up to {lengths.most:,}, the longest {lengths.longest:,}"


def print_shared_texts(profile: TableProfile, files: dict[str, str | None]) -> None:
    """How many rows of each file stand in a file that is evaluated later.

    Args:
        profile: Of the training rows.
        files: Split -> its file, or None, in order.
    """
    given = [(split, file) for split, file in files.items() if file is not None]
    for (split, file), (later, other) in itertools.combinations(given, 2):
        count = count_shared_texts(file, other, profile.text)
        show(f"leakage       {count:,} ({split} rows whose text is in {later}; data.duplicates=drop leaves them out)")


def show(line: str) -> None:
    """Print a line with what a file says in it."""
    print(escape_unprintable(line))
