"""Headless Chromium for tests, driven through its own DevTools pipe: no driver and no package besides the browser.

Chromium reads commands from descriptor 3 and answers on descriptor 4, JSON objects that end with a zero byte.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 30.0  # s for an answer
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, " ": 32}


def find() -> str | None:
    """The browser's path; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Tab:
    """One page of a browser.

    Attributes:
      complaints: what the page logged as a warning or an error, exceptions and failed loads included.
      fetched: addresses that the page asked for.
    """

    def __init__(self, write: int, read: int):
        self._write, self._read = write, read
        self._number, self._buffer, self._session = 0, b"", None
        self.complaints: list[str] = []
        self.fetched: list[str] = []
        self._loaded = False
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(self, path: Path, width: int = 1200, height: int = 900, is_dark: bool = False) -> None:
        """Loads a file in a window of a size, in px, with the reader's wish for light or dark."""
        self._loaded = False
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + PATIENCE
        while not self._loaded:
            self._take(deadline)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Sets the window's size, in px, and how many dots a px has."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script!r} raised {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key, down and up."""
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": " "} if key == " " else {}
        self._ask("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def click(self, x: float, y: float) -> None:
        """The left button at a place of the window, in px."""
        self.drag((x, y), (x, y))

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """The left button pressed at one place and let go at another."""

        def mouse(kind: str, place: tuple[float, float], **more: Any) -> None:
            self._ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **more)

        held = {"button": "left", "buttons": 1, "clickCount": 1}
        mouse("mouseMoved", begin)
        mouse("mousePressed", begin, **held)
        if begin != end:
            mouse("mouseMoved", end, **held)
        mouse("mouseReleased", end, **held)

    def screenshot(self, is_whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        answer = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        return base64.b64decode(answer["data"])

    def _ask(self, method: str, **parameters: Any) -> dict:
        """Sends a command and waits for its answer; what else arrives is noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._take(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _take(self, deadline: float) -> dict:
        """The next message; events are noted."""
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {PATIENCE:.0f} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise EOFError("the browser has gone")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        method, given = message.get("method"), message.get("params", {})
        self._loaded |= method == "Page.loadEventFired"
        if method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(given["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(given["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.fetched.append(given["request"]["url"])
        return message


@contextlib.contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """A browser with one empty page and a profile of its own in a folder; it ends with the context.

    Raises:
      FileNotFoundError: there is no browser.
    """
    path = find()
    if path is None:
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed")
    (their_read, our_write), (our_read, their_write) = os.pipe(), os.pipe()
    launch = [sys.executable, "-S", "-c", LAUNCH, str(their_read), str(their_write)]
    with subprocess.Popen(
        [*launch, path, *FLAGS, f"--user-data-dir={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(their_read, their_write),
    ) as process:
        os.close(their_read)
        os.close(their_write)
        try:
            yield Tab(our_write, our_read)
        finally:
            os.close(our_write)
            os.close(our_read)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
