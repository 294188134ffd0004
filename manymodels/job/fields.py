"""Every field of the job file as users write it: its type in words, its default, what misspelt ones mean."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from manymodels.job.spec import JobSpec
from manymodels.models.spec import AutoSpec

__all__ = ["JobField", "job_fields", "nearest", "type_text", "written", "written_schema"]

Names = tuple[str, ...]

_STRING = {"type": "string"}


@dataclass(frozen=True)
class JobField:
    """A field of the job file.

    Attributes:
        path: The names that lead to it; those in a list's entries follow the list's own.
        schema: Its JSON schema, references resolved; ``kind`` tells durations, sizes and fractions.
        required: Whether a job file must have it.
        repeated: Whether it belongs to the entries of a list.
    """

    path: Names
    schema: dict[str, Any]
    required: bool
    repeated: bool

    @property
    def dotted(self) -> str:
        """As written in overrides and errors: ``data.partition_by``."""
        return ".".join(self.path)

    @property
    def is_section(self) -> bool:
        """Whether it holds fields of its own."""
        return _object(self.schema) is not None

    @property
    def description(self) -> str:
        """What it means, on one line."""
        return " ".join(self.schema.get("description", "").split())

    @property
    def default(self) -> str:
        """The default as a job file would have it; empty for required fields and sections."""
        if self.required or self.is_section or "default" not in self.schema:
            return ""
        value = written(self.schema["default"], self.schema)
        text = value if isinstance(value, str) else json.dumps(value)
        return text.replace('"', "")

    @property
    def takes_only_text(self) -> bool:
        """Whether plain text is a value of it, and no number or boolean is."""
        types = set(_types(self.schema))
        return "string" in types and not types & {"integer", "number", "boolean"}


@cache
def written_schema() -> dict[str, Any]:
    """The JSON schema of the job file as users write it, short forms allowed, without references."""
    raw = JobSpec.model_json_schema()
    schema: dict[str, Any] = _inlined(raw, raw["$defs"])
    properties = schema["properties"]
    candidate = properties["models"]["items"]
    candidate["required"] = ["family"]
    properties["models"]["items"] = {
        "anyOf": [
            {**_STRING, "description": "A family, with its defaults."},
            {
                "type": "object",
                "description": "A family and its parameters.",
                "propertyNames": {"not": {"const": "family"}},
                "additionalProperties": {"type": ["object", "null"]},
                "minProperties": 1,
                "maxProperties": 1,
            },
            candidate,
        ],
        "kind": "candidate",
    }
    listed = properties["models"]
    auto: dict[str, Any] = _inlined(AutoSpec.model_json_schema(), {})
    properties["models"] = {
        "description": listed.pop("description"),
        "anyOf": [
            {"const": "auto", "description": "The task's own candidates."},
            {
                "type": "object",
                "description": "The task's own candidates, narrowed.",
                "propertyNames": {"const": "auto"},
                "additionalProperties": auto,
                "minProperties": 1,
                "maxProperties": 1,
            },
            listed,
        ],
    }
    for name in ("compute", "store"):
        section = properties[name]
        short = {
            **_STRING,
            "description": "A folder or URL." if name == "store" else "`local`, `serial`, or a file.",
        }
        properties[name] = {"description": section["description"], "anyOf": [short, section]}
    data = properties["data"]
    data["required"] = ["path", *data["required"]]
    data["properties"]["path"] = {
        **data["properties"]["path"],
        "anyOf": [kind for kind in data["properties"]["path"]["anyOf"] if kind != {"type": "null"}],
    }
    del data["properties"]["path"]["default"]
    return schema


@cache
def job_fields() -> dict[Names, JobField]:
    """All fields by path, in the order of the job file; a section comes before its fields."""
    return {field.path: field for field in _walk(written_schema(), ())}


def nearest(path: Names) -> str | None:
    """The field that was probably meant: its name when it is in the same section, else its dotted path."""
    section, name = path[:-1], path[-1].lower()
    best, closest = None, 0.0
    for known, field in job_fields().items():
        sibling = known[:-1] == section
        closeness = difflib.SequenceMatcher(None, name, known[-1]).ratio()
        # A field of another section must be nearly the same.
        if closeness > (0.6 if sibling else 0.75) and closeness + 0.05 * sibling > closest:
            best, closest = known[-1] if sibling else field.dotted, closeness + 0.05 * sibling
    return best


def type_text(schema: dict[str, Any]) -> str:
    """A type in words: ``a whole number of at least 1``."""
    kind = schema.get("kind")
    if kind == "candidate":
        return "a family, or one `family: {parameter: value}`"
    if kind is not None:
        return f"a {kind} ({', '.join(f'`{example}`' for example in schema['examples'])})"
    if "anyOf" in schema:
        return _either([text for part in schema["anyOf"] for text in _alternatives(part)])
    if "enum" in schema:
        return _either(_alternatives(schema))
    match schema.get("type"):
        case "string":
            return "text" if "pattern" not in schema else f"text matching `{schema['pattern']}`"
        case "integer":
            return f"a whole number{_bounds(schema)}"
        case "number":
            return f"a number{_bounds(schema)}"
        case "boolean":
            return "`true` or `false`"
        case "array":
            return f"a list of {_plural(schema['items'])}"
        case "object":
            inner = schema.get("additionalProperties")
            return "a mapping to text" if inner == _STRING else "a mapping"
        case _:
            return "null"


def written(value: Any, schema: dict[str, Any]) -> Any:
    """A value as a person would write it in a job file: 60.0 seconds are ``60s``, 0.01 is ``1%``."""
    kinds = {part.get("kind") for part in (schema, *schema.get("anyOf", []))}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "duration" in kinds:
        return _duration(value)
    if "size" in kinds:
        return _size(int(value))
    if "fraction" in kinds and isinstance(value, float):
        percent = f"{value * 100:.10g}"
        return f"{percent}%" if float(percent) / 100 == value else value
    return value


def _duration(seconds: float) -> str | float:
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds % size == 0 and (seconds > size or unit == "s") and seconds < 1e15:
            return f"{int(seconds // size)}{unit}"
    return seconds


def _size(size: int) -> str | int:
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size % 2**power == 0:
            return f"{size >> power}{unit}"
    return size


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its references resolved, without the titles and the sections' defaults."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return _inlined(
            {**target, **{k: v for k, v in schema.items() if k not in ("$ref", "default")}}, definitions
        )
    found: dict[str, Any] = {}
    for name, part in schema.items():
        if name == "properties":
            found[name] = {field: _inlined(inner, definitions) for field, inner in part.items()}
        elif name == "default":
            found[name] = part
        elif name == "description":
            found[name] = " ".join(part.split())
        elif name not in ("title", "$defs"):
            found[name] = _inlined(part, definitions)
    return found


def _walk(schema: dict[str, Any], path: Names, repeated: bool = False) -> Iterator[JobField]:
    required = schema.get("required", [])
    for name, inner in schema["properties"].items():
        field = JobField((*path, name), inner, name in required, repeated)
        yield field
        for holder, listed in ((_object(inner), repeated), (_object(_entries(inner)), True)):
            if holder is not None:
                yield from _walk(holder, field.path, listed)


def _object(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The part of a schema that has fields, where it has one."""
    return next((part for part in (schema, *schema.get("anyOf", [])) if "properties" in part), None)


def _entries(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list's entries; empty where it is no list."""
    entries: dict[str, Any] = next(
        (part["items"] for part in (schema, *schema.get("anyOf", [])) if "items" in part), {}
    )
    return entries


def _types(schema: dict[str, Any]) -> Iterator[str]:
    if "type" in schema:
        yield schema["type"]
    for part in schema.get("anyOf", []):
        yield from _types(part)


def _alternatives(schema: dict[str, Any]) -> list[str]:
    if "enum" in schema or "const" in schema:
        return [f"`{value}`" for value in schema.get("enum", [schema.get("const")])]
    if len(schema.get("properties", {})) == 1:
        return [f"`{{{next(iter(schema['properties']))}: …}}`"]
    return [type_text(schema)]


def _bounds(schema: dict[str, Any]) -> str:
    return f" of at least {schema['minimum']}" if "minimum" in schema else ""


def _plural(schema: dict[str, Any]) -> str:
    simple = {"string": "text", "number": "numbers", "integer": "whole numbers"}
    if schema.get("kind") == "candidate":
        return "candidates"
    if schema.get("type") in simple and "enum" not in schema:
        return simple[schema["type"]]
    return type_text(schema)


def _either(parts: list[str]) -> str:
    parts = list(dict.fromkeys(parts))
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"
