"""One model per key: split a dataset by key, train every key's model, register them all, score them in bulk.

>>> import manymodels as mm
>>> job = mm.Job.from_yaml("configs/store_sales.yaml")  # doctest: +SKIP
>>> run = mm.train(job)  # doctest: +SKIP
>>> scores = mm.score(job, future="sample_data/store_sales_future.parquet")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manymodels.api import Run, plan, score, train
    from manymodels.estimators import PartitionedClassifier, PartitionedForecaster, PartitionedRegressor
    from manymodels.exceptions import ManyModelsError
    from manymodels.job.job import Job
    from manymodels.registry import Registry
    from manymodels.scoring.monitor import monitor

__version__ = "0.1.0"
__all__ = [
    "Job",
    "ManyModelsError",
    "PartitionedClassifier",
    "PartitionedForecaster",
    "PartitionedRegressor",
    "Registry",
    "Run",
    "monitor",
    "plan",
    "score",
    "train",
]

_HOMES = {
    "Job": "manymodels.job.job",
    "ManyModelsError": "manymodels.exceptions",
    "PartitionedClassifier": "manymodels.estimators",
    "PartitionedForecaster": "manymodels.estimators",
    "PartitionedRegressor": "manymodels.estimators",
    "Registry": "manymodels.registry",
    "Run": "manymodels.api",
    "monitor": "manymodels.scoring.monitor",
    "plan": "manymodels.api",
    "score": "manymodels.api",
    "train": "manymodels.api",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `import manymodels` stays light.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'manymodels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
