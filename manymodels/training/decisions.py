"""Champion against challenger: what a run decides where both were judged on the same windows.

Where they were not (no champion, a configuration that cannot be fitted any more, no metric), the registry's rule decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from manymodels.selection.incumbents import stays
from manymodels.training.batch import INCUMBENT
from manymodels.training.outcomes import RunOutcomes
from manymodels.training.script import RunScript

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["decisions"]


def decisions(script: RunScript, outcomes: RunOutcomes, path: str) -> pa.Table | None:
    """Which of a run's new versions are promoted.

    A champion's configuration that is a candidate of the run competed inside the run: the winner beat it, or is it, fitted to
    newer rows. One that is no candidate must be beaten by ``promotion.min_gain``; a tie keeps the champion.

    Args:
        script: Of the run.
        outcomes: Of the run.
        path: Where they were written.

    Returns:
        ``key_id`` and ``promote``, without the keys that the registry decides on; None when there are none with a champion.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if INCUMBENT not in script.plan.column_names or script.job.promotion.rule != "better":
        return None
    names = script.plan.select(["key_id", INCUMBENT])
    trained = outcomes.trained(path, ["key_id", "metric", "champion_metric"])
    both = trained.join(names, "key_id", join_type="inner")
    both = both.filter(
        pc.and_(pc.is_valid(both.column("metric")), pc.is_valid(both.column("champion_metric")))
    )
    challenger, champion = (
        both.column(name).to_numpy().astype(np.float64) for name in ("metric", "champion_metric")
    )
    if script.settings.higher_is_better:
        challenger, champion = -challenger, -champion
    beside = pa.array([other.name for other in script.settings.fit.champions], pa.string())
    competed = ~pc.is_in(both.column(INCUMBENT).cast(pa.string()), beside).to_numpy()
    beaten = ~stays(champion, challenger, script.job.promotion.min_gain)
    return pa.table({"key_id": both.column("key_id"), "promote": pa.array(competed | beaten)})
