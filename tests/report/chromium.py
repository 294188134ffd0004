"""A page in a real headless Chromium, over its debugging pipe: what it asked for, what it said, what it shows."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Browser", "Visit"]

SECONDS = 60.0


@dataclass(frozen=True)
class Visit:
    """What a page did.

    Attributes:
        requests: URLs that it asked for.
        errors: Exceptions, and what the browser or the page called an error or a warning.
        text: What it shows.
        charts: Canvases with something drawn on them.
        overflow: Pixels by which the page is wider than the window.
    """

    requests: list[str]
    errors: list[str]
    text: str
    charts: int
    overflow: int


class _Pipe:
    """The DevTools protocol on two pipes: JSON messages, a NUL after each."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest, self._sent = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], SECONDS)
            part = os.read(self._read, 1 << 20) if ready else b""
            assert part, "chromium does not answer"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))


_CANVASES = """
  const canvases = [];
  const look = root => root.querySelectorAll('*').forEach(node => {
    if (node.tagName === 'CANVAS' && node.width > 0) canvases.push(node);
    if (node.shadowRoot) look(node.shadowRoot);
  });
  look(document);
"""
_IDLE = f"""(() => {{ {_CANVASES}
  return document.readyState === 'complete' && (canvases.length === 0 || Bokeh.documents.every(each => each.is_idle));
}})()"""
_SEEN = f"""(() => {{ {_CANVASES}
  const drawn = canvases.filter(canvas => {{
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some(value => value > 0);
  }});
  const overflow = document.documentElement.scrollWidth - window.innerWidth;
  return JSON.stringify({{charts: drawn.length, text: document.body.innerText, overflow: overflow}});
}})()"""


class Browser:
    """A headless Chromium with a profile of its own."""

    def __init__(self) -> None:
        program = shutil.which("chromium")
        if program is None:
            pytest.fail("no chromium: run `bash scripts/services.sh`", pytrace=False)
        self._folder = tempfile.mkdtemp(prefix="manymodels-chromium-")
        from_us, to_it = os.pipe()
        from_it, to_us = os.pipe()
        options = [
            *(
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-sync",
            ),
            *("--disable-background-networking", "--disable-component-update"),
            *(f"--user-data-dir={self._folder}", "--remote-debugging-pipe"),
        ]
        # Chromium reads the protocol from descriptor 3 and writes it to 4.
        script = f'exec "$@" 3<&{from_us} 4>&{to_us}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options, "about:blank"],
            pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        self._ends = from_it, to_it
        self._pipe = _Pipe(from_it, to_it)

    def close(self) -> None:
        """End the browser."""
        try:
            self._pipe.call("Browser.close")
            self._process.wait(SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            for end in self._ends:
                os.close(end)
            shutil.rmtree(self._folder, ignore_errors=True)

    def visit(self, page: Path, *, width: int) -> Visit:
        """Open a local page in a window of this width, and wait until its charts are drawn."""
        pipe = self._pipe
        pipe.events.clear()
        target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
        session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            pipe.call(f"{domain}.enable", session)
        pipe.call(
            "Emulation.setDeviceMetricsOverride",
            session, width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        pipe.call("Page.navigate", session, url=page.absolute().as_uri())
        deadline = time.monotonic() + SECONDS
        while pipe.call("Runtime.evaluate", session, expression=_IDLE)["result"].get("value") is not True:
            assert time.monotonic() < deadline, "the page did not come to rest"
            time.sleep(0.1)
        seen = json.loads(pipe.call("Runtime.evaluate", session, expression=_SEEN)["result"]["value"])
        pipe.call("Target.closeTarget", targetId=target)
        asked = [
            event["params"]["request"]["url"]
            for event in pipe.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return Visit(asked, _errors(pipe.events), seen["text"], seen["charts"], seen["overflow"])


def _errors(events: list[dict[str, Any]]) -> list[str]:
    found = []
    for event in events:
        params = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            found.append(str(params["exceptionDetails"]))
        if event["method"] == "Log.entryAdded":
            found.append(str(params["entry"]))
        if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            found.append(str(params["args"]))
    return found
