"""A job's rows split by key, where the job runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from manymodels.compute.executor import open_cluster
from manymodels.dataset.roles import Roles
from manymodels.dataset.sources import Source
from manymodels.dataset.spec import DataSpec
from manymodels.job.job import Job
from manymodels.partitioning.split import split
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage

__all__ = ["split_rows"]


def split_rows(
    job: Job,
    source: Source,
    data: DataSpec,
    roles: Roles,
    storage: Storage,
    *,
    begin: Callable[[], object] | None = None,
) -> PartitionStore:
    """Split rows by key: on the job's scheduler when it names one, else here.

    A table in memory is split here whatever the job says: its rows are here, and workers find theirs in the store.

    Args:
        job: The job.
        source: The rows.
        data: The ``data`` section for these rows.
        roles: Which column is what.
        storage: The store to write to.
        begin: Called when there is something to split, before it is.

    Raises:
        DataError: The rows do not fit the job.
        StoreError: The store could not be written.
        ComputeError: No scheduler, no workers, or workers that do not fit.
    """
    elsewhere = job.compute.target == "dask" and source.kind != "table"
    return split(
        source,
        data,
        roles,
        storage,
        memory=None if job.compute.memory == "auto" else job.compute.memory,
        cluster=partial(open_cluster, job.compute, storage_root=storage.root) if elsewhere else None,
        begin=begin,
    )
