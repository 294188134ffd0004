"""The report of a run or a scoring: found by its id, made, and written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manymodels.exceptions import NotFoundError
from manymodels.registry import Registry
from manymodels.registry.records import ScoreRecord
from manymodels.report.facts import read_run
from manymodels.report.page import run_page
from manymodels.report.score_page import score_page
from manymodels.report.scorings import read_scoring, score_tables
from manymodels.report.tables import run_tables
from manymodels.storage import Storage
from manymodels.training.outcome_table import parquet_bytes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report", "report"]


@dataclass(frozen=True, eq=False)
class Report:
    """A report that was made.

    Attributes:
        id: Of the run or the scoring.
        html: The page.
        tables: What it is made of, by name.
    """

    id: str
    html: str
    tables: dict[str, pd.DataFrame]

    @property
    def summary(self) -> dict[str, Any]:
        """The one line of the table ``summary``, JSON-ready."""
        return json.loads(self.tables["summary"].to_json(orient="records", date_format="iso"))[0]  # type: ignore[no-any-return]

    def write(self, output: str) -> int:
        """Write the page; its size in bytes.

        Raises:
            StoreError: It could not be written.
        """
        content = self.html.encode()
        path = Path(output).absolute()
        Storage.at(path.parent).write(path.name, content)
        return len(content)

    def write_tables(self, folder: str) -> list[str]:
        """Write every table as ``<name>.parquet`` and ``<name>.json`` (records); the names.

        Raises:
            StoreError: One could not be written.
        """
        import pyarrow as pa

        place = Storage.at(folder)
        for name, table in self.tables.items():
            place.write(f"{name}.parquet", parquet_bytes(pa.Table.from_pandas(table, preserve_index=False)))
            text = table.to_json(orient="records", date_format="iso", date_unit="us", double_precision=15)
            place.write(f"{name}.json", text.encode())
        return list(self.tables)


def report(registry: Registry, name: str) -> Report:
    """The report of a run or a scoring.

    Args:
        registry: That knows it.
        name: A run's id, the beginning of one, ``latest``; or a scoring's id.

    Raises:
        NotFoundError: There is neither such a run nor such a scoring.
        UsageError: It has not ended, or bokeh is not installed.
    """
    scoring = _scoring(registry, name)
    if scoring is not None:
        score_facts = read_scoring(registry, scoring)
        tables = score_tables(score_facts)
        return Report(scoring.id, score_page(score_facts, tables), tables)
    facts = read_run(registry, registry.run(name))
    tables = run_tables(facts)
    return Report(facts.record.id, run_page(facts, tables), tables)


def _scoring(registry: Registry, name: str) -> ScoreRecord | None:
    try:
        return registry.score(name)
    except NotFoundError:
        return None
