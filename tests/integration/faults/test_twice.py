"""A batch that runs twice: the first receipt counts, and nothing refers to what the second one wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from wells import Wells

import manymodels as mm
from manymodels.compute.executor import Completion
from manymodels.compute.serial import SerialExecutor
from manymodels.training import engine

pytestmark = pytest.mark.integration

WELLS = 20


class EverythingTwice(SerialExecutor):
    """Runs every task twice, as a cluster may that lost sight of a worker."""

    def __init__(self) -> None:
        self.segments: list[tuple[str, str]] = []

    def run(
        self, function: Callable[[Any], Any], tasks: Iterable[tuple[str, Any]], **options: Any
    ) -> Iterator[Completion[Any]]:
        for task in tasks:
            for completion in super().run(function, [task, task], **options):
                self.segments += [(task[0], info.path) for info in completion.value.segments]
                yield completion


def test_the_first_receipt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wells = Wells(tmp_path, WELLS, "serial")
    monkeypatch.chdir(tmp_path)
    executor = EverythingTwice()
    monkeypatch.setattr(engine, "open_executor", lambda *_, **__: executor)
    run = mm.train(wells.job("training.isolation=none"), progress=False)
    assert (run.summary["trained"], run.summary["promoted"]) == (WELLS, WELLS)
    assert set(wells.started().values()) == {2}
    assert len(run.outcomes()) == WELLS
    first = {}
    for batch, path in executor.segments:
        first.setdefault(batch, path)
    with wells.registry() as registry:
        served = registry.served("wells", "champion")
        assert set(pc.unique(served.column("segment")).to_pylist()) == set(first.values())
        assert registry.journalled("wells-000001").num_rows == registry.run("latest").batches == len(first)
    losers = {path for _, path in executor.segments} - set(first.values())
    assert len(losers) == len(first)
    assert all((tmp_path / ".manymodels" / path).exists() for path in losers)  # for `store gc`
    assert wells.verb("store", "verify")["damaged"] == []
