"""The job file's ``compute`` section."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import Field, model_validator

from manymodels.specs import Size, Spec

__all__ = ["ComputeSpec"]


class ComputeSpec(Spec):
    """Where a job runs."""

    target: Literal["local", "serial", "dask"] = "local"
    """`local`: a Dask cluster of processes on this machine; `serial`: this process; `dask`: a scheduler by address, where
    files are split by key as well."""
    address: str | None = None
    """Of the scheduler (`tcp://host:8786`), for `dask`."""
    workers: int | Literal["auto"] = "auto"
    """Worker processes of a local cluster; `auto` is one per core, or none where this process would be done sooner."""
    threads: int = Field(default=1, ge=1)
    """BLAS and OpenMP threads per fit."""
    memory: Size | Literal["auto"] = "auto"
    """Memory of each local worker, and of the process that splits."""
    security: dict[str, Any] = Field(default_factory=dict)
    """TLS settings, passed to `distributed.Security`."""

    @model_validator(mode="after")
    def _consistent(self) -> ComputeSpec:
        if (self.target == "dask") != (self.address is not None):
            raise ValueError("`address` goes with `target: dask`, and only with it")
        if isinstance(self.workers, int) and self.workers < 1:
            raise ValueError(f"`workers` must be `auto` or at least 1; found {self.workers}")
        return self

    @property
    def local_workers(self) -> int:
        """Worker processes of a local cluster."""
        if isinstance(self.workers, int):
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
