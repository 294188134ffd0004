"""What a key is like, in a few numbers: by them similar keys are found.

Forecasts: strengths of trend and season after Wang, Smith and Hyndman, Characteristic-based Clustering for Time Series Data
(2006): the share of the variance that a line, and then the means of the season's places, explain. Other tasks: a line over
the rows, and a least-squares fit on the numeric features.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from manymodels.exceptions import ManyModelsError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["TRAITS", "traits_of"]

TRAITS = ("length", "season", "intermittency", "trend", "noise", "signal")
"""Length: the logarithm of the number of rows. Season and trend: shares of the variance that they explain. Intermittency:
the share of zeros; of a classification the share of the most frequent class. Noise: what they leave, relative to the size
of the target. Signal: how much of that the value before (forecasts) or the features (other tasks) explain."""


_LEAST = 3  # known targets below which there is nothing to tell


def traits_of(rows: Rows, spec: FitSpec) -> tuple[float, ...]:
    """The traits of a key, one finite number for each of ``TRAITS``; zeros where they cannot be had."""
    length = np.log10(max(len(rows), 1))
    rest: tuple[float, ...] = ()
    with suppress(ManyModelsError, LookupError, TypeError, ValueError, np.linalg.LinAlgError):
        rest = _forecast(rows, spec) if spec.task == "forecast" else _tabular(rows, spec)
    rest = rest or (0.0,) * (len(TRAITS) - 1)
    return tuple(float(value) if np.isfinite(value) else 0.0 for value in (length, *rest))


def _forecast(rows: Rows, spec: FitSpec) -> tuple[float, ...]:
    target = Series.read(rows, Basis.of(spec)).target
    known, values = _known(target)
    if len(known) < _LEAST:
        return ()
    zeros = float((values == 0).mean())
    straight = _without_line(known.astype(np.float64), values)
    season = spec.season_length
    rest = straight
    if season > 1 and len(known) >= 2 * season:
        places = known % season
        counts = np.maximum(np.bincount(places, minlength=season), 1)
        rest = straight - (np.bincount(places, straight, season) / counts)[places]
        # As many means as places explain something by chance alone.
        rest *= np.sqrt((len(known) - 1) / max(len(known) - season, 1))
    before, after = rest[:-1], rest[1:]
    power = float(before @ before)
    memory = _explained(after, after - before * (float(before @ after) / power if power > 0 else 0.0))
    return (
        _explained(straight, rest),
        zeros,
        _explained(values, straight),
        _relative(rest, values),
        memory,
    )


def _tabular(rows: Rows, spec: FitSpec) -> tuple[float, ...]:
    column = spec.label if spec.task == "anomaly" else spec.target
    if column is None:
        return ()
    if spec.task == "classification":
        _, codes, counts = np.unique(rows.values(column).astype(str), return_inverse=True, return_counts=True)
        target = (codes == counts.argmax()).astype(np.float64)
    else:
        target = rows.numbers(column)
    known, values = _known(target)
    if len(known) < _LEAST:
        return ()
    frequent = float((values == (spec.task == "classification")).mean())
    straight = _without_line(known.astype(np.float64), values)
    centred = values - values.mean()
    left = _without_features(rows, spec, known, centred)
    return 0.0, frequent, _explained(centred, straight), _relative(left, values), _explained(centred, left)


def _known(target: Floats) -> tuple[Ints, Floats]:
    """Where a target is known, and its values there in units of the largest: no trait depends on the unit."""
    known = np.flatnonzero(np.isfinite(target))
    values = target[known]
    largest = float(np.abs(values).max(initial=0.0))
    return known, values / largest if largest > 0 else values


def _without_features(rows: Rows, spec: FitSpec, known: Ints, centred: Floats) -> Floats:
    """What a least-squares fit on the numeric features leaves of the target, corrected for their number."""
    names = [name for name in spec.features if name not in spec.categorical]
    columns = [rows.numbers(name)[known] for name in names]
    if not columns or len(columns) + 2 > len(centred):
        return centred
    matrix = np.column_stack([_known_or_mean(column) for column in columns])
    fitted = matrix @ np.linalg.lstsq(matrix, centred, rcond=None)[0]
    free = len(centred) - 1 - len(columns)
    left: Floats = (centred - fitted) * np.sqrt((len(centred) - 1) / free)
    return left


def _known_or_mean(column: Floats) -> Floats:
    """A feature around its mean, in units of its largest value; zero where it is not known."""
    found = np.zeros(len(column))
    known, values = _known(column)
    if len(known):
        found[known] = values - values.mean()
    return found


def _without_line(at: Floats, values: Floats) -> Floats:
    at = at - at.mean()
    centred = values - values.mean()
    power = float(at @ at)
    found: Floats = centred - at * (float(at @ centred) / power if power > 0 else 0.0)
    return found


def _explained(whole: Floats, rest: Floats) -> float:
    """The share of the variance that is not in the rest, from 0 to 1."""
    variance = float(whole.var())
    return max(0.0, 1 - float(np.square(rest).mean()) / variance) if variance > 0 else 0.0


def _relative(rest: Floats, values: Floats) -> float:
    """The size of the rest relative to that of the values, from 0 to 1."""
    size, noise = float(np.abs(values).mean()), float(np.sqrt(np.square(rest).mean()))
    return noise / (size + noise) if size + noise > 0 else 0.0
