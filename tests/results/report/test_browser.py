"""The page in a real browser: widths, clipped letters, dark mode. Skipped where there is no Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.results.report.run.run_report import write_report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not looked at")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
# The page in frames of several widths; what they measure is written into the outer page. A headless window cannot be
# as narrow as a phone, a frame can.
MEASURE = """
<body>{frames}<pre></pre><script>addEventListener("load", () => {{
  const seen = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, box = page.querySelector(".scroll");
    const charts = [...page.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().width > 0);
    const clipped = charts.flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {{
      const ink = text.getBBox(), view = svg.viewBox.baseVal;
      return ink.x < -1 || ink.x + ink.width > view.width + 1 || ink.y < 0 || ink.y + ink.height > view.height + 1;
    }}).map(text => text.textContent));
    const letters = charts.map(svg => 13 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width);
    return {{page: page.documentElement.scrollWidth, table: box.scrollWidth, box: box.clientWidth, clipped, letters,
      charts: charts.map(svg => svg.getAttribute("class"))}};
  }});
  document.querySelector("pre").textContent = JSON.stringify(seen);
}})</script>
"""


def browse(page: Path, folder: Path, *flags: str) -> str:
    """What Chromium writes to standard output for a page."""
    profile = folder / "profile"
    args = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout


@pytest.fixture
def page(results: dict[str, Any], write_run: Callable[..., Path]) -> Path:
    return write_report(write_run(results, config__yaml="long: " + "x" * 400))


def test_it_fits_a_phone_and_a_desktop(page: Path, tmp_path: Path) -> None:
    source = escape(page.read_text(encoding="utf-8"))
    frames = "".join(f'<iframe width={w} height=900 style="border:0" srcdoc="{source}"></iframe>' for w in (360, 1100))
    outer = tmp_path / "outer.html"
    outer.write_text(MEASURE.format(frames=frames), encoding="utf-8")
    dom = browse(outer, tmp_path, "--window-size=1200,900", "--dump-dom")
    phone, desktop = json.loads(unescape(re.findall(r"<pre>(\[.*\])</pre>", dom)[-1]))
    assert phone["page"] == 360
    assert phone["table"] > phone["box"]  # the table scrolls in its own box
    assert phone["charts"] == ["chart narrow", "chart narrow"]
    assert desktop["page"] == 1100
    assert desktop["table"] == desktop["box"]
    assert desktop["charts"] == ["chart wide", "chart wide"]
    assert phone["clipped"] == desktop["clipped"] == []
    assert min(phone["letters"] + desktop["letters"]) > 12  # pixels


@pytest.mark.parametrize(("scheme", "paper"), [(1, (0xFF, 0xFF, 0xFF)), (0, (0x14, 0x17, 0x1B))], ids=["light", "dark"])
def test_it_follows_the_color_scheme(page: Path, tmp_path: Path, scheme: int, paper: tuple[int, ...]) -> None:
    shot = tmp_path / "shot.png"
    flags = (f"--blink-settings=preferredColorScheme={scheme}", "--window-size=900,600", f"--screenshot={shot}")
    browse(page, tmp_path, *flags)
    png = shot.read_bytes()
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (900, 600)
    assert first_pixel(png) == paper


def first_pixel(png: bytes) -> tuple[int, ...]:
    """Red, green and blue of the upper left corner: no PNG filter changes the first pixel of the first row."""
    data, at = b"", 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += 12 + size
    return tuple(zlib.decompress(data)[1:4])
