"""A real Chromium without a window, driven by its DevTools protocol (chromedevtools.github.io/devtools-protocol)."""
import json
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

from websockets.sync.client import connect

from tests.sockets.processes import until

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SOON = 20.0         # seconds for what takes one at most on an idle machine
ARGUMENTS = (
    "--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")        # it asks nobody but this machine


def find() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """With a profile of its own. `visits(url)` is a page of somebody else each time."""

    def __init__(self, folder: Path):
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []     # it refuses to start as root with one
        self.log, port = folder / "log", folder / "profile" / "DevToolsActivePort"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [find(), *ARGUMENTS, *sandbox, f"--user-data-dir={port.parent}", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)})
        number, path = until(lambda: port.exists() and port.read_text().split(), f"{self.process.args[0]} listens", SOON)
        self.numbers, self.connection = count(1), connect(f"ws://127.0.0.1:{number}{path}", max_size=None)
        self.devtools = self.connection.__enter__()

    def __call__(self, method: str, session: str | None = None, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self.devtools.send(json.dumps(message))
        while (answer := json.loads(self.devtools.recv(SOON))).get("id") != number:
            pass                        # events
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def visits(self, url: str, first: str = "") -> "Tab":
        """`first` is run before any script of the page."""
        context = self("Target.createBrowserContext")["browserContextId"]
        target = self("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        tab = Tab(self, self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        tab("Page.enable")
        tab("Page.addScriptToEvaluateOnNewDocument", source=first)
        tab("Page.navigate", url=url)
        return tab

    def close(self):
        try:
            self("Browser.close")
            self.process.wait(SOON)
        finally:
            self.process.kill()
            self.process.wait()
            self.connection.__exit__(None, None, None)


class Tab:
    def __init__(self, chromium: Chromium, session: str):
        self.chromium, self.session = chromium, session

    def __call__(self, method: str, **params):
        return self.chromium(method, self.session, **params)

    def value(self, expression: str):
        result = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str):
        return until(lambda: self.value(expression), expression, SOON)

    def types(self, selector: str, text: str, key: str = ""):
        """As hands do it."""
        assert self.value(f"document.querySelector({json.dumps(selector)}).select() ?? document.hasFocus()") is not None
        self("Input.insertText", text=text)
        if key == "Enter":
            for kind in ("keyDown", "keyUp"):
                self("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
