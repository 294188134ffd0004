"""Where scores go: a folder of Parquet files, or one file; published by one step when all is there."""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manymodels.exceptions import StoreError, UsageError
from manymodels.registry.scores import OUTPUT_MANIFEST, parts_of, staging_of
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MANIFEST", "Sink", "check_output", "write_part"]

_FORMULA = r"^[=+\-@\t\r]"  # how a text begins that a spreadsheet runs

MANIFEST = OUTPUT_MANIFEST

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def check_output(output: str, inputs: Sequence[str], *, overwrite: bool) -> None:
    """Refuse an output that is there already, or that lies inside an input.

    Raises:
        UsageError: With what to do instead.
    """
    place = Storage.at(output)
    if place.is_local:
        target = Path(place.root)
        for text in inputs:
            if "://" in text:
                continue
            source = Path(text).absolute()
            folder = source if source.is_dir() else None
            if target == source or (folder is not None and target.is_relative_to(folder)):
                raise UsageError(f"the output {output} lies inside the input {text}; choose another place")
        if target.exists() and not overwrite:
            raise UsageError(
                f"the output {output} exists; pass --overwrite to replace it, or choose another place"
            )
    elif (
        place.exists("" if Path(output).suffix.lower() in (".parquet", ".csv") else MANIFEST)
        and not overwrite
    ):
        raise UsageError(
            f"the output {output} exists; pass --overwrite to replace it, or choose another place"
        )


def write_part(staging: str, name: str, table: pa.Table) -> None:
    """Write one batch's scores into the staging folder."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    Storage.at(staging).write(name, buffer.getvalue())


class Sink:
    """An output in the making.

    A folder on a disk is staged beside its place and put there in one step. In a folder at a URL, where nothing can be
    renamed, parts are written under names of this scoring, and the manifest, written last, makes them the output.

    Args:
        output: Folder or URL of a folder; a path that ends in ``.parquet`` or ``.csv`` is one file.
        score_id: Makes the names of what is staged unique.

    Attributes:
        staging: Where workers write parts.
        prefix: How the parts' names begin.
    """

    def __init__(self, output: str, score_id: str) -> None:
        self.output = output
        self._place = Storage.at(output)
        self._in_place = not self._place.is_local and self._one_file is None
        self.staging = self._place.root if self._in_place else staging_of(self._place.root, score_id)
        self.prefix = parts_of(score_id) if self._in_place else "part-"

    @property
    def _one_file(self) -> str | None:
        suffix = Path(self.output).suffix.lower()
        return suffix if suffix in (".parquet", ".csv") else None

    def tables(self, parts: Sequence[str]) -> Iterator[pa.Table]:
        """The parts, one after the other."""
        import pyarrow.parquet as pq

        storage = Storage.at(self.staging)
        for part in parts:
            yield pq.read_table(io.BytesIO(storage.read(part)))

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
                return
            content = json.dumps({**details, "parts": list(parts)}, indent=1, default=str).encode()
            Storage.at(self.staging).write(MANIFEST, content)
            if self._in_place:
                self._remove(lambda name: name not in parts)  # of the output that was here before
            else:
                self._replace(Path(self.staging), Path(self._place.root))
        except OSError as error:
            raise StoreError(f"could not write the scores to {self.output}: {error}") from error

    def discard(self) -> None:
        """Remove what was staged."""
        if self._in_place:
            self._remove(lambda name: name.startswith(self.prefix))
        else:
            Storage.at(self.staging).delete("")

    def _remove(self, chosen: Callable[[str], bool]) -> None:
        for name in self._place.listing(""):
            if name.startswith("part-") and chosen(name):
                self._place.delete(name)

    def _publish_file(self, parts: Sequence[str], *, raw: bool) -> None:
        import pyarrow.csv
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory(prefix="manymodels-") as scratch:
            # On a disk beside the parts, so that the last step is a rename.
            folder = Path(self.staging) if self._place.is_local else Path(scratch)
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
            if self._place.is_local:
                self._replace(temporary, Path(self._place.root))
            else:
                folder_url, _, name = self._place.root.rpartition("/")
                Storage.at(folder_url).upload(temporary, name)
        Storage.at(self.staging).delete("")

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


def escape_formulas(table: pa.Table) -> pa.Table:
    """Texts that a spreadsheet would run as a formula get a leading apostrophe, names of columns too."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(place)
            risky = pc.match_substring_regex(column, _FORMULA)
            escaped = pc.binary_join_element_wise(
                pa.scalar("'", field.type), column, pa.scalar("", field.type)
            )
            table = table.set_column(place, field, pc.if_else(pc.fill_null(risky, False), escaped, column))
    return table.rename_columns(
        [f"'{name}" if re.match(_FORMULA, name) else name for name in table.column_names]
    )
