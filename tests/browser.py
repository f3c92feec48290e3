"""A headless Chromium that tests look at pages with, through its DevTools protocol."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

# Starting it takes seconds, and minutes on a machine that is busy with other things.
_START_S = 120.0
_ERRORS = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}


class Page:
    """A tab: what it shows, what its console says, and keys pressed in it."""

    def __init__(self, socket: Connection) -> None:
        self._socket, self._number = socket, 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a DevTools method; what the console reports meanwhile is kept in `errors`."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_START_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str, seconds: float = _START_S) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            assert time.monotonic() < end, f"never true: {script}; console: {self.errors}"
            time.sleep(0.2)

    def press(self, key: str) -> None:
        """One key, to whatever has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self) -> np.ndarray:
        """RGB pixels of what the tab shows."""
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") not in _ERRORS:
            return
        parameters = message["params"]
        level = parameters.get("type") or parameters.get("entry", {}).get("level") or "error"
        if level in ("error", "assert"):
            self.errors.append(json.dumps(parameters)[:500])


@contextmanager
def open_page(url: str, profile: Path, size: tuple[int, int] = (640, 480)) -> Iterator[Page]:
    """A fresh browser with one tab at ``url``; skips the test where there is no Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium on this machine: the page cannot be looked at")
    flags = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    flags += [f"--window-size={size[0]},{size[1]}", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
    flags += ["--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"]
    log = profile.with_name(f"{profile.name}.log")
    with log.open("w") as output:
        process = subprocess.Popen([program, *flags, "about:blank"], stdout=output, stderr=output)
    try:
        with connect(_tab(process, log), max_size=None, compression=None, open_timeout=_START_S) as socket:
            page = Page(socket)
            page.send("Page.navigate", url=url)
            page.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
            yield page
    finally:
        process.terminate()
        process.wait(30)


def _tab(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address at which the browser's tab is spoken to."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"DevTools listening on ws://([^/]+)/", log.read_text(errors="replace"))
        if found:
            with urllib.request.urlopen(f"http://{found.group(1)}/json", timeout=_START_S) as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return tabs[0]["webSocketDebuggerUrl"]
        time.sleep(0.2)
    raise AssertionError(f"Chromium did not start: {log.read_text(errors='replace')[-2000:]}")
