"""What scoring a key will cost, before it is known which models there are in the segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from manymodels.job.settings import FitSettings
from manymodels.models.batched.trainers import all_batched
from manymodels.models.families import build
from manymodels.scoring.batch import ScoreSettings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["are_columns", "scored_at_once", "unit_guess", "unit_rows", "unit_seconds"]

# Seconds of a key, and of each of its rows.
_AT_ONCE = (3e-5, 3e-7)
_SINGLY = (2e-3, 2e-6)


def unit_rows(units: pa.Table, settings: ScoreSettings) -> npt.NDArray[np.float64]:
    """Rows to predict of each unit. Shape (units,)."""
    rows: npt.NDArray[np.float64] = (
        units.column("input_rows").fill_null(settings.horizon).to_numpy().astype(np.float64)
    )
    return rows


def are_columns(fit: FitSettings) -> bool:
    """Whether a run's models are kept as columns, as far as its candidates tell: such models need no child."""
    # The user's own modules are imported in the child only.
    return fit.code is None and all_batched(build(each, fit.spec.task) for each in fit.candidates)


def scored_at_once(units: pa.Table, settings: ScoreSettings, fit: FitSettings) -> npt.NDArray[np.bool_]:
    """Which units should be scored in one call with others. Shape (units,).

    Args:
        units: One row per key (``scoring.units``).
        settings: Of the scoring.
        fit: Of the run whose models serve.
    """
    found: npt.NDArray[np.bool_] = units.column("segment").is_valid().to_numpy() & are_columns(fit)
    if settings.history is not None:  # a model that is continued is an object of its own
        found &= units.column("history_rows").is_null().to_numpy()
    return found


def unit_seconds(
    units: pa.Table, settings: ScoreSettings, at_once: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """About what each unit will take. Shape (units,).

    Args:
        units: One row per key (``scoring.units``).
        settings: Of the scoring.
        at_once: Of ``scored_at_once``.
    """
    rows = unit_rows(units, settings)
    return np.where(at_once, _AT_ONCE[0] + _AT_ONCE[1] * rows, _SINGLY[0] + _SINGLY[1] * rows)


def unit_guess(fit: FitSettings) -> float:
    """About what a unit will take, as long as its rows are not known."""
    return _AT_ONCE[0] if are_columns(fit) else _SINGLY[0]
