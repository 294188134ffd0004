"""Where scores go: a folder of Parquet files, or one file; published by one step when all is there."""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manymodels.dataset.files import overlap
from manymodels.exceptions import StoreError, UsageError
from manymodels.registry.scores import ONE_FILE, OUTPUT_MANIFEST
from manymodels.scoring.staging import Staging
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LEVELS", "MANIFEST", "Sink", "check_output", "is_finished", "levels_of"]

MANIFEST = OUTPUT_MANIFEST
LEVELS = "_levels.parquet"
"""The forecasts of the sums above the keys, in the folder of the keys'."""

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a text begins that a spreadsheet runs


def check_output(output: str, inputs: Sequence[str], store: Storage, *, overwrite: bool) -> None:
    """Refuse an output that is there already, or that lies inside an input or the store, or around one.

    Args:
        output: Where scores are to go.
        inputs: Paths, globs and URLs of what is read.
        store: The store.
        overwrite: Whether an output that is there may be replaced.

    Raises:
        UsageError: With what to do instead.
    """
    place = Storage.at(output)
    if place.is_local:
        target = Path(place.root)
        for what, path in (*(("input", path) for path in inputs), ("store", store.root)):
            lies = overlap(path, target)
            if lies is not None:
                raise UsageError(f"the output {output} lies {lies} the {what} {path}; choose another place")
        if target.exists() and not overwrite:
            raise UsageError(
                f"the output {output} exists; pass --overwrite to replace it, or choose another place"
            )
    elif is_finished(output) and not overwrite:
        raise UsageError(
            f"the output {output} exists; pass --overwrite to replace it, or choose another place"
        )


def is_finished(output: str) -> bool:
    """Whether a finished output is there."""
    place = Storage.at(output)
    if not output.lower().endswith(ONE_FILE):
        return place.exists(MANIFEST)
    return Path(place.root).is_file() if place.is_local else place.exists("")


class Sink:
    """An output in the making.

    Args:
        output: Folder or URL of a folder; a path that ends in ``.parquet`` or ``.csv`` is one file.
        staging: Where its parts are.
    """

    def __init__(self, output: str, staging: Staging) -> None:
        self.output = output
        self._staging = staging
        self._local = Storage.at(output).is_local
        self._levels: pa.Table | None = None

    def hold_levels(self, table: pa.Table) -> None:
        """Take the forecasts of the sums above the keys, to be published beside the keys'."""
        self._levels = table

    @property
    def _one_file(self) -> str | None:
        suffix = Path(self.output).suffix.lower()
        return suffix if suffix in ONE_FILE else None

    def tables(self, parts: Sequence[str]) -> Iterator[pa.Table]:
        """The parts, one after the other."""
        import pyarrow.parquet as pq

        storage = Storage.at(self._staging.parts)
        for part in parts:
            yield pq.read_table(io.BytesIO(storage.read(part))).replace_schema_metadata(None)

    def publish(self, parts: Sequence[str], details: Mapping[str, Any], *, raw: bool = False) -> None:
        """Make the output visible, in one step.

        Args:
            parts: The files in the staging folder, in order.
            details: What the manifest says.
            raw: Leave texts in a CSV file as they are; else those that a spreadsheet would run are escaped.

        Raises:
            StoreError: It could not be written.
        """
        try:
            if self._one_file is not None:
                self._publish_file(parts, raw=raw)
            else:
                self._publish_folder(parts, details)
            self._staging.discard()
        except OSError as error:
            raise StoreError(f"could not write the scores to {self.output}: {error}") from error

    def _publish_folder(self, parts: Sequence[str], details: Mapping[str, Any]) -> None:
        storage = Storage.at(self._staging.parts)
        if self._levels is not None:
            storage.write(LEVELS, _parquet(self._levels))
        content = json.dumps({**details, "parts": list(parts)}, indent=1, default=str).encode()
        storage.write(MANIFEST, content)
        if self._local:
            self._replace(Path(storage.root), Path(Storage.at(self.output).root))
            return
        # An object store cannot rename: the parts are in place, the manifest makes them visible, and older ones go.
        for name in storage.listing(""):
            left = name == LEVELS and self._levels is None
            if left or (name.startswith("part-") and name not in parts):
                storage.delete(name)

    def _publish_file(self, parts: Sequence[str], *, raw: bool) -> None:
        import pyarrow.csv
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory(prefix="manymodels-") as scratch:
            # On a disk beside the parts, so that the last step is a rename.
            folder = Path(self._staging.storage.root) if self._local else Path(scratch)
            temporary = folder / f"whole{self._one_file}"
            writer: Any = None
            for table in self.tables(parts):
                if self._one_file == ".csv" and not raw:
                    table = escape_formulas(table)
                if writer is None:
                    writer = (
                        pq.ParquetWriter(temporary, table.schema, compression="zstd")
                        if self._one_file == ".parquet"
                        else pyarrow.csv.CSVWriter(temporary, table.schema)
                    )
                writer.write_table(table)
            writer.close()
            root = Storage.at(self.output).root
            if self._levels is not None:
                self._publish_levels(folder, root)
            if self._local:
                self._replace(temporary, Path(root))
            else:
                beside, _, name = root.rpartition("/")
                Storage.at(beside).upload(temporary, name)

    def _publish_levels(self, folder: Path, root: str) -> None:
        """Put the sums' forecasts beside the file of the keys'."""
        import pyarrow.csv

        whole = self._levels
        temporary = folder / f"levels{self._one_file}"
        if self._one_file == ".csv":
            pyarrow.csv.write_csv(whole, temporary)
        else:
            temporary.write_bytes(_parquet(whole))
        place = levels_of(root)
        if self._local:
            self._replace(temporary, Path(place))
        else:
            beside, _, name = place.rpartition("/")
            Storage.at(beside).upload(temporary, name)

    def _replace(self, new: Path, target: Path) -> None:
        """Put ``new`` where ``target`` is, in one step."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and _exchange(new, target):
            shutil.rmtree(new, ignore_errors=True)
            return
        # Without an exchange, a folder that is in the way has to step aside first.
        aside = target.with_name(f"{target.name}.{os.getpid()}.old")
        if target.is_dir():
            target.replace(aside)
        try:
            new.replace(target)
        except OSError:
            if aside.exists():
                aside.replace(target)
            raise
        with suppress(FileNotFoundError):
            shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths atomically (renameat2, Linux); False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def levels_of(output: str) -> str:
    """Where the forecasts of the sums above the keys are, beside the keys'.

    In a folder they have a name that readers of the folder pass over; beside ``scores.parquet`` it is
    ``scores.levels.parquet``.
    """
    suffix = Path(output).suffix
    if suffix.lower() in ONE_FILE:
        return f"{output[: -len(suffix)]}.levels{suffix}"
    return f"{output.rstrip('/')}/{LEVELS}"


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def escape_formulas(table: pa.Table) -> pa.Table:
    """Texts that a spreadsheet would run as a formula, names of columns too, get a leading apostrophe."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = table.rename_columns(
        [f"'{name}" if name.startswith(_FORMULA) else name for name in table.column_names]
    )
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(place)
            risky = pc.match_substring_regex(column, f"^[{re.escape(''.join(_FORMULA))}]")
            escaped = pc.binary_join_element_wise(
                pa.scalar("'", field.type), column, pa.scalar("", field.type)
            )
            table = table.set_column(place, field, pc.if_else(pc.fill_null(risky, False), escaped, column))
    return table
