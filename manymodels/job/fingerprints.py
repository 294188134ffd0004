"""A job as text that is the same for the same job, and the hash of what in it makes a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from manymodels.job.spec import JobSpec
from manymodels.redaction import redacted

__all__ = ["job_fingerprint", "job_json"]

# What decides which rows a key has is left out, because the rows have fingerprints of their own: a moved
# file, another filter or a longer `min_rows` trains nothing again as long as a key's rows stay the same.
_ROWS = {"path", "csv", "where", "as_of", "window", "on_null_key", "min_rows"}
_PARTS: dict[str, Any] = {
    "task": True,
    "models": True,
    "forecast": True,
    "regression": True,
    "evaluation": True,
    "selection": True,
    "anomaly": True,
    "training": {"seed", "max_rows"},
}
# Limits in seconds: who raises one has the keys that hit it trained again with `only: all`, not the whole fleet by itself.
_SECONDS = {"max_seconds", "max_seconds_per_key"}


def job_json(job: JobSpec) -> str:
    """The whole job as canonical JSON: sorted names, no spaces, secrets hidden, placeholders kept.

    ``Job.from_dict`` reads it back (without the hidden secrets).
    """
    return _canonical(redacted(job.model_dump(mode="json")))


def job_fingerprint(job: JobSpec, *, columns: Mapping[str, Any] | None = None) -> str:
    """Hash of what in a job makes its models.

    That is roles of columns, models, forecast, evaluation, selection, seed, ``training.max_rows`` and the levels that
    models are blended with.

    Not in it: limits (those of ``selection`` in seconds, too), compute, promotion, fallback, store, ``evaluation.keep`` and
    ``ranking.top``, which are not meant to change a model; and how the rows are found (``data.path``, ``csv``, ``where``,
    ``as_of``, ``window``, ``on_null_key``, ``min_rows``), since each key's rows have their own fingerprint.

    Args:
        job: The job.
        columns: Fields of ``data`` as settled against the rows, in place of the job's own: a feature list
            that was left to the data is another job when the data has another column.

    Returns:
        32 hex digits.
    """
    data = job.data.model_dump(mode="json", exclude=_ROWS)
    settled = {
        name: list(value) if isinstance(value, tuple) else value for name, value in (columns or {}).items()
    }
    if "features" in settled:
        del data["ignore"]
    parts = job.model_dump(
        mode="json", include=_PARTS, exclude={"evaluation": {"keep"}, "selection": _SECONDS}
    )
    if not parts.get("selection"):
        parts.pop("selection", None)
    parts["forecast"].pop("intervals", None)
    if job.forecast.levels and job.forecast.intervals != "model":  # the only bounds that there were at first
        parts["intervals"] = job.forecast.intervals
    if job.hierarchy is not None and job.hierarchy.blend:
        parts["hierarchy"] = job.hierarchy.model_dump(mode="json", include={"levels", "parent", "rows"})
    content = {**parts, "data": {**data, **settled}}
    return blake2b(_canonical(content).encode(), digest_size=16, person=b"manymodels job 1").hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
