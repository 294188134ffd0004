"""The ``lag_regression`` family: any scikit-learn regressor on one key's lags, calendar and covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, Strict

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.covariates import Encoder
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.lag_features import (
    CalendarFeature,
    Design,
    LagRule,
    fill_back,
    lags_by,
    usual_calendar,
    usual_lags,
)
from manymodels.models.forecast.lag_model import (
    LEAST_ROWS,
    Bools,
    Columns,
    Prepared,
    Scale,
    by_period,
    filled_levels,
    learn,
    path_of,
    spread,
)
from manymodels.models.forecast.public_holidays import check_country
from manymodels.models.forecast.regressors import (
    Regressor,
    check_estimator,
    is_plain_ridge,
    learner_of,
    needs_positive,
)
from manymodels.models.forecast.seasons import SeasonLength, season_of
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["FittedLagRegression", "LagRegression", "columns_of", "design_of", "tails"]

_Periods = Annotated[int, Field(ge=1)]
_ManyPeriods = Annotated[tuple[_Periods, ...], Strict(False)]


Transform = Literal[
    "none", "log", "difference", "seasonal_difference", "log_difference", "log_seasonal_difference"
]


@dataclass(frozen=True)
class LagRegression:
    """A regressor that forecasts one period from those before, and goes on from its own forecasts.

    Needs ten rows after its longest lag. Periods without a target are not learned from; as lags they take
    the value one or two seasons before, else the last one. Intervals come from forecast errors on a
    held-out last part, by step (where there are levels; the model itself is fitted to all rows).
    Known-future features are used as they are, other features as they were one horizon ago.

    Attributes:
        estimator: Import path of a scikit-learn regressor.
        params: The estimator's parameters; ``random_state`` is the key's seed unless given.
        lags: Periods back; by season when null, or by another rule for them: neighbours, dense.
        rolling: Periods of rolling means.
        calendar: Calendar features by name: season, hour, weekday, monthpart, month, quarter, yearly,
            trend, closure, holiday; ``true`` takes those that the history covers twice.
        holidays: Whose public holidays the calendar has: the ISO code of a country, or of a part of it (``DE``, ``DE-BY``).
        crossed: Known-future features whose effect may differ by place in the season.
        transform: What the target becomes first: its logarithm, its change from one period, or from one
            season, to the next, or the change of its logarithm.
        season_length: Periods in a season; the job's when null; week is seven of them, where they are days.
    """

    estimator: str = "sklearn.linear_model.Ridge"
    params: dict[str, Any] = field(default_factory=dict)
    lags: _ManyPeriods | LagRule | None = None
    rolling: _ManyPeriods = ()
    calendar: bool | Annotated[tuple[CalendarFeature, ...], Strict(False)] = True
    holidays: str | None = None
    crossed: Annotated[tuple[str, ...], Strict(False)] = ()
    transform: Transform = "none"
    season_length: SeasonLength = None

    name: ClassVar[str] = "lag_regression"
    revision: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.isolated:
            check_estimator(self.estimator, self.params)
        if self.holidays is not None:
            check_country(self.holidays)
        elif not isinstance(self.calendar, bool) and "holiday" in self.calendar:
            raise ValueError("calendar feature holiday needs `holidays`, a country like DE")

    @property
    def logged(self) -> bool:
        """Whether what is regressed are logarithms, or their changes."""
        return self.transform.startswith("log")

    def lag(self, season: int) -> int:
        """Periods of the difference that is regressed; 0 for none."""
        if self.transform.endswith("seasonal_difference"):
            return season
        return 1 if self.transform.endswith("difference") else 0

    @property
    def isolated(self) -> bool:
        """See ``Family.isolated``: all but plain ridge regression, which is solved here."""
        return not is_plain_ridge(self.estimator, self.params)

    @property
    def library(self) -> str:
        """See ``Family.library``."""
        return self.estimator.replace(":", ".").partition(".")[0] if self.isolated else ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedLagRegression:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        season = season_of(self.season_length, spec)
        columns = columns_of(self, spec, [series], season)
        design = columns.design
        lag = self.lag(season)
        need_rows(self.name, design.reach + lag + LEAST_ROWS, len(series), season)
        shift = 1.0 if self.logged and np.nanmin(series.target) == 0 else 0.0
        scale = Scale(self.logged, shift, lag)
        levels = filled_levels(series, scale, season)
        moved = scale.scaled(levels[None])[0][(series.target == series.target)[lag:]]
        if len(moved) == 0:
            raise ModelError(f"{self.name}: no observed change over {lag} periods")
        if needs_positive(self.estimator, self.params):
            scale = replace(scale, factor=float(np.abs(moved).mean()) or 1.0)
        else:
            scale = replace(scale, centre=float(moved.mean()), factor=float(moved.std()) or 1.0)
        weights = None
        if spec.weight is not None:
            weights = np.where(series.row_of >= 0, rows.numbers(spec.weight)[series.row_of], 0.0)
        prepared = Prepared.of(series, levels, scale, columns, weights)
        learner = learner_of(self.estimator, self.params, spec.seed)
        regressor = learn(design, [prepared], [len(series)], learner)
        deviations = np.empty(0)
        if basis.levels:
            deviations = spread(design, [prepared], spec.horizon, learner)
        return FittedLagRegression(
            basis,
            series.end,
            self.name,
            self.estimator,
            columns,
            regressor,
            scale,
            deviations,
            *tails(columns, scale, series, levels),
        )


def design_of(family: LagRegression, frequency: str, season: int, start: int, length: int) -> Design:
    """Lags and calendar of a lag regression over a history.

    Raises:
        ModelError: A calendar feature that needs times.
    """
    lags: tuple[int, ...]
    if family.lags is None:
        lags = usual_lags(season, length)
    else:
        lags = lags_by(family.lags, season, length) if isinstance(family.lags, str) else family.lags
    calendar = family.calendar
    if isinstance(calendar, bool):
        holidays = family.holidays is not None
        calendar = usual_calendar(frequency, season, length, holidays=holidays) if calendar else ()
    dated = [name for name in calendar if name not in ("season", "trend", "closure")]
    if frequency == "step" and dated:
        raise ModelError(f"calendar feature {dated[0]} needs times; frequency `step` has positions")
    country = (family.holidays or "") if "holiday" in calendar else ""
    return Design(
        tuple(sorted(set(lags))), family.rolling, calendar, season, frequency, start, length, country
    )


def columns_of(family: LagRegression, spec: FitSpec, parts: list[Series], season: int) -> Columns:
    """The columns of a lag regression over the histories of some keys."""
    length = max(len(series) for series in parts)
    start = min(series.start for series in parts)
    design = design_of(family, Basis.of(spec).frequency, season, start, length)
    rows = [series.rows for series in parts]
    known = Encoder.learn(spec.known_future, spec.categorical, rows)
    others = tuple(name for name in spec.features if name not in spec.known_future)
    past = Encoder.learn(others, spec.categorical, rows)
    places = np.concatenate([series.periods for series in parts]) % season
    present = np.concatenate([series.row_of >= 0 for series in parts])
    share = np.bincount(places, present, season) / np.maximum(np.bincount(places, minlength=season), 1)
    crossed = known.places(family.crossed) if season > 1 else ()
    return Columns(design, known, past, spec.horizon, crossed, share < 0.5)


def tails(columns: Columns, scale: Scale, series: Series, levels: Floats) -> tuple[Floats, Bools, Floats]:
    """What of a history its forecasts need: levels, which of them are known, and other features."""
    season = columns.design.season
    length = max(columns.design.reach + scale.lag, 2 * season if columns.usually_closed.any() else 1)
    past = by_period(columns.past, series)[-columns.delay :] if columns.past.columns else np.empty((0, 0))
    return levels[-length:].copy(), (series.target == series.target)[-length:], past


@dataclass(frozen=True, slots=True)
class FittedLagRegression(FittedForecast):
    """A regressor and the end of the history that it goes on from.

    Attributes:
        family: Its name.
        estimator: Import path of what was fitted.
        columns: What it sees.
        regressor: Predicts scaled values.
        scale: How the target becomes what is regressed.
        deviations: Standard deviations of scaled errors by step; empty without levels. Shape (horizon,).
        levels: The last levels. Shape (n,).
        known: Which of them were observed. Shape (n,).
        past: The last encoded other features. Shape (delay, width).
    """

    family: str
    estimator: str
    columns: Columns
    regressor: Regressor
    scale: Scale
    deviations: Floats
    levels: Floats
    known: Bools
    past: Floats

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        design = self.columns.design
        return {
            "family": self.family,
            "estimator": self.estimator,
            "lags": list(design.lags),
            "rolling": list(design.windows),
            "calendar": list(design.calendar),
            "season_length": design.season,
            "log": self.scale.log,
            "difference": self.scale.lag,
        }

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        ahead, lacking = path_of(
            self.columns,
            self.regressor,
            self.scale,
            self.origin,
            self.levels,
            self.known,
            self.past,
            steps,
            rows,
        )
        ahead[lacking] = np.nan
        scale = self.scale
        if not self.basis.levels:
            return Outlook(scale.target(ahead), np.empty((0, len(steps))), np.empty((0, len(steps))))
        deviation = self.deviations[np.minimum(steps, len(self.deviations)) - 1] * scale.factor
        plain = normal_outlook(ahead, deviation, self.basis.levels)
        with np.errstate(over="ignore"):
            return Outlook(scale.target(ahead), scale.target(plain.lower), scale.target(plain.upper))

    def _extended(self, newer: Series) -> FittedLagRegression:
        return self.continued(newer)

    def continued(self, newer: Series) -> FittedLagRegression:
        """The same regressor, with newer levels to go on from."""
        length = len(self.levels)
        observed = newer.target == newer.target
        fresh = np.where(observed, self.scale.levels(newer.target), 0.0)
        levels = np.concatenate([self.levels, fresh])
        known = np.concatenate([self.known, observed])
        fill_back(levels[None], known[None], self.columns.design.season, length, len(levels))
        past = self.past
        if self.columns.past.columns:
            past = np.concatenate([past, by_period(self.columns.past, newer)])[-self.columns.delay :]
        return replace(self, origin=newer.end, levels=levels[-length:], known=known[-length:], past=past)
