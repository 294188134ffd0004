"""The job file's ``data`` section."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator

from manymodels.spans import History
from manymodels.specs import Spec

__all__ = ["DataSpec"]


class DataSpec(Spec):
    """Where the rows are, and which column is what."""

    added = frozenset({"as_of", "window"})

    path: str | list[str] | None = None
    """File, folder (hive-partitioned too), glob, URL, or a list of them; Parquet, CSV (also .gz) or Arrow. Required in a
    job file; in Python a DataFrame can take its place."""
    partition_by: list[str] = Field(min_length=1)
    """The key columns: one model per distinct combination of their values."""
    time: str | None = None
    """The time column. Required for forecasts; elsewhere it orders the rows."""
    target: str | None = None
    """The column to predict. Required, except for anomaly detection."""
    frequency: str | None = None
    """Forecasts: a pandas offset alias (old and new spellings), or `step` for integer positions. Inferred when null."""
    features: list[str] | None = None
    """The feature columns; when null, every other column but `ignore`."""
    known_future: list[str] = []
    """Forecasts: features whose future values are known when scoring. The others enter only as lags."""
    categorical: list[str] = []
    """Features to treat as categories, besides those whose type says so."""
    ignore: list[str] = []
    """Columns to leave out."""
    types: dict[str, str] = {}
    """Column to type (`string`, `int64`, `float64`, `bool`, `date`, `timestamp`), where the reader should not guess."""
    where: str | None = None
    """A row filter: an SQL expression over the columns."""
    as_of: str | int | None = None
    """As if it were then: rows after this date (or moment, or position) are seen by nothing; `--as-of` for short. A date alone
    is its whole day. Such a run replaces no champion that saw later rows."""
    window: History | None = None
    """Only each key's newest rows: `2y`, `18mo`, `26w`, `90d` or `36h` back from the key's own last time, or a number of its
    times. Older rows are seen by nothing, fingerprints included."""
    weight: str | None = None
    """The sample-weight column."""
    csv: dict[str, Any] = {}
    """Options of the CSV reader: `separator`, `encoding`, `null_values`, `quote`, `decimal`."""
    min_rows: int = Field(default=10, ge=1)
    """Keys with fewer rows are not fitted: they are `fallback` or `skipped`."""
    on_null_key: Literal["error", "drop", "group"] = "error"
    """Rows with a null in a key column: an error with the count, dropped, or a key of their own."""
    on_duplicate_time: Literal["error", "last", "sum", "mean"] = "error"
    """Forecasts: two rows of one key at one time: an error with the count, or combined (features: the last)."""
    gaps: Literal["leave", "zero", "ffill", "interpolate"] = "leave"
    """Forecasts: what the target is in periods without a row."""

    @field_validator("partition_by", "features", "known_future", "categorical", "ignore")
    @classmethod
    def _unique(cls, names: list[str] | None) -> list[str] | None:
        for name in names or []:
            if (names or []).count(name) > 1:
                raise ValueError(f"column {name!r} is listed twice")
        return names

    def of_other_rows(self, path: str | list[str] | None) -> Self:
        """The section for rows that are not trained on: what chooses among training rows (a filter, a date) is not for them."""
        return self.model_copy(update={"path": path, "where": None, "as_of": None, "window": None})
