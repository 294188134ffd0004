"""What is wrong with a job, a line a problem: the place, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from manymodels.job.document import Path, shown
from manymodels.job.fields import JobField, job_fields, nearest, type_text
from manymodels.redaction import redact

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["Sources", "describe"]

_MOST = 20


@dataclass
class Sources:
    """Where a job's values came from.

    Attributes:
        label: Of the whole job: the file's path, or ``the job`` when there is none.
        places: Path of a value to its place: ``job.yaml:7``, ``--set training.timeout``, a variable's name.
    """

    label: str = "the job"
    places: dict[Path, str] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """The place of a value, or of the nearest thing around it."""
        return self.places.get(self.known(path), self.label)

    def known(self, path: Path) -> Path:
        """The longest start of a path that has a place; empty when none has."""
        return next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self.places), ())

    def replace(self, path: Path, places: Mapping[Path, str]) -> None:
        """A value was put over what the job had there."""
        self.places = {old: place for old, place in self.places.items() if old[: len(path)] != path}
        self.places.update({(*path, *inner): place for inner, place in places.items()})


def describe(error: ValidationError, value: Mapping[str, Any], sources: Sources) -> str:
    """The message for a job that does not hold: a line a problem.

    Args:
        error: Of pydantic.
        value: The job, as given.
        sources: Where its values came from.
    """
    problems = [_Problem.of(detail, value) for detail in error.errors(include_url=False)]
    # Of the alternatives of a type, the one that failed deeper down was meant.
    deeper = {problem.path[:length] for problem in problems for length in range(len(problem.path))}
    problems = [problem for problem in problems if problem.path not in deeper]
    rank = {path: number for number, path in enumerate(sources.places)}
    problems.sort(key=lambda problem: rank.get(sources.known(problem.path), len(rank)))
    meant = {(*p.path[:-1], p.meant) for p in problems if p.kind == "extra_forbidden" and p.meant}
    lines = []
    for _, group in groupby(problems, key=lambda problem: problem.path):
        alternatives = list(group)
        # A field that is missing because its name is misspelt is one mistake, not two.
        if alternatives[0].kind == "missing" and alternatives[0].path in meant:
            continue
        lines.append(f"{sources.place(alternatives[0].path)}: {_line(alternatives)}")
    lines = list(dict.fromkeys(lines))
    rest = [] if len(lines) <= _MOST else [f"{sources.label}: and {len(lines) - _MOST} more problems"]
    return "\n".join([*lines[:_MOST], *rest])


@dataclass(frozen=True)
class _Problem:
    """One of pydantic's errors, placed in the job as written.

    Attributes:
        path: In the job as written; a missing or unknown field's own name at its end.
        kind: Pydantic's name for it.
        found: The value at the path.
        reason: The text of an error that a validator raised; else empty.
        meant: For an unknown field, what was probably meant.
    """

    path: Path
    kind: str
    found: Any
    reason: str
    meant: str | None

    @classmethod
    def of(cls, detail: ErrorDetails, job: Mapping[str, Any]) -> _Problem:
        kind = detail["type"]
        value: Any = job
        path: list[str | int] = []
        for part in detail["loc"]:
            # Pydantic's location also names alternatives of a type, and fields that short forms leave out.
            if isinstance(value, Mapping) and part in value and not isinstance(part, str):
                kind, value = "invalid_key", part
                break
            in_list = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
            if in_list or (isinstance(value, Mapping) and part in value):
                value = value[part]
                path.append(part)
        if kind == "missing":
            path.append(detail["loc"][-1])
        reason = str(detail["ctx"]["error"]) if kind == "value_error" else ""
        meant = nearest(_names(path)) if kind == "extra_forbidden" else None
        return cls(tuple(path), kind, value, reason, meant)


def _line(alternatives: Sequence[_Problem]) -> str:
    """What is wrong at one path; ``alternatives`` are the types that its value failed to be."""
    problem = alternatives[0]
    known = job_fields().get(_names(problem.path))
    unknown = next((other for other in alternatives if other.kind == "extra_forbidden"), None)
    if unknown is not None:
        return f"unknown field {_name(problem.path)}; {_hint(problem.path, unknown.meant)}"
    if problem.kind == "missing":
        meaning = f": {known.description}" if known is not None and known.description else ""
        return f"{_name(problem.path)} is required{meaning}".removesuffix(".")
    if problem.kind == "invalid_key":
        return f"the names in {_name(problem.path)} must be text; found {_found(problem.found)}"
    if len(alternatives) == 1 and problem.reason:
        reason = " ".join(redact(problem.reason).split())
        return f"{_name(problem.path)}: {reason}" if problem.path else reason
    if problem.kind == "too_short":
        return f"{_name(problem.path)} must not be empty"
    return f"{_name(problem.path)} must be {_expected(problem.path, known)}; found {_found(problem.found)}"


def _expected(path: Path, known: JobField | None) -> str:
    if known is None:
        around = job_fields().get(_names(path[:-1]))
        inner = None if around is None else around.schema.get("additionalProperties")
        return type_text(inner) if isinstance(inner, dict) else "something else"
    schema = known.schema
    if isinstance(path[-1], int) and "items" not in schema:
        schema = next((part for part in schema.get("anyOf", []) if "items" in part), schema)
    return type_text(schema["items"] if isinstance(path[-1], int) and "items" in schema else schema)


def _found(value: Any) -> str:
    if isinstance(value, str):
        text = redact(value)
        return f"the text {text!r}" if len(text) <= 60 else f"the text {text[:60]!r}…"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number out of range"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def _hint(path: Path, meant: str | None) -> str:
    if meant is not None:
        return f"did you mean `{meant}`?"
    section = _names(path[:-1])
    fields = [known[-1] for known in job_fields() if known[:-1] == section]
    if not fields:
        return f"{_name(path[:-1])} has no fields"
    return f"{_name(path[:-1]) if path[:-1] else 'a job'} takes {', '.join(fields)}"


def _name(path: Sequence[str | int]) -> str:
    """A field as shown: ``data.partition_by``; entries of a list by their number, from 1."""
    entry = f", entry {path[-1] + 1}" if path and isinstance(path[-1], int) else ""
    return f"`{'.'.join(shown(name) for name in path if isinstance(name, str))}`{entry}"


def _names(path: Sequence[str | int]) -> tuple[str, ...]:
    return tuple(name for name in path if isinstance(name, str))
