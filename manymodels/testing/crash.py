"""A crash harness: kill a process at the n-th call that changes the store or the registry, for every n.

What a run leaves behind when it dies is decided by the calls that were done before: writes, deletions, renames and publications
of the store, and transactions of the registry. The harness counts them and kills the process (SIGKILL) just before one of them,
so that a test can walk through all of them, resume, and compare with an undisturbed run.

A ``Crasher`` is a process that has imported everything and forks for each attempt, so that an attempt costs what it does, and
not the imports of a new interpreter.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from manymodels.exceptions import ManyModelsError

__all__ = ["Attempt", "Crasher", "count_calls", "serve"]

_STORAGE = ("write", "delete", "move", "publish_folder")


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        killed: Whether it came to the call at which it was to be killed.
        calls: Calls that it made; 0 when it was killed.
        value: What the action returned; None when it was killed.
    """

    killed: bool
    calls: int
    value: Any


class Crasher:
    """Runs actions in forked processes, and kills them where asked.

    Args:
        preload: Modules that the actions need, imported once.
        path: Folders to import actions from.
    """

    def __init__(self, preload: Sequence[str], path: Sequence[str] = ()) -> None:
        settings = json.dumps({"preload": list(preload), "path": [*path, *sys.path]})
        boot = "from manymodels.testing.crash import serve; import sys; serve(sys.argv[1])"
        self._server = subprocess.Popen(  # noqa: S603 - this interpreter, our own code
            [sys.executable, "-W", "ignore", "-c", boot, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, *filter(None, sys.path)])},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=30)  # closes its input, which ends it

    def attempt(self, action: str, *arguments: Any, kill_at: int | None = None) -> Attempt:
        """Run an action, and kill it before its n-th call of store or registry.

        Args:
            action: ``module:function``; what it returns must be JSON.
            arguments: JSON.
            kill_at: 1 is the first call; None never kills.

        Raises:
            ManyModelsError: The action raised; with its traceback.
        """
        request = {"action": action, "arguments": arguments, "kill_at": kill_at}
        if self._server.stdin is None or self._server.stdout is None:
            raise ManyModelsError("the crash server has no pipes")
        print(json.dumps(request), file=self._server.stdin, flush=True)
        answer = json.loads(self._server.stdout.readline())
        if "error" in answer:
            raise ManyModelsError(f"{action}{arguments!r} failed:\n{answer['error']}")
        return Attempt(answer["killed"], answer["calls"], answer["value"])


def count_calls(kill_at: int | None) -> Callable[[], int]:
    """Count the calls of this process that change the store or the registry from now on.

    Args:
        kill_at: The call before which the process is killed.

    Returns:
        A function that tells how many there were.
    """
    from manymodels.registry.database import Database
    from manymodels.storage import Storage

    numbers = itertools.count(1)  # each is given once, whatever the threads
    calls = 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            number = next(numbers)
            calls = max(calls, number)
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments, **named)

        return call

    for owner, names in ((Storage, _STORAGE), (Database, ("write",)), (Path, ("replace", "unlink"))):
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))
    return lambda: calls


def serve(settings: str) -> None:
    """The server's side of a ``Crasher``: read requests from standard input, fork, answer on standard output."""
    content = json.loads(settings)
    sys.path[:] = [*content["path"], *(folder for folder in sys.path if folder not in content["path"])]
    for module in content["preload"]:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), file=answers, flush=True)


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        with os.fdopen(sending, "w") as answer:
            json.dump(_acted(request), answer)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and request["kill_at"] is not None:
            return {"killed": True, "calls": 0, "value": None}
        return {"error": f"ended by {signal.Signals(number).name}"}
    found: dict[str, Any] = json.loads(text)
    return found


def _acted(request: dict[str, Any]) -> dict[str, Any]:
    try:
        calls = count_calls(request["kill_at"])
        module, _, name = request["action"].partition(":")
        value = getattr(importlib.import_module(module), name)(*request["arguments"])
        return {"killed": False, "calls": calls(), "value": value}
    except BaseException:
        return {"error": traceback.format_exc()}
