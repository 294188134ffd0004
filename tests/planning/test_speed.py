"""How fast this machine is, beside the one of the first guesses."""

from __future__ import annotations

import pytest

from manymodels.planning import speed


@pytest.mark.parametrize(("ticks", "expected"), [(1e-9, 1 / 3), (1e3, 3.0)])
def test_no_machine_is_taken_for_endlessly_fast_or_slow(
    ticks: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, ticks])
    monkeypatch.setattr("manymodels.planning.speed.time.perf_counter", lambda: next(times))
    assert speed.slowness() == expected


def test_a_machine_of_half_the_speed_takes_twice_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2 * speed._REFERENCE * speed._TIMES])
    monkeypatch.setattr("manymodels.planning.speed.time.perf_counter", lambda: next(times))
    assert speed.slowness() == pytest.approx(2.0)
