from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Browser
from report_fleet import EVIL, MATHS, Fleet

pytestmark = pytest.mark.integration

LARGEST = 3 << 20  # BokehJS is most of it


def _page(fleet: Fleet, name: str, folder: Path) -> Path:
    made = fleet.report(name)
    path = folder / "report.html"
    assert made.write(str(path)) == path.stat().st_size < LARGEST
    return path


@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_the_page_of_a_run_draws_asks_for_nothing_and_complains_of_nothing(
    fleet: Fleet, browser: Browser, tmp_path: Path, width: int
) -> None:
    path = _page(fleet, fleet.run(2).id, tmp_path)
    seen = browser.visit(path, width=width)
    assert [url for url in seen.requests if not url.startswith("data:")] == [path.as_uri()]
    assert seen.errors == []
    assert seen.overflow <= 0
    assert seen.charts >= 12  # skill, errors, coverage, and the keys
    for text in (
        "Run sales-000002",
        "23 of 24 keys have a model of their own.",
        "than a naive one",
        "80 % intervals",
        "Which candidates won",
        "seasonal_naive",
        "Furthest ahead of naive",
        "Compared with run sales-000001",
        "No key failed.",
    ):
        assert text in seen.text


def test_failures_come_with_their_replay_command_and_what_keys_and_errors_say_is_text(
    fleet: Fleet, browser: Browser, tmp_path: Path
) -> None:
    run = fleet.run(4)
    seen = browser.visit(_page(fleet, run.id, tmp_path), width=1000)
    failed = run.outcomes()
    failed = failed[failed["state"] == "failed"]
    assert f"manymodels replay {run.id} --key-id {failed['key_id'].iloc[0]}" in seen.text
    assert "ValueError: <img src=x onerror=alert(#)> cannot fit store #" in seen.text
    assert f"{len(failed) - 1} keys, exception" in seen.text  # the script's message is another
    assert EVIL in seen.text
    assert seen.errors == []


def test_no_text_of_the_data_gets_into_a_script(fleet: Fleet) -> None:
    for number in (2, 4):
        html = fleet.report(fleet.run(number).id).html
        script = html[html.index("<script>") :]
        assert EVIL not in html
        assert MATHS not in script
        assert "store 08" not in script
        assert "<img" not in html


@pytest.mark.parametrize("number", [0, 1])
def test_the_page_of_a_scoring_says_who_served_and_what_was_predicted(
    fleet: Fleet, browser: Browser, tmp_path: Path, number: int
) -> None:
    path = _page(fleet, fleet.scores[number], tmp_path)
    seen = browser.visit(path, width=1200)
    assert [url for url in seen.requests if not url.startswith("data:")] == [path.as_uri()]
    assert seen.errors == []
    assert "23 of 24 keys were served by their own models, 1 by the fallback ladder." in seen.text
    assert ("This is the first scoring" in seen.text) == (number == 0)
    assert ("Compared with sales-score-000001" in seen.text) == (number == 1)
    assert seen.charts >= 7
