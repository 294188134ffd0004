"""The compiled fit of exponential smoothing: residuals, their derivatives and the search, for any number of series.

Weights and first values are found together by least squares, for every form. Where errors multiply, the likelihood's
maximum is the minimum of the relative errors' squares times the squared geometric mean of the forecasts (Hyndman et
al., 2008, equation 5.3): with that mean as a factor of each residual it is least squares again. The recursion carries
the residuals' derivatives along.

The search is that of Levenberg and Marquardt (Marquardt, J. Soc. Indust. Appl. Math. 11, 1963; damping after Nielsen,
IMM-REP-1999-05) with bounds, from a few fixed starts: nothing is random, and a series has the same fit in any company.

The numbers of a series, in this order: alpha; beta as a share of alpha; gamma as a share of 1 - alpha; phi; the first
level; the first slope; the first season.
"""

from __future__ import annotations

import math

import numpy as np

from manymodels.models.compiled import compiled
from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints

__all__ = [
    "ADDS",
    "ALPHA",
    "BETA",
    "GAMMA",
    "LEVEL",
    "MULTIPLIES",
    "NONE",
    "PHI",
    "PLACES",
    "SLOPE",
    "fit_each",
]

NONE, ADDS, MULTIPLIES = 0, 1, 2
ALPHA, BETA, GAMMA, PHI, LEVEL, SLOPE, PLACES = range(7)

_ROUNDS = 60
_TRIAL, _HOPELESS = 10, 1.02
"""A start is given up when after so many steps it is so many times as bad as the best before it."""
_CLOSE = 1e-13
"""Share of the squares that a step must promise."""
_NOTHING = 1e-24


@compiled
def _run(
    y: Floats, numbers: Floats, form: Ints, places: Floats, errors: Floats
) -> tuple[float, float, float]:
    """Go through a series.

    ``errors`` gets the one-step errors, ``places`` the last season.

    Returns:
        The residuals' sum of squares, infinite where something is not positive that has to be; last level; last slope.
    """
    relative, trend, seasonal, season = form[0] == MULTIPLIES, form[1], form[2], len(places)
    alpha, phi, share = numbers[ALPHA], numbers[PHI], numbers[GAMMA]
    beta, gamma = alpha * numbers[BETA], (1 - alpha) * share
    level, slope = numbers[LEVEL], numbers[SLOPE]
    places[:] = numbers[PLACES:]
    positive = relative or trend == MULTIPLIES or seasonal == MULTIPLIES
    squares, logs, at = 0.0, 0.0, 0
    for t in range(len(y)):
        place = places[at]
        if trend == MULTIPLIES:
            grown = slope**phi
            base = level * grown
        else:
            grown = phi * slope
            base = level + grown
        forecast = base * place if seasonal == MULTIPLIES else base + place
        error = y[t] - forecast
        inner = error / place if seasonal == MULTIPLIES else error
        after = base + alpha * inner
        if positive and not (forecast > 0 and after > 0):
            return math.inf, level, slope
        errors[t] = error / forecast if relative else error
        squares += errors[t] * errors[t]
        if relative:
            logs += math.log(forecast)
        slope = grown + beta * (inner / level if trend == MULTIPLIES else inner)
        if trend == MULTIPLIES and not slope > 0:
            return math.inf, level, slope
        if seasonal == MULTIPLIES:
            places[at] = place + share * (y[t] / after - place)
            if not places[at] > 0:
                return math.inf, level, slope
        elif seasonal == ADDS:
            places[at] = place + gamma * error
        level = after
        at = at + 1 if at + 1 < season else 0
    if relative:
        squares *= math.exp(2 * logs / len(y))
    return (squares if math.isfinite(squares) else math.inf), level, slope


@compiled
def _differentiate(
    y: Floats, numbers: Floats, form: Ints, free: Ints, normal: Floats, gradient: Floats
) -> None:
    """The products of the residuals' derivatives with each other, and with the residuals.

    Everything is linear in the derivatives of level, slope and season, with factors that depend on the form. Where everything
    adds up most of them are one or zero, and a shorter loop takes two thirds of the time.
    """
    relative, trend, seasonal = form[0] == MULTIPLIES, form[1], form[2]
    size, season = len(free), len(numbers) - PLACES
    alpha, phi, share = numbers[ALPHA], numbers[PHI], numbers[GAMMA]
    beta, gamma = alpha * numbers[BETA], (1 - alpha) * share
    d_alpha, d_beta, d_gamma, d_phi = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    d_level, d_slope, d_places = np.zeros(size), np.zeros(size), np.zeros((season, size))
    d_logs, d_residuals = np.zeros(size), np.empty((len(y), size))
    for j in range(size):
        if free[j] == ALPHA:
            d_alpha[j], d_beta[j] = 1.0, numbers[BETA]
            d_gamma[j] = -share if seasonal == ADDS else 0.0
        elif free[j] == BETA:
            d_beta[j] = alpha
        elif free[j] == GAMMA:
            d_gamma[j] = 1 - alpha if seasonal == ADDS else 1.0
        elif free[j] == PHI:
            d_phi[j] = 1.0
        elif free[j] == LEVEL:
            d_level[j] = 1.0
        elif free[j] == SLOPE:
            d_slope[j] = 1.0
        else:
            d_places[free[j] - PLACES, j] = 1.0
    level, slope, places = numbers[LEVEL], numbers[SLOPE], numbers[PLACES:].copy()
    gradient[:] = 0.0
    additive = not relative and trend != MULTIPLIES and seasonal != MULTIPLIES
    squares, logs, at = 0.0, 0.0, 0
    for t in range(len(y)):
        place, d_place = places[at], d_places[at]
        # Names like base_level: what a change of the level does to the base.
        if trend == MULTIPLIES:
            grown = slope**phi
            base = level * grown
            grown_slope, grown_phi, base_level, base_grown = (
                phi * grown / slope,
                grown * math.log(slope),
                grown,
                level,
            )
        else:
            grown = phi * slope
            base = level + grown
            grown_slope, grown_phi, base_level, base_grown = phi, slope, 1.0, 1.0
        if seasonal == MULTIPLIES:
            forecast = base * place
            error = y[t] - forecast
            inner = error / place
            forecast_base, forecast_place, inner_forecast, inner_place = (
                place,
                base,
                -1 / place,
                -inner / place,
            )
        else:
            forecast = base + place
            error = y[t] - forecast
            inner = error
            forecast_base, forecast_place, inner_forecast, inner_place = 1.0, 1.0, -1.0, 0.0
        after = base + alpha * inner
        if trend == MULTIPLIES:
            moved = inner / level
            slope_inner, slope_level = beta / level, -beta * moved / level
        else:
            moved, slope_inner, slope_level = inner, beta, 0.0
        if seasonal == MULTIPLIES:
            turned = y[t] / after - place
            place_place, place_forecast, place_after = 1 - share, 0.0, -share * y[t] / (after * after)
            places[at] = place + share * turned
        else:
            turned, place_place, place_forecast, place_after = error, 1.0, -gamma, 0.0
            places[at] = place + gamma * error
        if relative:
            residual, residual_forecast, logs_forecast = (
                error / forecast,
                -y[t] / (forecast * forecast),
                1 / forecast,
            )
            logs += math.log(forecast)
        else:
            residual, residual_forecast, logs_forecast = error, -1.0, 0.0
        squares += residual * residual
        if additive:
            for j in range(size):
                d_grown = phi * d_slope[j] + slope * d_phi[j]
                d_base = d_level[j] + d_grown
                d_error = -d_base - d_place[j]
                d_level[j] = d_base + alpha * d_error + error * d_alpha[j]
                d_slope[j] = d_grown + beta * d_error + error * d_beta[j]
                d_place[j] += gamma * d_error + error * d_gamma[j]
                d_residuals[t, j] = d_error
                gradient[j] += residual * d_error
        else:
            for j in range(size):
                d_grown = grown_slope * d_slope[j] + grown_phi * d_phi[j]
                d_base = base_level * d_level[j] + base_grown * d_grown
                d_forecast = forecast_base * d_base + forecast_place * d_place[j]
                d_inner = inner_forecast * d_forecast + inner_place * d_place[j]
                d_after = d_base + alpha * d_inner + inner * d_alpha[j]
                d_slope[j] = d_grown + slope_inner * d_inner + slope_level * d_level[j] + moved * d_beta[j]
                d_level[j] = d_after
                d_place[j] = (
                    place_place * d_place[j]
                    + place_forecast * d_forecast
                    + place_after * d_after
                    + turned * d_gamma[j]
                )
                d_residuals[t, j] = residual_forecast * d_forecast
                gradient[j] += residual * d_residuals[t, j]
                d_logs[j] += logs_forecast * d_forecast
        level, slope = after, grown + beta * moved
        at = at + 1 if at + 1 < season else 0
    normal[:] = np.dot(d_residuals.T, d_residuals)
    scale = math.exp(2 * logs / len(y))
    for i in range(size):
        d_logs[i] /= len(y)
    for i in range(size):
        for j in range(i + 1):
            both = gradient[i] * d_logs[j] + d_logs[i] * gradient[j] + squares * d_logs[i] * d_logs[j]
            normal[i, j] = scale * (normal[i, j] + both)
            normal[j, i] = normal[i, j]
    for i in range(size):
        gradient[i] = scale * (gradient[i] + squares * d_logs[i])


@compiled
def _solve(matrix: Floats, right: Floats, size: int) -> bool:
    """Solve a positive definite system in place, by Cholesky's decomposition; whether it was one."""
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i > j:
                matrix[i, j] = total / matrix[j, j]
            elif total > 0:
                matrix[i, i] = math.sqrt(total)
            else:
                return False
    for i in range(size):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]
    return True


@compiled
def _bounded_step(
    normal: Floats, gradient: Floats, damping: float, below: Floats, above: Floats, step: Floats
) -> bool:
    """The damped Gauss-Newton step; a number that would leave its bounds is held there, and the others go again."""
    size = len(step)
    held = np.empty(size, dtype=np.bool_)
    for j in range(size):
        step[j] = 0.0
        held[j] = (below[j] >= 0 and gradient[j] > 0) or (above[j] <= 0 and gradient[j] < 0)
    matrix, right, moving = np.empty((size, size)), np.empty(size), np.empty(size, dtype=np.int64)
    for _ in range(size + 1):
        count = 0
        for j in range(size):
            if not held[j]:
                moving[count] = j
                count += 1
        for i in range(count):
            row = moving[i]
            right[i] = -gradient[row]
            for j in range(size):
                if held[j]:
                    right[i] -= normal[row, j] * step[j]
            for j in range(i + 1):
                matrix[i, j] = normal[row, moving[j]]
            matrix[i, i] += damping * normal[row, row] + _NOTHING
        if not _solve(matrix, right, count):
            return False
        inside = True
        for i in range(count):
            j = moving[i]
            step[j] = min(max(right[i], below[j]), above[j])
            if step[j] != right[i]:
                held[j], inside = True, False
        if inside:
            break
    return True


@compiled
def _search(
    y: Floats,
    numbers: Floats,
    form: Ints,
    free: Ints,
    bounds: Floats,
    least: float,
    places: Floats,
    errors: Floats,
) -> float:
    """Improve the free numbers in place; the residuals' sum of squares at the end.

    ``least`` is the least that was found so far.
    """
    size = len(free)
    normal, gradient, step = np.empty((size, size)), np.empty(size), np.empty(size)
    below, above, trial = np.empty(size), np.empty(size), numbers.copy()
    squares = _run(y, numbers, form, places, errors)[0]
    if squares == math.inf:
        # Plain smoothing of a positive target stays positive.
        numbers[BETA], numbers[GAMMA], numbers[LEVEL] = 0.0, 0.0, y.mean()
        numbers[SLOPE] = 1.0 if form[1] == MULTIPLIES else 0.0
        numbers[PLACES:] = 1.0 if form[2] == MULTIPLIES else 0.0
        trial[:] = numbers
        squares = _run(y, numbers, form, places, errors)[0]
    damping, growth, idle = 1e-3, 2.0, 0
    for count in range(_ROUNDS):
        hopeless = count == _TRIAL and squares > _HOPELESS * least
        if squares <= _NOTHING * len(y) or idle == 2 or hopeless:
            break
        _differentiate(y, numbers, form, free, normal, gradient)
        for j in range(size):
            below[j], above[j] = bounds[0, j] - numbers[free[j]], bounds[1, j] - numbers[free[j]]
        while True:
            if damping > 1e12:
                return squares
            found = math.inf
            promised = 0.0
            if _bounded_step(normal, gradient, damping, below, above, step):
                for i in range(size):
                    change = 2 * gradient[i]
                    for j in range(size):
                        change += normal[i, j] * step[j]
                    promised -= step[i] * change
                    trial[free[i]] = min(max(numbers[free[i]] + step[i], bounds[0, i]), bounds[1, i])
                if not promised > _CLOSE * squares:
                    return squares
                found = _run(y, trial, form, places, errors)[0]
            if found < squares:
                break
            damping = max(damping, 1e-9) * growth
            growth *= 2
        damping = max(damping * max(1 / 3, 1 - (2 * (squares - found) / promised - 1) ** 3), 1e-12)
        growth = 2.0
        idle = idle + 1 if squares - found < 100 * _CLOSE * squares else 0
        squares = found
        numbers[:] = trial
    return squares


@compiled
def _guess(y: Floats, form: Ints, numbers: Floats) -> None:
    """First values: the season from the averages of early seasons, level and slope from a line through what is left."""
    ratio, places = form[2] == MULTIPLIES, numbers[PLACES:]
    length, season = len(y), len(places)
    if form[2] == NONE:
        places[:] = 0.0
    else:
        cycles = min(length // season, 8)
        places[:] = 0.0
        for cycle in range(cycles):
            part = y[cycle * season : (cycle + 1) * season]
            mean = part.mean()
            for j in range(season):
                places[j] += (part[j] / mean if ratio else part[j] - mean) / cycles
        mean = places.mean()
        for j in range(season):
            places[j] = max(places[j] / mean, 0.01) if ratio else places[j] - mean
    early = min(length, max(10, 2 * season))
    middle, total, cross, spread = (early - 1) / 2, 0.0, 0.0, 0.0
    for t in range(early):
        plain = y[t] / places[t % season] if ratio else y[t] - places[t % season]
        total += plain
        cross += (t - middle) * plain
        spread += (t - middle) * (t - middle)
    level, slope = total / early, cross / spread
    numbers[LEVEL], numbers[SLOPE] = level, 0.0
    if form[1] != NONE:
        numbers[LEVEL], numbers[SLOPE] = level - slope * (middle + 1), slope
    if form[0] == MULTIPLIES or form[1] == MULTIPLIES or ratio:
        numbers[LEVEL] = max(numbers[LEVEL], 0.1 * level)
    if form[1] == MULTIPLIES:
        numbers[SLOPE] = min(max(1 + slope / numbers[LEVEL], 0.8), 1.25)


@compiled
def fit_each(
    target: Floats, offsets: Ints, form: Ints, season: int, free: Ints, bounds: Floats, starts: Floats
) -> tuple[Floats, Floats, Floats]:
    """Fit series one after the other.

    Args:
        target: The series, one after the other.
        offsets: Where each is. Shape (series + 1,).
        form: What error, trend and season do.
        season: Periods in a season, 1 without one.
        free: Places of the numbers to find.
        bounds: The least and the most of each. Shape (2, free).
        starts: Weights to start from. Shape (starts, 4).

    Returns:
        Numbers, shape (series, 6 + season); level, slope and season after the last period, the season from the period
        after it, shape (series, 2 + season); one-step errors, relative ones where they multiply.
    """
    count = len(offsets) - 1
    found, ends = np.empty((count, PLACES + season)), np.empty((count, 2 + season))
    errors = np.empty(len(target))
    guess, tried, places = np.empty(PLACES + season), np.empty(PLACES + season), np.empty(season)
    positive = form[0] == MULTIPLIES or form[1] == MULTIPLIES or form[2] == MULTIPLIES
    for n in range(count):
        values = target[offsets[n] : offsets[n + 1]]
        residuals = errors[offsets[n] : offsets[n + 1]]
        numbers = found[n]
        # Location and scale are taken off: bounds and tolerances are absolute.
        centre = 0.0 if positive else values.mean()
        scale = values.mean() if positive else values.std()
        if not scale > 0:
            scale = 1.0
        y = (values - centre) / scale
        _guess(y, form, guess)
        least = math.inf
        for start in range(len(starts)):
            tried[:] = guess
            tried[:LEVEL] = starts[start]
            squares = _search(y, tried, form, free, bounds, least, places, residuals)
            if start == 0 or squares < least:
                least = squares
                numbers[:] = tried
        _, level, slope = _run(y, numbers, form, places, residuals)
        for j in range(season):
            ends[n, 2 + j] = places[(len(y) + j) % season]
        ends[n, 0], ends[n, 1] = level, slope
        # Level and season say one thing twice (not with a trend that multiplies, and a season that adds): the first
        # season averages to nothing.
        ratio = form[2] == MULTIPLIES
        mean = numbers[PLACES:].mean() if ratio or form[1] != MULTIPLIES else 0.0
        for state in (numbers[LEVEL:], ends[n]):
            if ratio:
                state[0] *= mean
                state[2:] /= mean
                if form[1] != MULTIPLIES:
                    state[1] *= mean
            else:
                state[0] += mean
                state[2:] -= mean
                state[2:] *= scale
            state[0] = state[0] * scale + centre
            if form[1] != MULTIPLIES:
                state[1] *= scale
        if form[0] != MULTIPLIES:
            residuals *= scale
    return found, ends, errors
