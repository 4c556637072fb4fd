"""Chromium without a window, driven through its pipe of the DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_S = 60

KEYS = {"Enter": "\r", "Escape": "", "ArrowDown": "", "ArrowUp": "", "ArrowRight": "", "Tab": ""}


def find_browser() -> str | None:
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class BrowserError(Exception):
    pass


class Browser:
    """A browser with one page; what the page complains about and asks for is in lists."""

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self._buffer = b""
        self._number = 0
        self._session = None
        self.complaints = []
        self.requests = []

    def attach(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(1300, 900)

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _next(self):
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            left = end - time.monotonic()
            if left < 0 or not select.select([self._receive], [], [], left)[0]:
                raise BrowserError(f"no answer in {PATIENCE_S} s")
            found = os.read(self._receive, 1 << 20)
            if not found:
                raise BrowserError("the browser has ended")
            self._buffer += found
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        name, details = event["method"], event["params"]
        if name == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(details["exceptionDetails"])[:800])
        elif name == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(details["args"])[:800])
        elif name == "Log.entryAdded":
            self.complaints.append(details["entry"]["text"])
        elif name == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])

    def open(self, path: Path) -> None:
        """Open a page, and wait until everything on it is drawn."""
        self.complaints.clear()
        self.requests.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:800])
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.run(script):
            if time.monotonic() > end:
                raise BrowserError(f"never came true: {script}; {self.complaints}")
            time.sleep(0.02)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.settle()

    def settle(self):
        """Wait until what was asked for is on the screen."""
        self.run(
            "new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(() => f(1))))"
        )

    def media(self, **features):
        """Set features, such as prefers_color_scheme="dark", and the medium, media="print"."""
        medium = features.pop("media", "")
        named = [{"name": name.replace("_", "-"), "value": v} for name, v in features.items()]
        self.call("Emulation.setEmulatedMedia", media=medium, features=named)

    def place(self, selector):
        """Return the middle of an element on the screen, which is scrolled to it."""
        return self.run(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)});"
            "node.scrollIntoView({block: 'center'}); const box = node.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def click(self, selector, *, shift=False, times=1):
        x, y = self.place(selector)
        self.mouse("Moved", x, y)
        for count in range(1, times + 1):
            button = {"button": "left", "clickCount": count, "modifiers": 8 * shift}
            self.mouse("Pressed", x, y, **button)
            self.mouse("Released", x, y, **button)
        self.settle()

    def drag(self, start, end):
        self.mouse("Moved", *start)
        self.mouse("Pressed", *start, button="left", clickCount=1)
        self.mouse("Moved", *end, button="left", buttons=1)
        self.mouse("Released", *end, button="left", clickCount=1)
        self.settle()

    def key(self, name, *, shift=False):
        text = KEYS.get(name, name)
        details = {"key": name, "modifiers": 8 * shift}
        if name == "Tab":
            details |= {"windowsVirtualKeyCode": 9, "code": "Tab"}
        if name == "Enter":
            details |= {"windowsVirtualKeyCode": 13, "code": "Enter"}
        kind = "keyDown" if text else "rawKeyDown"
        self.call(
            "Input.dispatchKeyEvent", type=kind, **({"text": text} if text else {}), **details
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **details)
        self.settle()

    def choose(self, selector, label):
        """Choose the option of a select by its words."""
        self.run(
            f"(() => {{ const select = document.querySelector({json.dumps(selector)});"
            "const place = [...select.options]"
            f".findIndex((one) => one.text === {json.dumps(label)});"
            "if (place < 0) throw new Error('no such option');"
            "select.selectedIndex = place; select.dispatchEvent(new Event('change')); })()"
        )
        self.settle()

    def texts(self, selector):
        """Return the texts of all elements that are on the screen or could be scrolled to."""
        return self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            ".filter((one) => one.getClientRects().length).map((one) => one.textContent)"
        )

    def picture(self, path, *, whole=True):
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print(self):
        """Return the page as PDF, as it would be printed."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(answer["data"])


@contextmanager
def open_browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser whose files are in the folder `profile`; it ends with the block."""
    to_browser, send = os.pipe()
    receive, from_browser = os.pipe()
    moves = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
    ]
    options += ["--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
    options += [f"--user-data-dir={profile}", "--force-color-profile=srgb", "about:blank"]
    process = subprocess.Popen(
        ["/bin/bash", "-c", moves, "bash", program, *options],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        browser = Browser(send, receive)
        browser.attach()
        yield browser
    finally:
        os.close(send)
        os.close(receive)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
