"""Seasonal ARIMA with regressors, fitted by statsmodels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, Strict

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.covariates import Encoder
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.seasons import SeasonLength, season_of
from manymodels.models.forecast.series import Basis, Series
from manymodels.models.forecast.state_space import StateSpace
from manymodels.records import Rows

__all__ = ["FittedSarimax", "Sarimax"]

_Order = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Sarimax:
    """Regression on the known-future features and a trend, with seasonal ARIMA errors, by maximum likelihood.

    Missing values are left to the filter; a constant target is forecast as it is. Needs enough rows to
    difference, for the longest lag, and for each number to estimate. Regressors that the others (or the
    differences) make redundant are left out.

    Attributes:
        order: Autoregressive terms, differences, moving-average terms.
        seasonal_order: The same by seasons, and optionally the season; none when the season is one period.
        trend: ``n`` none, ``c`` constant, ``t`` linear, ``ct`` both; null is a constant where nothing is
            differenced.
        season_length: Periods in a season; the job's when null; week is seven of them, where they are days.
    """

    order: Annotated[tuple[_Order, _Order, _Order], Strict(False)] = (0, 1, 1)
    seasonal_order: Annotated[tuple[_Order, ...], Strict(False), Field(min_length=3, max_length=4)] = (
        0,
        1,
        1,
    )
    trend: Literal["n", "c", "t", "ct"] | None = None
    season_length: SeasonLength = None

    name: ClassVar[str] = "sarimax"
    revision: ClassVar[int] = 2
    isolated: ClassVar[bool] = True
    library: ClassVar[str] = "statsmodels"

    def fit(self, rows: Rows, spec: FitSpec) -> FittedSarimax:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        season = season_of(self.season_length, spec)
        if len(self.seasonal_order) == 4:
            season = self.seasonal_order[3]
        seasonal = (*self.seasonal_order[:3], season) if season > 1 else (0, 0, 0, 0)
        differenced = self.order[1] + seasonal[1] * seasonal[3]
        trend = self.trend if self.trend is not None else "n" if differenced else "c"
        encoder = Encoder.learn(spec.known_future, spec.categorical, [rows])
        design = _Regressors(encoder, "c" in trend, "t" in trend, series.start, len(series))
        known = encoder.encode(rows)[0][series.row_of]
        matrix = design.matrix(series.periods, np.where((series.row_of >= 0)[:, None], known, 0.0))
        kept = _independent(_differenced(matrix, self.order[1], seasonal))
        farthest = max(self.order[0] + seasonal[3] * seasonal[0], self.order[2] + seasonal[3] * seasonal[2])
        numbers = self.order[0] + self.order[2] + seasonal[0] + seasonal[2] + len(kept) + 1
        need_rows(self.name, differenced + farthest + numbers + 1, series.observed, season)
        # Numbers of about one, for the optimiser.
        scale = float(np.nanstd(series.target)) or 1.0
        weights, space = _fit(series.target / scale, matrix[:, kept], self.order, seasonal, scale)
        coefficients = np.zeros(matrix.shape[1])
        coefficients[kept] = weights
        return FittedSarimax(basis, series.end, self.order, seasonal, design, coefficients, space)


@dataclass(frozen=True, slots=True)
class _Regressors:
    """Columns beside the ARIMA part: a constant, a line, the known-future features.

    Attributes:
        known: Encodes the known-future features.
        constant: Whether there is a constant.
        line: Whether there is a line, from 0 at ``start``, growing by 1 over ``length`` periods.
        start: Number of the first training period.
        length: Training periods.
    """

    known: Encoder
    constant: bool
    line: bool
    start: int
    length: int

    def matrix(self, periods: Ints, known: Floats) -> Floats:
        """The columns of some periods, from their encoded features. Shape (n, columns)."""
        parts = [known]
        if self.constant:
            parts.append(np.ones((len(periods), 1)))
        if self.line:
            parts.append(((periods - self.start) / self.length)[:, None])
        return np.concatenate(parts, axis=1)


def _differenced(matrix: Floats, ordinary: int, seasonal: tuple[int, ...]) -> Floats:
    for _ in range(seasonal[1]):
        matrix = matrix[seasonal[3] :] - matrix[: -seasonal[3]]
    return np.diff(matrix, n=ordinary, axis=0)


def _independent(matrix: Floats) -> list[int]:
    """Columns that say something that those before them do not."""
    kept: list[int] = []
    basis = np.empty((len(matrix), 0))
    for at, column in enumerate(matrix.T):
        rest = column - basis @ (basis.T @ column)
        size = float(np.linalg.norm(rest))
        if size > 1e-6 * max(float(np.linalg.norm(column)), 1e-9):
            kept.append(at)
            basis = np.column_stack([basis, rest / size])
    return kept


def _fit(
    target: Floats, regressors: Floats, order: tuple[int, int, int], seasonal: tuple[int, ...], scale: float
) -> tuple[Floats, StateSpace]:
    """Coefficients of the regressors, and the state after the last period, in the target's unit."""
    if np.nanmin(target) == np.nanmax(target):
        # No noise, no likelihood: the state is the constant.
        still = StateSpace.of(
            np.ones((1, 1)),
            np.ones(1),
            np.zeros(1),
            0.0,
            np.nanmax(target, keepdims=True) * scale,
            np.zeros((1, 1)),
        )
        return np.zeros(regressors.shape[1]), still
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    settings: dict[str, Any] = {
        "endog": target,
        "exog": regressors if regressors.shape[1] else None,
        "order": order,
        "seasonal_order": seasonal,
    }
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            # Differencing first is the same likelihood in a smaller state, but a gap would spread.
            search = SARIMAX(
                **settings, concentrate_scale=True, simple_differencing=not bool(np.isnan(target).any())
            )
            found = search.fit(disp=False, cov_type="none", maxiter=50)
            params = np.append(found.params, found.scale)
            model = SARIMAX(**settings)
            filtered = model.filter(params, cov_type="none").filter_results
    except (ValueError, np.linalg.LinAlgError) as error:
        raise ModelError(f"sarimax {order}{seasonal}: {error}") from error
    if not np.isfinite(params).all():
        raise ModelError(f"sarimax {order}{seasonal}: no finite estimate")
    space = StateSpace.of(
        model.ssm["transition"],
        model.ssm["design"][0],
        model.ssm["selection"][:, 0],
        float(model.ssm["state_cov"][0, 0]) * scale**2,
        filtered.predicted_state[:, -1] * scale,
        filtered.predicted_state_cov[:, :, -1] * scale**2,
    )
    return params[: regressors.shape[1]] * scale, space


@dataclass(frozen=True, slots=True)
class FittedSarimax(FittedForecast):
    """Coefficients and the last state.

    Attributes:
        order: Autoregressive terms, differences, moving-average terms.
        seasonal_order: The same by seasons, and the season.
        regressors: The columns beside the ARIMA part.
        coefficients: Theirs.
        space: The ARIMA part.
    """

    order: tuple[int, int, int]
    seasonal_order: tuple[int, ...]
    regressors: _Regressors
    coefficients: Floats
    space: StateSpace

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "sarimax",
            "order": list(self.order),
            "seasonal_order": list(self.seasonal_order),
            "coefficients": self.coefficients.tolist(),
            "sigma": float(np.sqrt(self.space.variance)),
        }

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        means, variances = self.space.forecast(int(steps.max(initial=1)))
        known, lacking = self.regressors.known.encode(rows)
        regression = self.regressors.matrix(steps + self.origin, known) @ self.coefficients
        regression[lacking] = np.nan
        deviation = np.sqrt(variances[steps - 1])
        return normal_outlook(means[steps - 1] + regression, deviation, self.basis.levels)

    def _extended(self, newer: Series) -> FittedSarimax:
        known = self.regressors.known.encode(newer.rows)[0][newer.row_of]
        known = np.where((newer.row_of >= 0)[:, None], known, 0.0)
        regression = self.regressors.matrix(newer.periods, known) @ self.coefficients
        return replace(self, origin=newer.end, space=self.space.advance(newer.target - regression))
