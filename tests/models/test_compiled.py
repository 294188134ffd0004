from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from forecast_cases import family, rows, spec, weekly

from manymodels.models.compiled import compiled
from manymodels.models.forecast import smoothing_kernel, theta_kernel

_DOUBLE = """
from manymodels.models.compiled import compiled

@compiled
def double(x):
    return 2.0 * x

assert double(1.5) == 3.0
print(sum(double.stats.cache_hits.values()))
"""


def test_a_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    script, kept = tmp_path / "double.py", tmp_path / "kept"
    script.write_text(_DOUBLE)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(kept)}
    hits = [
        subprocess.run(
            [sys.executable, str(script)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert hits == ["0", "1"]
    assert list(kept.rglob("*.nbi"))


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same() -> None:
    made: dict[str, Any] = {}
    exec("def double(x):\n    return 2.0 * x", made)  # noqa: S102  # a function without a file has no folder
    double = compiled(made["double"])
    assert double(1.5) == 3.0


def test_fits_compile_for_one_kind_of_array_only() -> None:
    values = weekly(60)
    values.flags.writeable = False
    for name, params in (("ets", {}), ("ets", {"error": "mul", "seasonal": "mul"}), ("theta", {})):
        family(name, **params).fit(rows(values), spec())
        family(name, **params).fit(rows(np.repeat(values, 2)[::2]), spec())
    assert len(smoothing_kernel.fit_each.signatures) == 1
    assert len(theta_kernel.decompose_each.signatures) == 1
