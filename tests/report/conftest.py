"""One fleet and one browser for all tests of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Browser
from report_fleet import OWN, Fleet, forecast_job, sales

import manymodels as mm


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "own.py").write_text(OWN)
    rows = sales()
    first = forecast_job(folder, ["mean", "naive"])
    runs = [mm.train(first, rows, progress=False)]
    second = forecast_job(folder, ["seasonal_naive", "mean", "theta"])
    runs.append(mm.train(second, rows, progress=False))
    changed = rows.copy()
    changed.loc[changed["store"] == "store 08", "sales"] += 1
    runs.append(mm.train(second, changed, progress=False))
    runs.append(mm.train(forecast_job(folder, ["own:fit"], name="failing"), rows, progress=False))
    scores = []
    for number in range(2):
        output = str(folder / f"scores-{number}")
        mm.score(second, output=output, progress=False)
        scores.append(f"sales-score-{number + 1:06d}")
    with mm.Registry(folder / "store") as registry:
        yield Fleet(registry, folder, runs, scores, {})


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    started = Browser()
    try:
        yield started
    finally:
        started.close()
