"""The columns of a model set's keys, and the kinds of their values."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import sqlalchemy as sa

from manymodels.registry.connected import Connected
from manymodels.registry.schema import keys, runs

__all__ = ["KeyColumns"]

_DECODED = 200  # keys looked at to tell what kinds a key's columns are; nulls tell nothing
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (str, "string"),
    (bytes, "bytes"),
    (dt.datetime, "timestamp"),
    (dt.date, "date"),
    (Decimal, "decimal"),
)  # a bool is an int, and a datetime a date: the narrower comes first
_NEWEST_JOB = (
    sa.select(runs.c.job)
    .where(runs.c.model_set == sa.bindparam("model_set"))
    .order_by(runs.c.id.desc())
    .limit(1)
)


class KeyColumns(Connected):
    """What a key is made of."""

    def key_columns(self, model_set: str) -> tuple[str, ...]:
        """The key columns of a model set's newest run, in order.

        Raises:
            NotFoundError: There is no such model set.
        """

        def work(connection: sa.Connection) -> tuple[str, ...]:
            owner = self._model_set(connection, model_set)
            job = json.loads(connection.execute(_NEWEST_JOB, {"model_set": owner}).scalar_one())
            return tuple(job["data"]["partition_by"])

        return self._db.read(work)

    def key_kinds(self, model_set: str) -> dict[str, str]:
        """Key column to the kind of its values, as keys have them: ``int``, ``string``, …; all null is ``null``.

        Raises:
            NotFoundError: There is no such model set.
        """
        from manymodels.partitioning.keys import decode

        columns = self.key_columns(model_set)

        def work(connection: sa.Connection) -> list[bytes]:
            owner = self._model_set(connection, model_set)
            some = sa.select(keys.c.canonical).where(keys.c.model_set == owner, keys.c.level == "")
            return list(connection.execute(some.order_by(keys.c.id.desc()).limit(_DECODED)).scalars())

        found = dict.fromkeys(columns, "null")
        for encoded in self._db.read(work):
            for column, value in zip(columns, decode(encoded), strict=False):
                if value is not None and found[column] == "null":
                    found[column] = next(kind for type_, kind in _KINDS if isinstance(value, type_))
        return found
