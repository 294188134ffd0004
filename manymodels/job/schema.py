"""The JSON schema of the job file, for editors: completion, descriptions, and errors while typing."""

from __future__ import annotations

from typing import Any

from manymodels.job.fields import written_schema

__all__ = ["job_schema"]


def job_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the job file as users write it, short forms allowed.

    What goes across fields (a forecast needs a time column) is checked by ``load_job`` alone.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "manymodels job file",
        **_published(written_schema()),
    }


def _published(schema: Any) -> Any:
    """The schema without ``kind``, which is for the documents."""
    if isinstance(schema, list):
        return [_published(part) for part in schema]
    if isinstance(schema, dict):
        return {name: _published(part) for name, part in schema.items() if name != "kind"}
    return schema
