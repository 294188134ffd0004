"""How a champion's configuration does on the windows of today's candidates, when it is none of them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from manymodels.evaluation.evaluate import evaluate
from manymodels.evaluation.metrics import Metric
from manymodels.evaluation.panel_splits import panel_splits
from manymodels.evaluation.panels import evaluate_panel
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import make_splits
from manymodels.models.batched.contract import BatchedTrainer, Ints, Panel
from manymodels.models.contract import Family, FitSpec, Floats
from manymodels.records import Rows
from manymodels.selection.panels import split_means

__all__ = ["champion_metric", "champion_metrics"]


def champion_metric(
    family: Family,
    rows: Rows,
    spec: FitSpec,
    evaluation: EvaluationSpec,
    metric: Metric,
    numbers: Collection[int],
) -> float | None:
    """The mean over the splits that a key's winner was judged on.

    Args:
        family: The champion's.
        rows: The key's.
        spec: With the key's seed.
        evaluation: What is held out.
        metric: What is measured.
        numbers: Of the winner's splits.

    Returns:
        None where it has no value on one of them, for whatever reason: then it cannot be compared.
    """
    try:
        splits = make_splits(rows, spec, evaluation)
        found = evaluate(family, splits, spec, metric, cadence=evaluation.cadence(spec.task))
    except (Exception, SystemExit):
        return None
    values = [value for split, value in zip(splits, found.values, strict=True) if split.number in numbers]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def champion_metrics(
    trainer: BatchedTrainer,
    panel: Panel,
    seeds: Ints,
    spec: FitSpec,
    evaluation: EvaluationSpec,
    metric: Metric,
) -> Floats:
    """What ``champion_metric`` gives for each key of a panel; NaN for None. Shape (keys,)."""
    splits = panel_splits(panel, seeds, spec, evaluation)
    asked = np.zeros((len(splits), len(panel)), dtype=bool)
    for number, split in enumerate(splits):
        asked[number, split.places] = True
    return split_means(evaluate_panel(trainer, splits, seeds, spec, metric).values, asked)
