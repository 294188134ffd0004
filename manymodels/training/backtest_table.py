"""Backtests as an Arrow table: the form in which they lie beside a run's segments."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import StoreError, UsageError
from manymodels.models.contract import FitSpec
from manymodels.records import Backtest
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KeptBacktest", "backtest_table", "query_backtests", "read_backtests"]

KeptBacktest = tuple[Sequence[str], Backtest]
"""The keys, by their key_id, and what was predicted of their rows."""

_NO_TIME = np.iinfo(np.int64).min


def backtest_table(kept: Sequence[KeptBacktest], spec: FitSpec, time_kind: str | None) -> pa.Table:
    """Backtests as a table, one row a prediction.

    Its columns are ``key_id``, ``candidate``, ``window``, ``cutoff``, ``time``, ``step``, ``row``, ``actual``, then what the
    task's models predict (see ``FittedModel.predict``).

    Args:
        kept: At least one.
        spec: What the fits knew.
        time_kind: Of the time column (see ``Details``); None without one.
    """
    import pyarrow as pa

    tests = [test for _, test in kept]
    key_ids = pa.array(chain.from_iterable(ids for ids, _ in kept), pa.string())
    lengths = np.concatenate([test.lengths for test in tests])
    keys = np.array([len(test.lengths) for test in tests])
    owner = pa.array(np.repeat(np.arange(len(lengths)), lengths))
    rows = np.array([len(test.row) for test in tests])

    def whole(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate(parts)

    def times(parts: list[npt.NDArray[np.int64]]) -> pa.Array:
        values = whole(parts)
        missing = values == _NO_TIME
        if time_kind == "int":
            return pa.array(values, mask=missing)
        return pa.array(values.view("datetime64[us]"), mask=missing)

    def optional(name: str) -> list[npt.NDArray[np.int64]]:
        """Times or steps; missing where a backtest has none."""
        parts = [getattr(test, name) for test in tests]
        sizes = keys if name == "cutoff" else rows
        return [
            np.full(size, _NO_TIME) if part is None else part for part, size in zip(parts, sizes, strict=True)
        ]

    steps = whole(optional("step"))
    classes = pa.array(list(spec.classes)).type if spec.task == "classification" else None
    columns: dict[str, Any] = {
        "key_id": key_ids.take(owner),
        "candidate": pa.array([test.candidate for test in tests]).take(pa.array(np.repeat(np.arange(len(tests)), rows))),
        "window": np.repeat(np.array([test.window for test in tests], dtype=np.int32), rows),
        "cutoff": times(optional("cutoff")).take(owner),
        "time": times(optional("time")),
        "step": pa.array(steps.astype(np.int32), mask=steps == _NO_TIME),
        "row": whole([test.row for test in tests]).astype(np.int64),
        "actual": _values([test.actual for test in tests], classes),
    }  # fmt: skip
    for name in tests[0].predictions:
        kind = classes if name == "prediction" else None
        columns[name] = _values([test.predictions[name] for test in tests], kind)
    return pa.table(columns)


def read_backtests(
    storage: Storage,
    paths: Collection[str],
    *,
    key_ids: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of some files of backtests, in their order.

    Args:
        storage: The store.
        paths: The files, as outcomes name them; of one job.
        key_ids: Only these keys.
        columns: Only these columns.

    Raises:
        StoreError: A file is missing or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.dataset

    if not paths:
        return pa.table({"key_id": pa.array([], pa.string())})
    wanted = None if key_ids is None else pyarrow.dataset.field("key_id").isin(list(key_ids))
    try:
        return _files(storage, paths).to_table(columns=columns, filter=wanted)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(storage, error) from error


def query_backtests(storage: Storage, paths: Collection[str], keys: pa.Table, sql: str) -> pa.Table:
    """What an SQL query makes of a run's backtests, without loading them all.

    Args:
        storage: The store.
        paths: The files, at least one, as outcomes name them.
        keys: ``key_id``, the key columns, and only the keys wanted.
        sql: A query of DuckDB over the table ``backtests``, which has the key columns in front.

    Raises:
        UsageError: It is no query, or reads anything else.
        StoreError: A file is missing or cannot be read.
    """
    import duckdb
    import pyarrow as pa

    try:
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            connection.register("manymodels_rows", _files(storage, paths))
            connection.register("manymodels_keys", keys)
            connection.execute(
                "CREATE TEMP VIEW backtests AS SELECT * FROM manymodels_keys JOIN manymodels_rows USING (key_id)"
            )
            statements = connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise UsageError(f"expected one SQL query over `backtests`, found {sql!r}")
            return connection.sql(sql).to_arrow_table()
    except duckdb.IOException as error:
        raise _unreadable(storage, error) from error
    except duckdb.Error as error:
        raise UsageError(f"the query over `backtests` failed: {' '.join(str(error).split())}") from None
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(storage, error) from error


def _files(storage: Storage, paths: Collection[str]) -> Any:
    import pyarrow.dataset

    places = [storage.locate(path) for path in paths]
    return pyarrow.dataset.dataset([path for _, path in places], filesystem=places[0][0])


def _unreadable(storage: Storage, error: Exception) -> StoreError:
    return StoreError(f"could not read backtests of the store {storage.root}: {error}")


def _values(parts: list[npt.NDArray[Any]], classes: pa.DataType | None) -> pa.Array:
    """Numbers, missing ones null; or classes."""
    import pyarrow as pa

    if classes is not None:
        return pa.array(list(chain.from_iterable(part.tolist() for part in parts)), classes)
    return pa.array(np.concatenate(parts), from_pandas=True)
