"""The compiled part of lag regressions of many keys: normal equations, recursive forecasts, and how far they are off."""

from __future__ import annotations

import math

import numpy as np

from manymodels.models.batched.contract import Ints
from manymodels.models.compiled import compiled
from manymodels.models.contract import Floats

__all__ = ["forecast_levels", "normal_equations", "residual_moments", "spread_errors"]


@compiled
def normal_equations(
    X: Floats, y: Floats, weights: Floats, starts: Ints, stops: Ints
) -> tuple[Floats, Floats, Floats, Floats]:
    """The centred normal equations of many keys.

    Args:
        X: The keys' tables. Shape (rows, columns).
        y: Their values. Shape (rows,).
        weights: Of the rows. Shape (rows,).
        starts: Each key's first row. Shape (keys,).
        stops: One past its last. Shape (keys,).

    Returns:
        Means of the columns, shape (keys, columns); means of the values; products of the centred columns with each
        other, shape (keys, columns, columns), and with the values, shape (keys, columns).
    """
    keys, width = len(starts), X.shape[1]
    means, mean = np.zeros((keys, width)), np.zeros(keys)
    normal, moments, centred = np.zeros((keys, width, width)), np.zeros((keys, width)), np.empty(width)
    for n in range(keys):
        total = 0.0
        for t in range(starts[n], stops[n]):
            total += weights[t]
            mean[n] += weights[t] * y[t]
            for i in range(width):
                means[n, i] += weights[t] * X[t, i]
        mean[n] /= total
        for i in range(width):
            means[n, i] /= total
        products = normal[n]
        for t in range(starts[n], stops[n]):
            apart = y[t] - mean[n]
            for i in range(width):
                centred[i] = X[t, i] - means[n, i]
            for i in range(width):
                weighted = weights[t] * centred[i]
                moments[n, i] += weighted * apart
                for j in range(i + 1):
                    products[i, j] += weighted * centred[j]
        for i in range(width):
            for j in range(i):
                products[j, i] = products[i, j]
    return means, mean, normal, moments


@compiled
def residual_moments(
    X: Floats,
    y: Floats,
    weights: Floats,
    starts: Ints,
    stops: Ints,
    means: Floats,
    mean: Floats,
    solution: Floats,
) -> Floats:
    """Products of the centred columns with what a solution leaves of the values. Shape (keys, columns)."""
    moments = np.zeros(solution.shape)
    for n in range(len(starts)):
        for t in range(starts[n], stops[n]):
            rest = y[t] - mean[n]
            for i in range(X.shape[1]):
                rest -= solution[n, i] * (X[t, i] - means[n, i])
            for i in range(X.shape[1]):
                moments[n, i] += weights[t] * rest * (X[t, i] - means[n, i])
    return moments


@compiled
def _path(
    history: Floats, given: Floats, kernel: Floats, lag: int, centre: float, factor: float, levels: Floats
) -> None:
    """Forecast ``levels`` step by step from the levels before them; ``given`` is what each step does not owe to those."""
    reach = len(kernel)
    scaled = np.empty(reach + len(given))
    for r in range(reach):
        before = history[len(history) - reach + r]
        if lag > 0:
            before -= history[len(history) - reach + r - lag]
        scaled[r] = (before - centre) / factor
    for step in range(len(given)):
        value = given[step]
        for r in range(reach):
            value += kernel[r] * scaled[step + r]
        scaled[reach + step] = value
        levels[step] = value * factor + centre
        if lag > 0:
            levels[step] += levels[step - lag] if step >= lag else history[len(history) + step - lag]


@compiled
def forecast_levels(
    history: Floats, given: Floats, kernel: Floats, lag: int, centre: Floats, factor: Floats
) -> Floats:
    """Recursive forecasts of many keys.

    Args:
        history: The last levels. Shape (keys, reach + lag at least).
        given: The part of each step that does not depend on earlier levels, scaled. Shape (keys, steps).
        kernel: Weights of the scaled values before a step. Shape (keys, reach).
        lag: Periods of the difference; 0 for none.
        centre: What is taken off. Shape (keys,).
        factor: What is divided by then. Shape (keys,).

    Returns:
        Levels. Shape (keys, steps).
    """
    levels = np.empty(given.shape)
    for n in range(len(given)):
        _path(history[n], given[n], kernel[n], lag, centre[n], factor[n], levels[n])
    return levels


@compiled
def spread_errors(
    levels: Floats,
    offsets: Ints,
    given: Floats,
    kernel: Floats,
    lag: int,
    centre: Floats,
    factor: Floats,
    held: Ints,
    horizon: int,
    most: int,
) -> Floats:
    """Standard deviation of scaled forecast errors by step, from cutoffs in each history's held-out last part.

    Args:
        levels: The histories one after the other. Shape (rows,).
        offsets: Where each is. Shape (keys + 1,).
        given: The part of each period that does not depend on earlier levels, scaled. Shape (rows,).
        kernel: Weights of the scaled values before a period. Shape (keys, reach).
        lag: Periods of the difference; 0 for none.
        centre: What is taken off. Shape (keys,).
        factor: What is divided by then. Shape (keys,).
        held: Periods that were held out. Shape (keys,).
        horizon: Steps.
        most: Cutoffs, about.

    Returns:
        Never shrinking with the step (pooling adjacent violators). Shape (keys, horizon).
    """
    keys, before = len(offsets) - 1, kernel.shape[1] + lag
    deviations, forecast = np.empty((keys, horizon)), np.empty(horizon)
    sums, counts = np.empty(horizon), np.empty(horizon, dtype=np.int64)
    for n in range(keys):
        # A short part shows only the first steps.
        ahead = min(horizon, max(held[n] - 4, 1))
        first, last = offsets[n + 1] - held[n], offsets[n + 1] - ahead
        stride = max((last - first + 1) // most, 1)
        squares, cutoffs = np.zeros(ahead), 0
        for origin in range(first, last + 1, stride):
            stop = origin + ahead
            _path(
                levels[origin - before : origin],
                given[origin:stop],
                kernel[n],
                lag,
                centre[n],
                factor[n],
                forecast,
            )
            for step in range(ahead):
                error = (forecast[step] - levels[origin + step]) / factor[n]
                squares[step] += error * error
            cutoffs += 1
        blocks = 0
        for step in range(ahead):
            sums[blocks], counts[blocks] = squares[step] / cutoffs, 1
            blocks += 1
            while (
                blocks > 1 and sums[blocks - 2] * counts[blocks - 1] >= sums[blocks - 1] * counts[blocks - 2]
            ):
                sums[blocks - 2] += sums[blocks - 1]
                counts[blocks - 2] += counts[blocks - 1]
                blocks -= 1
        step = 0
        for block in range(blocks):
            for _ in range(counts[block]):
                deviations[n, step] = math.sqrt(sums[block] / counts[block])
                step += 1
        deviations[n, ahead:] = deviations[n, ahead - 1]
    return deviations
