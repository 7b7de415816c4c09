"""Drives Chromium over the DevTools protocol, as far as the tests of the page need it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_START_TIMEOUT_S = 20.0
_WAIT_S = 10.0


def find_chromium() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """A headless Chromium with a separate profile. Leaving its context closes it."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._port_file = profile / "DevToolsActivePort"
        self._process = subprocess.Popen(
            [
                executable, "--headless=new", "--no-sandbox", "--disable-gpu",
                "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._address = f"http://127.0.0.1:{self._wait_for_port()}"

    @contextmanager
    def open_page(self) -> Iterator[Page]:
        """The first tab."""
        with urlopen(f"{self._address}/json") as response:
            targets = json.load(response)
        target = next(target for target in targets if target["type"] == "page")
        # No pings: a browser that is busy starting up answers none for longer than they wait.
        address = target["webSocketDebuggerUrl"]
        with connect(address, max_size=None, ping_interval=None) as connection:
            yield Page(connection)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._port_file.exists() and (lines := self._port_file.read_text().split()):
                return int(lines[0])
            time.sleep(0.05)
        self.__exit__(None, None, None)
        msg = f"chromium gave no DevTools port within {_START_TIMEOUT_S:g} s"
        raise RuntimeError(msg)


class Page:
    """One tab. problems: uncaught exceptions and console errors; requests: addresses fetched."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; events that arrive meanwhile are recorded."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(timeout=_WAIT_S * 2))
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    msg = f"{method}: {answer['error']['message']}"
                    raise RuntimeError(msg)
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def go(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        self.run("window.isOld = true")
        self.send("Page.reload")
        self.wait("!window.isOld && document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression; promises are awaited. Raises its exception."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, expression: str, timeout_s: float = _WAIT_S) -> Any:
        """Wait until a JavaScript expression is true and return its value."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                if value := self.run(expression):
                    return value
            except RuntimeError as error:
                if "context" not in str(error) and "null" not in str(error):
                    raise  # anything else than a document that is not there yet
            time.sleep(0.03)
        msg = f"not true within {timeout_s:g} s: {expression}"
        raise AssertionError(msg)

    def click(self, selector: str) -> None:
        """A real click in the middle of an element."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent",
                type=kind, x=box[0], y=box[1], button="left", clickCount=1,
            )  # fmt: skip

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        codes = {"Enter": 13, "Escape": 27, "Tab": 9}
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "modifiers": 8 if shift else 0}
        code = {"windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common, **code)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile,
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        image = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(image))

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event["method"], event["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.problems.append(json.dumps(parameters["args"])[:500])
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            # Chromium logs each refused request; the tests of errors look at the page instead.
            if entry["level"] == "error" and entry["source"] != "network":
                self.problems.append(entry["text"])
