"""Every chart of a page as files beside it: ``figures/NAME.svg``, and ``figures/NAME.pdf`` for papers.

The PDFs need fpdf2 (``pip install 'kd-lightning[figures]'``); without it the page says so and the SVGs are there.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from kd_lightning.errors import CheckpointWriteError, KDError
from kd_lightning.results.report.replacing import replace_file
from kd_lightning.results.report.standalone import LegendEntry, standalone_svg

FIGURES_FOLDER = "figures"
NO_PDF = "PDF files of the figures need fpdf2: pip install 'kd-lightning[figures]', then kd report FOLDER."
# The standard fonts of PDF know Latin-1 alone.
LATIN = str.maketrans({"\u2013": "-", "\u2212": "-", "\u2026": "...", "\u2605": "*", "\u2019": "'"})
PDF_DATE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)  # a fixed date: the same figure is the same bytes


@dataclass(frozen=True)
class Figure:
    """A chart with the name of its files.

    Attributes:
        name: Of the files, without a suffix.
        svg: As the page holds it.
        legend: What the page writes below it.
    """

    name: str
    svg: str
    legend: tuple[LegendEntry, ...] = ()


def can_write_pdf() -> bool:
    """fpdf2 is installed; its predecessor, which has the same module, reads no SVG."""
    try:
        importlib.metadata.distribution("fpdf2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def write_figures(figures: Sequence[Figure], page_folder: Path) -> None:
    """Write the files of all figures.

    Args:
        figures: The charts of a page.
        page_folder: Where the page lies.

    Raises:
        KDError: ``figures`` is a link, which could lead anywhere, or a file cannot be written.
    """
    if not figures:
        return
    folder = page_folder / FIGURES_FOLDER
    if folder.is_symlink():
        raise KDError(f"{folder}: is a link, and a report writes into its own folder alone; remove it: rm {folder}")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CheckpointWriteError(f"cannot write {folder}: {error}") from error
    with_pdf = can_write_pdf()
    for figure in figures:
        svg = standalone_svg(figure.svg, figure.legend)
        replace_file(folder / f"{figure.name}.svg", svg.encode("utf-8", errors="replace"))
        if with_pdf:
            replace_file(folder / f"{figure.name}.pdf", draw_pdf(svg))


def draw_pdf(svg: str) -> bytes:
    """One page as large as the figure.

    Args:
        svg: As ``standalone_svg`` writes it.
    """
    import fpdf

    root = ET.fromstring(svg.translate(LATIN).encode("latin-1", errors="replace").decode("latin-1"))
    title = root.findtext("{*}title", "")
    for words in [*root.findall("{*}title"), *root.findall("{*}desc")]:
        root.remove(words)
    width, height = (float(root.get(side, "0")) for side in ("width", "height"))
    pdf = fpdf.FPDF(unit="pt", format=(width, height))
    pdf.set_title(title)
    pdf.set_creation_date(PDF_DATE)
    pdf.set_auto_page_break(False)
    pdf.add_page()
    fpdf.svg.SVGObject(ET.tostring(root, encoding="unicode")).draw_to_page(pdf, 0, 0)
    return bytes(pdf.output())


def link_files(name: str) -> Iterator[str]:
    """Links to a figure's files, for its caption."""
    suffixes = ("svg", "pdf") if can_write_pdf() else ("svg",)
    links = " ".join(f'<a href="{FIGURES_FOLDER}/{escape(name)}.{suffix}">{suffix.upper()}</a>' for suffix in suffixes)
    yield f'<p class="files soft">{links}</p>'
