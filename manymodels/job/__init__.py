"""The job file: the specs of all rooms, composed, read from YAML, the environment and flags."""

from manymodels.job.job import Job
from manymodels.job.loading import load_job
from manymodels.job.spec import JobSpec

__all__ = ["Job", "JobSpec", "load_job"]
