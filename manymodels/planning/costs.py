"""What a key will cost: first guesses by family and rows, corrected by what earlier runs of the model set took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from manymodels.planning.receipts import OTHER, RunCosts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BYTES_PER_MODEL", "Candidate", "Effort", "estimate_seconds", "guess_rung", "guess_seconds"]

BYTES_PER_MODEL = 600.0
"""A first guess of a model's size on disk, before any run has shown it."""

Floats = npt.NDArray[np.float64]
_SPLITS = 8.5  # log2 of the rows of a year, where trees were measured


class _Guess(NamedTuple):
    """Seconds of a fit and the predictions that judge it.

    Attributes:
        fit: Whatever the rows.
        row: For each row.
        value: For each row and feature.
        split: The same of a tree, whose depth grows with the rows, as do the misses of the cache.
    """

    fit: float
    row: float = 0.0
    value: float = 0.0
    split: float = 0.0

    def plus(self, *others: Self) -> _Guess:
        """One after the other."""
        return _Guess(*map(sum, zip(self, *others, strict=True)))

    def times(self, count: float) -> _Guess:
        """So often."""
        return _Guess(*(count * part for part in self))

    def seconds(self, rows: Floats, features: int) -> Floats:
        """Of keys with so many rows."""
        depth = (np.log2(np.maximum(rows, 2.0)) / _SPLITS) ** 2
        return self.fit + rows * (self.row + features * (self.value + self.split * depth))


# Of a fit and the predictions that judge it, measured by `benchmarks/estimates.py --calibrate` as processor time. Rough: a
# second run uses what the first one took.
_FITS: dict[str, _Guess] = {
    "mean": _Guess(4e-5, 1e-8),
    "naive": _Guess(4e-5, 1e-8),
    "seasonal_naive": _Guess(4e-5, 1e-8),
    "drift": _Guess(4e-5, 1e-8),
    "croston": _Guess(9e-5, 2.5e-7),
    "tsb": _Guess(9e-5, 3e-7),
    "theta": _Guess(1.1e-4, 8e-7),
    "ets": _Guess(1.1e-4, 2.1e-6),
    "holt_winters": _Guess(1e-4, 4.2e-6),
    "sarimax": _Guess(2e-2, 3.1e-4),
    "aggregated": _Guess(1e-3, 2e-6),
    "global_boost": _Guess(2.0, 5e-5),
    "lag_regression": _Guess(6e-4, 1e-7),
    "isolation_forest": _Guess(1e-1, 1e-5),
    "robust_zscore": _Guess(3e-4, 1e-7),
    "ewma": _Guess(1e-4, 1e-7),
}
_BATCHED: dict[str, _Guess] = {
    "mean": _Guess(2e-6, 8e-9),
    "naive": _Guess(2e-6, 8e-9),
    "seasonal_naive": _Guess(2e-6, 8e-9),
    "drift": _Guess(2e-6, 8e-9),
    "croston": _Guess(2e-6, 5e-8),
    "tsb": _Guess(2e-6, 5e-8),
    "theta": _Guess(1.5e-5, 8e-7),
    "ets": _Guess(3e-5, 2.1e-6),
    "holt_winters": _Guess(1e-5, 4.1e-6),
    "lag_regression": _Guess(2e-6, 2.7e-7),
    "robust_zscore": _Guess(1e-5, 1e-7, 1e-7),
    "ewma": _Guess(1e-5, 1e-7, 5e-8),
}
_ESTIMATORS: dict[str, _Guess] = {
    "DecisionTree": _Guess(4e-4, 3e-7, split=3e-7),
    "KNeighbors": _Guess(8e-4, 2e-7),
    "SV": _Guess(3e-4, 1e-5),
}
"""Begin of an estimator's name, where it costs more than a linear model."""
_ENSEMBLE = _Guess(1.5e-1, 1e-4)
"""Of anything else whose import path speaks of an ensemble or a neural network; the user's own, too."""
_ESTIMATOR = _Guess(5e-4, 2e-7)
_BATCHED_ESTIMATOR = _Guess(3e-6, 3e-8, 1.1e-8)
_BATCHED_LOGISTIC = _Guess(5e-6, 6e-8, 4.3e-8)
_REPEATED: dict[str, tuple[str, int, _Guess]] = {
    "RandomForestClassifier": ("n_estimators", 100, _Guess(4.5e-4, 4e-7, 3e-8)),
    "RandomForest": ("n_estimators", 100, _Guess(4.5e-4, 3e-7, split=2e-7)),
    "ExtraTrees": ("n_estimators", 100, _Guess(3e-4, 5e-7, 1e-7)),
    "GradientBoosting": ("n_estimators", 100, _Guess(1.2e-4, 1.5e-7, split=1.1e-7)),
    "HistGradientBoosting": ("max_iter", 100, _Guess(1.5e-4, 1e-7, 1.5e-8)),
    "MLP": ("max_iter", 200, _Guess(1.2e-4, 8e-7)),
}
"""Begin of an estimator's name: the parameter that says how often it repeats itself, its default, the guess of one round."""
_OTHER = _Guess(1e-4, 5e-8)
_BATCHED_OTHER = _Guess(1.2e-5, 5e-8, 4e-9)
_RUNG = _Guess(2e-2, 5e-7)
_WHOLE = 1.5  # times a fit: a rung predicts all of its rows, and its model is as large as they are many


@dataclass(frozen=True)
class Candidate:
    """A candidate, as far as its costs are concerned.

    Attributes:
        name: In the job.
        family: A built-in family, an import path, or the user's own.
        params: The family's parameters.
    """

    name: str
    family: str
    params: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The same in every job that tries this family with these parameters."""
        return f"{self.family} {json.dumps(self.params, sort_keys=True, default=str)}"


@dataclass(frozen=True)
class Effort:
    """What is done with every key that trains.

    Attributes:
        candidates: Of the job.
        evaluations: Fits of each candidate before one is refitted: backtest windows, folds, a hold-out.
        batched: Whether they are fitted on many keys at once.
        features: Columns that are fitted.
        max_rows: Rows of a key that are fitted, at most; None is all.
        trials: Candidates that are tried on a key, at most; None is all.
    """

    candidates: tuple[Candidate, ...]
    evaluations: int
    batched: bool
    features: int = 1
    max_rows: int | None = None
    trials: int | None = None

    @property
    def tried(self) -> float:
        """The share of the candidates that a key tries, at most."""
        count = len(self.candidates)
        return 1.0 if self.trials is None else min(self.trials, count) / count

    @property
    def ids(self) -> dict[str, str]:
        """A candidate's name to its id."""
        return {candidate.name: candidate.id for candidate in self.candidates}

    @property
    def is_known(self) -> bool:
        """Whether there is a first guess: of the user's own code nothing is known before a run."""
        return not any(":" in candidate.family for candidate in self.candidates)


def estimate_seconds(
    manifest: pa.Table, history: pa.Table, effort: Effort, past: Sequence[RunCosts] = (), *, job_hash: str
) -> Floats:
    """Seconds that each key of the manifest will take.

    A key that the same job trained before costs what it cost then. Else each candidate costs its first guess times what it
    took of its first guess in earlier runs, on keys of about that size; and its first guess where no run tried it.

    Args:
        manifest: ``key_id`` and ``rows``.
        history: ``key_id``, ``seconds`` and ``job_hash`` of each key's newest version.
        effort: What is done with every key.
        past: What earlier runs took, newest first.
        job_hash: Fingerprint of today's job.

    Returns:
        Shape (keys,).
    """
    rows = manifest.column("rows").to_numpy().astype(np.float64)
    if effort.max_rows is not None:
        rows = np.minimum(rows, effort.max_rows)
    alike = [run for run in past if run.batched == effort.batched]
    guessed = np.zeros(len(rows))
    for part in _parts(effort):
        guessed += part.seconds(rows, effort.evaluations) * _correction(part, alike, rows)
    if past and past[0].batched != effort.batched:  # what keys took then was fitted another way
        return guessed
    import pyarrow.compute as pc

    place = pc.index_in(manifest.column("key_id"), history.column("key_id").combine_chunks())
    same = pc.fill_null(pc.equal(history.column("job_hash"), job_hash).take(place), False).to_numpy()
    seconds = pc.fill_null(history.column("seconds").take(place), np.nan).to_numpy()
    return np.asarray(np.where(same & ~np.isnan(seconds), seconds, guessed))


def guess_seconds(rows: Floats, effort: Effort) -> Floats:
    """First guesses of what keys with so many rows take.

    Args:
        rows: Of each key. Shape (keys,).
        effort: What is done with every key.

    Returns:
        Shape (keys,).
    """
    return np.asarray(sum(part.seconds(rows, effort.evaluations) for part in _parts(effort)))


def guess_rung(family: str, params: Mapping[str, Any], rows: int, features: int = 1) -> float:
    """A first guess of what a rung of the ladder takes.

    Args:
        family: The estimator or family that fits it; empty for the ladder's own.
        params: Its parameters.
        rows: That it is fitted on.
        features: Columns that are fitted.
    """
    guess = _RUNG
    if family:
        guess = guess.plus((_FITS.get(family) or _estimator_guess(family, params)).times(_WHOLE))
    return float(guess.seconds(np.array(float(rows)), features))


@dataclass(frozen=True)
class _Part:
    """What a key's time goes to: a candidate, or what is none's.

    Attributes:
        id: The candidate's, or ``OTHER``.
        guess: Of one fit.
        features: Columns that are fitted.
        tried: The share of keys that it is tried on.
        refit: How often it is fitted beside the evaluations.
    """

    id: str
    guess: _Guess
    features: int
    tried: float
    refit: float

    def seconds(self, rows: Floats, evaluations: int) -> Floats:
        """Of keys with so many rows, by the first guess."""
        return (evaluations * self.tried + self.refit) * self.guess.seconds(rows, self.features)


def _parts(effort: Effort) -> list[_Part]:
    other = _BATCHED_OTHER if effort.batched else _OTHER
    # One of the candidates wins, and only that one is fitted again.
    refit = 1 / len(effort.candidates)
    guesses = [_first_guess(candidate, batched=effort.batched) for candidate in effort.candidates]
    return [
        _Part(OTHER, other, effort.features, 1.0, 1.0),
        *(
            _Part(each.id, guess, effort.features, effort.tried, refit)
            for each, guess in zip(effort.candidates, guesses, strict=True)
        ),
    ]


def _correction(part: _Part, past: Sequence[RunCosts], rows: Floats) -> Floats | float:
    """What runs took, relative to the first guess, for keys of about this size."""
    took: dict[int, float] = {}
    guessed: dict[int, float] = {}
    for run in past:
        if part.id not in run.sizes:
            continue
        seconds = {size.place: size.seconds for size in run.sizes[part.id]}
        # Of every key, so that what is tried on few of them costs little.
        for size in run.sizes[OTHER]:
            mean = np.array(size.rows / size.keys)
            place = size.place
            took[place] = took.get(place, 0.0) + seconds.get(place, 0.0)
            guessed[place] = guessed.get(place, 0.0) + size.keys * float(part.seconds(mean, run.evaluations))
    if not took:
        return 1.0
    places = sorted(took)
    ratios = [took[place] / guessed[place] for place in places]
    return np.asarray(np.interp(np.log2(np.maximum(rows, 1.0)), np.array(places) + 0.5, ratios))


def _first_guess(candidate: Candidate, *, batched: bool) -> _Guess:
    """Seconds of one fit and its predictions."""
    family, params = candidate.family, candidate.params
    if family == "ets" and params.get("seasonal"):
        family = "holt_winters"
    if batched:
        other = _BATCHED_LOGISTIC if family.endswith("LogisticRegression") else _BATCHED_ESTIMATOR
        return _BATCHED.get(family, other)
    own = _FITS.get(family) or _estimator_guess(family, params)
    estimator = params.get("estimator")
    if family == "lag_regression" and isinstance(estimator, str):
        settings = params.get("params")
        return own.plus(_estimator_guess(estimator, settings if isinstance(settings, Mapping) else {}))
    return own


def _estimator_guess(path: str, params: Mapping[str, Any]) -> _Guess:
    """Of an estimator by import path, and of those inside it: the steps of a pipeline, say."""
    return _bare_guess(path, params).plus(
        *(_estimator_guess(*each) for each in _estimators_in([*params.values()]))
    )


def _estimators_in(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, list):
        for each in value:
            yield from _estimators_in(each)
    elif isinstance(value, Mapping):
        for name, params in value.items():
            if "." in name:
                yield name, params if isinstance(params, Mapping) else {}
            else:
                yield from _estimators_in(params)


def _bare_guess(path: str, params: Mapping[str, Any]) -> _Guess:
    name = path.rpartition(".")[2]
    for part, (count, default, guess) in _REPEATED.items():
        if name.startswith(part):
            rounds = params.get(count, default)
            times = rounds if isinstance(rounds, int) else default
            return guess.times(times)
    if "ensemble" in path or "neural" in path:
        return _ENSEMBLE
    return next((guess for part, guess in _ESTIMATORS.items() if name.startswith(part)), _ESTIMATOR)
