"""What a key will cost: learned from the last run where there is one, else a table of first guesses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BYTES_PER_MODEL", "estimate_seconds", "first_guess"]

BYTES_PER_MODEL = 600.0
"""A first guess of a model's size on disk, before any run has shown it."""

# Family: seconds of a fit, and seconds for every row of it. Rough: they are only used before a first run, and the second
# run uses what the first one took.
_FITS: dict[str, tuple[float, float]] = {
    "mean": (1.0e-4, 1e-8),
    "naive": (1.0e-4, 1e-8),
    "seasonal_naive": (1.0e-4, 1e-8),
    "drift": (1.0e-4, 1e-8),
    "croston": (3e-4, 2e-6),
    "tsb": (3e-4, 2e-6),
    "theta": (3e-3, 1e-5),
    "ets": (5e-3, 2e-5),
    "holt_winters": (5e-3, 3e-5),
    "sarimax": (2e-2, 4e-4),
    "aggregated": (5e-3, 1e-5),
    "lag_regression": (1e-3, 5e-6),
    "isolation_forest": (1.5e-1, 5e-5),
    "robust_zscore": (5e-4, 1e-6),
    "ewma": (5e-4, 1e-6),
}
_ENSEMBLE = (1.5e-1, 1e-4)
_ESTIMATOR = (2e-3, 2e-6)


def first_guess(family: str) -> tuple[float, float]:
    """Seconds of one fit of a family: a constant, and a part for every row."""
    if family in _FITS:
        return _FITS[family]
    return _ENSEMBLE if "ensemble" in family or "neural" in family else _ESTIMATOR


def estimate_seconds(
    manifest: pa.Table, history: pa.Table, *, families: Sequence[str], fits: float, job_hash: str
) -> npt.NDArray[np.float64]:
    """Seconds that each key of the manifest will take.

    A key that the same job trained before costs what it cost then; the others cost the fleet's median seconds a row of
    that job; with no such past, the first guess of each candidate times its fits.

    Args:
        manifest: ``key_id`` and ``rows``.
        history: ``key_id``, ``seconds`` and ``job_hash`` of each key's newest version.
        families: The job's candidates.
        fits: Fits of one candidate on one key: backtest windows or folds, and the refit; less where not all are tried.
        job_hash: Fingerprint of today's job.
    """
    rows = manifest.column("rows").to_numpy().astype(np.float64)
    past = history.select(["key_id", "seconds", "job_hash"]).to_pandas()
    past = past[(past["job_hash"] == job_hash) & past["seconds"].notna()]
    known = (
        manifest.select(["key_id"]).to_pandas().merge(past[["key_id", "seconds"]], on="key_id", how="left")
    )
    learned = known["seconds"].to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(learned).all():
        base = sum(first_guess(family)[0] for family in families)
        slope = sum(first_guess(family)[1] for family in families)
        return np.asarray(fits * (base + slope * rows))
    typical = np.nanmedian(learned / rows)
    return np.asarray(np.where(np.isnan(learned), typical * rows, learned))
