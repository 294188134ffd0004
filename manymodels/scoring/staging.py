"""Where a scoring is in the making, and how the same command finds it again after it was stopped.

Beside a local output ``OUT`` it is the folder ``OUT.<scoring>.partial``; on an object store, which cannot rename, the parts of
a folder are written in place and the rest lies in ``OUT/_scoring`` (of a file, all in ``OUT.partial``). ``claim.json`` says who
makes it and of what plan; ``batches.parquet`` which key is in which batch; a part that is there is done.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import NotFoundError
from manymodels.registry.drivers import Driver
from manymodels.registry.scores import CLAIM, ONE_FILE, staging_of
from manymodels.storage import Storage

__all__ = ["Claim", "Staging", "claims"]

_BATCHES = "batches.parquet"


@dataclass(frozen=True)
class Claim:
    """Who makes an output.

    Attributes:
        score_id: The scoring.
        plan: Fingerprint of everything that decides its content.
        driver: The process that makes it, as ``Driver.to_json`` writes it.
    """

    score_id: str
    plan: str
    driver: str


class Staging:
    """The place where a scoring is in the making.

    Args:
        output: Where the scores will be.
        score_id: The scoring.

    Attributes:
        parts: Root of the parts.
        levels: Root of what is made of the sums above the keys.
    """

    def __init__(self, output: str, score_id: str) -> None:
        place = Storage.at(output)
        self._local = place.is_local
        folder = staging_of(output, score_id)
        in_place = not self._local and not output.lower().endswith(ONE_FILE)
        self.storage = Storage.at(folder)
        self.parts = place.root if in_place else f"{folder}/parts"
        self.levels = f"{folder}/levels"

    def begin(self, claim: Claim, batches: list[npt.NDArray[np.int64]]) -> None:
        """Note what is made here.

        Raises:
            StoreError: It could not be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = np.empty(sum(len(places) for places in batches), dtype=np.int32)
        for batch, places in enumerate(batches):
            number[places] = batch
        buffer = io.BytesIO()
        pq.write_table(pa.table({"batch": number}), buffer, compression="zstd")
        self.storage.write(_BATCHES, buffer.getvalue())
        self.take(claim)

    def take(self, claim: Claim) -> None:
        """Note who makes it from now on."""
        # After a failure of the machine, a scoring that nobody claims is begun again.
        self.storage.write(CLAIM, json.dumps(asdict(claim)).encode(), lasting=False)

    def batches(self) -> list[npt.NDArray[np.int64]]:
        """The units of each batch, ascending."""
        import pyarrow.parquet as pq

        number = pq.read_table(io.BytesIO(self.storage.read(_BATCHES))).column("batch").to_numpy()
        order = np.argsort(number, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []

    def is_driven(self, claim: Claim) -> bool:
        """Whether the process that claims it still works on it."""
        silent = 0.0
        if self._local:
            times = (path.stat().st_mtime for path in Path(self.storage.root).rglob("*") if path.is_file())
            silent = max(0.0, time.time() - max(times, default=0.0))
        driver = Driver.from_json(claim.driver)
        return driver != Driver.here() and driver.is_alive(silent)

    def discard(self) -> None:
        """Remove what is there; parts on an object store are removed when the next output is published."""
        self.storage.delete("")


def claims(output: str) -> Iterator[tuple[Staging, Claim]]:
    """What is in the making, or was left, at an output."""
    place = Storage.at(output)
    names = [""]
    if place.is_local:
        target = Path(place.root)
        beside = target.parent.iterdir() if target.parent.is_dir() else ()
        start, end = f"{target.name}.", ".partial"
        names = [
            path.name[len(start) : -len(end)]
            for path in sorted(beside)
            if path.name.startswith(start) and path.name.endswith(end)
        ]
    for name in names:
        staging = Staging(output, name)
        with contextlib.suppress(NotFoundError, ValueError, TypeError):
            yield staging, Claim(**json.loads(staging.storage.read(CLAIM)))
