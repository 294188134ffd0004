"""What all verbs share: their common options, and how results and errors leave the process."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn, TextIO, get_type_hints

import typer

from manymodels.exceptions import ManyModelsError
from manymodels.redaction import redact

__all__ = ["Call", "JobFile", "Sets", "StoreOption", "TrustOption", "verb"]

JobFile = Annotated[str, typer.Argument(metavar="JOB", help="The job file (YAML).", show_default=False)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the job: training.timeout=10s. Repeatable.",
                 show_default=False),
]  # fmt: skip
StoreOption = Annotated[
    str,
    typer.Option("--store", metavar="PATH", envvar="MANYMODELS_STORE", help="The store: a folder or URL."),
]

TrustOption = Annotated[
    str | None,
    typer.Option(
        "--trust",
        metavar="POLICY",
        help="What to trust of the store: hashes, signed or columns-only; your own settings say (docs/store.md).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Call:
    """How a verb was called.

    Attributes:
        json: One JSON object on stdout, and nothing else there.
        debug: Show tracebacks.
        quiet: No progress.
        stdout: Where results go.
    """

    json: bool
    debug: bool
    quiet: bool
    stdout: TextIO

    def emit(self, payload: dict[str, Any], text: Callable[[Any], None]) -> None:
        """Print a result: the payload as JSON, or what ``text`` prints on a console."""
        if self.json:
            print(json.dumps(payload, default=str, allow_nan=False), file=self.stdout)
        else:
            text(console())


def console(*, stderr: bool = False) -> Any:
    """A rich console that is plain where there is no terminal; a pipe is wide, so that no line is cut."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would leave with 1: that the reader has gone is no error

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Piped(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())


def verb(group: typer.Typer, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register ``function(call, …)`` as a verb: it gains ``--json``, ``--debug``, ``--quiet`` and ``-C``.

    Errors leave as one line on stderr (and as ``{"error": …}`` on stdout with ``--json``) with the exit code of their kind.
    An integer that the function returns is the exit code.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name != "call"
        ]
        flags = {
            "json_output": (bool, typer.Option("--json", help="Print one JSON object.")),
            "quiet": (bool, typer.Option("--quiet", "-q", help="No progress.")),
            "debug": (bool, typer.Option("--debug", help="Show the traceback of an error.")),
            "directory": (
                str | None,
                typer.Option("-C", metavar="DIR", help="Work in this folder.", show_default=False),
            ),
        }
        common = [
            inspect.Parameter(
                flag,
                inspect.Parameter.KEYWORD_ONLY,
                default=None if flag == "directory" else False,
                annotation=Annotated[kind, option],
            )
            for flag, (kind, option) in flags.items()
        ]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            call = Call(
                json=values.pop("json_output"),
                debug=values.pop("debug"),
                quiet=values.pop("quiet"),
                stdout=sys.stdout,
            )
            directory = values.pop("directory")
            _run(call, directory, lambda: function(call, **values))

        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        command.__signature__ = inspect.Signature([*keyword, *common])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*keyword, *common]}
        del command.__wrapped__  # typer would look through it
        group.command(name)(command)
        return function

    return register


def _run(call: Call, directory: str | None, action: Callable[[], Any]) -> None:
    try:
        if directory is not None:
            try:
                os.chdir(directory)
            except OSError as error:
                from manymodels.exceptions import UsageError

                raise UsageError(f"cannot work in {directory}: {error.strerror}") from error
        # A model that prints must not break the JSON.
        with contextlib.redirect_stdout(sys.stderr) if call.json else contextlib.nullcontext():
            code = action()
        sys.stdout.flush()
    except ManyModelsError as error:
        _fail(call, error, error.message, error.exit_code)
    except KeyboardInterrupt as error:
        _fail(call, error, "interrupted", 130)
    except BrokenPipeError:
        # The reader has gone (`| head`); nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except typer.Exit:
        raise
    except Exception as error:
        text = f"unexpected {type(error).__name__}: {redact(str(error))}; run again with --debug for the traceback"
        _fail(call, error, text, 1)
    if code:
        raise typer.Exit(code)


def _fail(call: Call, error: BaseException, message: str, code: int) -> NoReturn:
    if call.debug:
        import traceback

        print(redact("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    line = " ".join(message.split("\n")) if "\n" not in message.strip() else message
    print(f"error: {line}", file=sys.stderr)
    if call.json:
        details = {"type": type(error).__name__, "message": message, "exit_code": code}
        for name in ("key", "run"):
            if getattr(error, name, None):
                details[name] = getattr(error, name)
        print(json.dumps({"error": details}))
    raise typer.Exit(code) from error
