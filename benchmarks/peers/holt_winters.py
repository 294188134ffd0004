"""statsforecast's AutoETS fixed to additive Holt-Winters over series of one length, in two warm processes.

Prints the seconds and the sum of squared one-step errors; run in the peers' environment.
"""

from __future__ import annotations

import argparse
import json
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import statsforecast
from statsforecast.models import AutoETS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("values", type=Path)
    halves = np.array_split(np.load(parser.parse_args().values), 2)
    with get_context("spawn").Pool(2) as pool:
        pool.map(_squares, [half[:2] for half in halves], chunksize=1)  # loads
        began = time.perf_counter()
        squares = sum(pool.map(_squares, halves, chunksize=1))
        seconds = time.perf_counter() - began
    print(json.dumps({"version": statsforecast.__version__, "seconds": seconds, "squares": squares}))


def _squares(values: np.ndarray[Any, Any]) -> float:
    total = 0.0
    for one in values:
        fitted = AutoETS(season_length=7, model="AAA", damped=False).fit(one).predict_in_sample()["fitted"]
        total += float(((one - fitted) ** 2).sum())
    return total


if __name__ == "__main__":
    main()
