"""Whether the best candidates of a key are better together: judged by what each predicted of held-out rows, without a fit.

Which candidates are members, and with what weights, is learned from the same held-out rows that the ensemble is judged on.
Judged so, it would look better than it is. Therefore every part of the held-out rows is predicted by the ensemble that the
other parts would have made: a part is a split, or half of the only one. With one split the two halves adjoin, and the value
is still a little too good. The rival is treated alike: of every part it is the candidate that did best on the other parts.
(The value of the best of many candidates on all parts is the luckiest one's, which hardly any ensemble would beat.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.evaluate import Evaluation
from manymodels.evaluation.metrics import HeldOut, Metric
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.ensemble import Combination
from manymodels.models.spec import CandidateSpec
from manymodels.selection.spec import ENSEMBLE, EnsembleSpec, SelectionSpec

__all__ = ["JudgedEnsemble", "ensemble_candidate", "judge_ensemble"]


def ensemble_candidate(selection: SelectionSpec) -> CandidateSpec | None:
    """The configuration that ensembles of a job are of; None where it wants none."""
    if selection.ensemble is None:
        return None
    return CandidateSpec(name=ENSEMBLE, family=ENSEMBLE, params=selection.ensemble.model_dump())


@dataclass(frozen=True)
class JudgedEnsemble:
    """An ensemble of candidates, evaluated.

    Attributes:
        members: Places of its members among the candidates, best first.
        combination: By all held-out rows.
        evaluation: Of ensembles that did not see the rows on which they are judged.
        better: Whether these did better than the single candidates that were chosen as they were.
    """

    members: tuple[int, ...]
    combination: Combination
    evaluation: Evaluation
    better: bool


def judge_ensemble(
    evaluations: Sequence[Evaluation],
    shared: Sequence[int],
    spec: FitSpec,
    metric: Metric,
    wanted: EnsembleSpec,
) -> JudgedEnsemble | None:
    """The ensemble of a key's best candidates.

    Args:
        evaluations: The candidates', each with a value somewhere.
        shared: The splits on which all have a value.
        spec: What the fits knew.
        metric: What members are chosen and weighted by.
        wanted: What the job asks for.

    Returns:
        None where there are fewer than two candidates, or too few held-out rows to judge by.
    """
    if len(evaluations) < 2 or not shared:
        return None
    parts = _parts(evaluations, shared)
    errors = np.array(
        [[_value(held, metric) for held in each] for each in parts]
    )  # Shape (candidates, parts).
    if np.isnan(errors).any():
        return None

    def learned(values: Floats) -> tuple[npt.NDArray[np.intp], Combination]:
        return _learned(values, spec, metric, wanted)

    combined, ours, rivals = [], [], []
    for part in range(errors.shape[1]):
        members, combination = learned(np.delete(errors, part, axis=1).mean(axis=1))
        held = [parts[member][part] for member in members]
        combined.append(replace(held[0], predictions=combination.of([each.predictions for each in held])))
        ours.append(_value(combined[-1], metric))
        rivals.append(errors[members[0], part])
    found: list[HeldOut | None] = [None] * len(evaluations[0].held)
    values: list[float | None] = [None] * len(found)
    for place, held_out in zip(shared, combined if len(shared) > 1 else [_joined(combined)], strict=True):
        measured = metric.measure(held_out)
        if isinstance(measured, str):
            return None
        found[place], values[place] = held_out, measured
    whole = np.array([[each.values[place] for place in shared] for each in evaluations], dtype=np.float64)
    members, combination = learned(whole.mean(axis=1))
    evaluation = Evaluation(tuple(values), tuple(found), "", 0.0)
    better = metric.badness(float(np.mean(ours))) < metric.badness(float(np.mean(rivals)))
    return JudgedEnsemble(tuple(members.tolist()), combination, evaluation, better)


def _parts(evaluations: Sequence[Evaluation], shared: Sequence[int]) -> list[list[HeldOut]]:
    """What each candidate predicted of each part of the held-out rows."""
    if len(shared) > 1:
        return [[held for place in shared if (held := each.held[place]) is not None] for each in evaluations]
    whole = [held for each in evaluations if (held := each.held[shared[0]]) is not None]
    middle = len(whole[0].actual) // 2
    return [[_rows(held, slice(None, middle)), _rows(held, slice(middle, None))] for held in whole]


def _rows(held: HeldOut, rows: slice) -> HeldOut:
    predictions = {name: values[rows] for name, values in held.predictions.items()}
    return replace(held, actual=held.actual[rows], predictions=predictions)


def _joined(parts: Sequence[HeldOut]) -> HeldOut:
    predictions = {
        name: np.concatenate([part.predictions[name] for part in parts]) for name in parts[0].predictions
    }
    return replace(parts[0], actual=np.concatenate([part.actual for part in parts]), predictions=predictions)


def _value(held: HeldOut, metric: Metric) -> float:
    """NaN where there is none."""
    measured = metric.measure(held) if len(held.actual) else ""
    return np.nan if isinstance(measured, str) else measured


def _learned(
    values: Floats, spec: FitSpec, metric: Metric, wanted: EnsembleSpec
) -> tuple[npt.NDArray[np.intp], Combination]:
    """Members, best first, and how they combine, by the candidates' values of the metric."""
    members = np.argsort(-values if metric.higher_is_better else values, kind="stable")[: wanted.top]
    if wanted.combine == "median":
        return members, Combination(None, spec.classes)
    return members, Combination(tuple(_weights(values[members], metric.perfect).tolist()), spec.classes)


def _weights(values: Floats, perfect: float | None) -> Floats:
    """Shares by the inverse of each error (Bates and Granger, The Combination of Forecasts, OR 20, 1969, for errors unrelated).

    Equal ones where the metric has no zero to measure errors from.
    """
    errors = None if perfect is None else (values - perfect) * (1 if perfect == 0 else -1)
    if errors is None or (errors < 0).any():
        shares = np.ones(len(values))
    elif (errors == 0).any():
        shares = (errors == 0).astype(np.float64)
    else:
        shares = errors.min() / errors
    whole: Floats = shares / shares.sum()
    return whole
