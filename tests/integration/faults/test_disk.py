"""A full disk: fast, with the path and the bytes needed; nothing partial is seen, and with more room the run goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import here_on_path

pytestmark = pytest.mark.integration

STEPS = Path(__file__).with_name("disk_steps.py")


def namespace(mount: Path) -> list[str]:
    """The command that may mount: as root, or as root of a user namespace of its own."""
    for command in (["unshare", "-m"], ["unshare", "-Urm"]):
        probe = [*command, "mount", "-t", "tmpfs", "tmpfs", str(mount)]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return command
    pytest.fail("no way to mount a small disk: neither root nor user namespaces may", pytrace=False)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the steps saw on a tmpfs of one megabyte, in a mount namespace of their own."""
    small = tmp_path_factory.mktemp("disk") / "small"
    small.mkdir()
    done = subprocess.run(
        [*namespace(small), sys.executable, str(STEPS), str(small)],
        env=here_on_path(), capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_rows_that_do_not_fit_end_the_split_and_leave_nothing(seen: Any) -> None:
    assert seen["split"]["error"] == "StoreError"
    assert re.search(
        r"could not write /\S+/small/store/\S+ \(up to [\d,]+ bytes\).*No space left",
        seen["split"]["message"],
    )
    assert not [path for path in seen["split files"] if path.startswith(("datasets/", "tmp/", "runs/"))]


def test_models_that_do_not_fit_end_the_run_and_are_not_seen(seen: Any) -> None:
    assert seen["segment"]["error"] == "RunError"
    pattern = r"could not write /\S+/segments/\S+\.parquet \([\d,]+ bytes\).*No space left.*runs resume wells-000001"
    assert re.search(pattern, seen["segment"]["message"])
    assert (seen["run"], seen["models"]) == ("failed", 0)
    assert not [path for path in seen["segment files"] if ".tmp" in path]
    assert len(seen["segments"]) == seen["receipts"]


def test_with_more_room_the_run_goes_on(seen: Any) -> None:
    assert (seen["resumed"]["trained"], seen["resumed"]["promoted"]) == (20, 20)
    assert seen["served"] == 20


def test_scores_that_do_not_fit_leave_no_output(seen: Any) -> None:
    assert seen["scores"]["error"] == "RunError"  # to be continued by the same command
    assert re.search(
        r"could not write /\S+/small/scores\S* \([\d,]+ bytes\).*No space left", seen["scores"]["message"]
    )
    assert seen["scores files"] == []
    assert seen["small scores"]["result"].endswith("/scores")
