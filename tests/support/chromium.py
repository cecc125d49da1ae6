"""A headless Chromium that is driven over pipes: real clicks, keys and pointer moves, and all that the page complains of.

Speaks the DevTools protocol, one JSON object a message, each ended by a zero byte. Standard library only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38}
# The browser reads commands from descriptor 3 and answers on 4. First both move out of the way of 3 and 4.
AS_3_AND_4 = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 60  # seconds for an answer


class PageError(AssertionError):
    """An expression raised in the page, or the browser refused a command."""


class Page:
    """One open page.

    Attributes:
        events: Everything the browser told of it, in order.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._write, self._read = to_browser, from_browser
        self._last, self._session = 0, ""
        threading.Thread(target=self._listen, daemon=True).start()

    # -- protocol -----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 16):
            *whole, rest = (rest + chunk).split(b"\0")
            with self._arrived:
                for message in map(json.loads, whole):
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self._arrived.notify_all()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; its result."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        with self._arrived:
            assert self._arrived.wait_for(lambda: number in self._answers, PATIENCE), f"no answer to {method}"
            answer = self._answers.pop(number)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        return answer["result"]

    def attach(self) -> None:
        """Open an empty page and listen to all of it."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    # -- what a person does -------------------------------------------------------------------------------------------

    def open(self, path: Path, width: int = 1300, height: int = 900, dark: bool = False, script: bool = True) -> None:
        """Go to a file and wait until it is loaded."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        with self._arrived:
            self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait(lambda: self.told("Page.loadEventFired"))
        self.send("Runtime.evaluate", expression="0")  # so that the load handlers are through

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise PageError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression in the page is true."""
        poll = f"const at = setInterval(() => {{ if ({expression}) {{ clearInterval(at); done(true); }} }}, 10)"
        assert self.ask(f"new Promise(done => {{ {poll}; setTimeout(() => done(false), 30000); }})"), expression

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view."""
        box = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', inline: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return float(box[0]), float(box[1])

    def click(self, selector: str) -> None:
        """A real click in the middle of an element."""
        x, y = self.place(selector)
        self.point(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def point(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        """A real key."""
        common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        words = {"Enter": "\r", " ": " "}.get(key)
        down = {"type": "keyDown", "text": words} if words else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", **down, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.send("Input.insertText", text=text)

    def shoot(self, path: Path, whole: bool = False) -> None:
        """A picture of what is seen, or of the whole page."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it is printed."""
        found = self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        path.write_bytes(base64.b64decode(found["data"]))

    # -- what the browser told ----------------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], object]) -> None:
        """Until something has been told."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: bool(ready()), PATIENCE), "the browser said nothing"

    def told(self, method: str) -> list[dict[str, Any]]:
        """Parameters of all events of one kind."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def complaints(self) -> list[str]:
        """Exceptions, console errors and warnings, violations of the policy, blocked requests."""
        self.ask("new Promise(done => setTimeout(done, 50))")
        logged = [p["entry"]["text"] for p in self.told("Log.entryAdded")]
        raised = [p["exceptionDetails"]["text"] for p in self.told("Runtime.exceptionThrown")]
        printed = [str(p["args"]) for p in self.told("Runtime.consoleAPICalled") if p["type"] in ("error", "warning")]
        return [*logged, *raised, *printed]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, its own among them."""
        return [p["request"]["url"] for p in self.told("Network.requestWillBeSent")]


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A browser with one empty page, and nothing left of it afterwards."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    words = [sys.executable, "-c", AS_3_AND_4, str(to_read), str(from_write), str(CHROMIUM), *FLAGS]
    profile = tempfile.mkdtemp(prefix="chromium-")
    with subprocess.Popen(
        [*words, f"--user-data-dir={profile}"],
        pass_fds=(to_read, from_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(to_read)
        os.close(from_write)
        try:
            page = Page(to_write, from_read)
            page.attach()
            yield page
        finally:
            os.close(to_write)  # the browser leaves when nobody can command it
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
    for _ in range(20):  # its helpers write for a moment longer
        shutil.rmtree(profile, ignore_errors=True)
        if not os.path.exists(profile):
            break
        time.sleep(0.1)
