"""Two thousand keys, one in a hundred poisonous, workers killed at random, the driver killed once: nobody else is hurt."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import until
from wells import Wells

import manymodels as mm

pytestmark = pytest.mark.integration

WELLS = 2_000
RETRIES = 1
POISON = {"raise": "exception", "segfault": "crash", "hang": "timeout", "memory": "memory"}
SETTINGS = (
    "training.timeout=5s",
    f"training.retries={RETRIES}",
    "training.memory=600MiB",
    "training.max_failed=2%",
)


class Killer:
    """Kills a random worker of a driver now and then."""

    def __init__(self, driver: subprocess.Popen[str], kills: int, seed: int) -> None:
        self._driver, self._left, self._random = (
            psutil.Process(driver.pid),
            kills,
            np.random.default_rng(seed),
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill)
        self._thread.start()
        self.killed = 0

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self.killed

    def _kill(self) -> None:
        while self._left and not self._over.wait(self._random.uniform(1.0, 3.0)):
            with suppress(psutil.Error):
                children = self._driver.children()
                workers = [child for child in children if "serve_worker" in " ".join(child.cmdline())]
                if workers:
                    workers[int(self._random.integers(len(workers)))].kill()
                    self._left -= 1
                    self.killed += 1


def test_exactly_the_poison_keys_fail_each_with_its_true_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = Wells(_folder(tmp_path, "calm"), WELLS, "serial").trained_calmly()
    wells = Wells(_folder(tmp_path, "chaos"), WELLS, "{target: local, workers: 2}")
    chosen = np.random.default_rng(0).choice(WELLS, WELLS // 100, replace=False).tolist()
    poison = dict(zip(chosen, list(POISON) * (len(chosen) // len(POISON)), strict=True))
    for well, what in poison.items():
        wells.ask(well, what)
    sets = [word for setting in SETTINGS for word in ("--set", setting)]

    driver = wells.start("train", "job.yaml", *sets)
    killer = Killer(driver, kills=3, seed=1)
    until(lambda: wells.journalled() >= 8 or driver.poll() is not None, 240)
    kills = killer.stop()
    assert driver.poll() is None, "the run was over before its driver could be killed"
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    done = wells.journalled()
    begun = time.monotonic()
    resumed = wells.start("runs", "resume", "wells-000001")
    killer = Killer(resumed, kills=3, seed=2)
    _, errors = resumed.communicate(timeout=600)
    kills += killer.stop()
    assert resumed.returncode == 0, errors
    assert time.monotonic() - begun < 600
    assert done >= 8
    assert kills >= 3

    with wells.registry() as registry:
        run = mm.api.Run(registry, registry.run("wells-000001"))
        outcomes = run.outcomes()
    failed = outcomes[outcomes["state"] == "failed"]
    assert dict(zip(failed["well"], failed["cause"], strict=True)) == {
        well: POISON[what] for well, what in poison.items()
    }
    assert (outcomes["state"] == "trained").sum() == WELLS - len(poison)
    assert wells.models() == {well: value for well, value in calm.items() if well not in poison}
    started = wells.started()
    # A key is blamed at most retries + 1 times by each worker that has it, and only killed workers hand it on.
    most = {well: (RETRIES + 1 if what != "raise" else 1) * (kills + 2) for well, what in poison.items()}
    assert all(started[well] <= most[well] for well in poison)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
