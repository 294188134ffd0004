"""Where model code of a run executes: the warm child with the run's own modules, or this process."""

from __future__ import annotations

from pathlib import Path

from manymodels.artifacts.code import ensure_code, import_from
from manymodels.compute.sandbox import InProcess, Raised, Runner, Sandbox, spare_sandbox, warm_sandbox
from manymodels.exceptions import ComputeError
from manymodels.job.settings import CodeSnapshot
from manymodels.storage import Storage

__all__ = ["reraise", "runner_for", "spare_runner"]

_PRELOAD = ("manymodels.training.batch", "manymodels.scoring.batch", "manymodels.models.tabular.family")


def runner_for(storage: Storage | None, code: CodeSnapshot | None, *, isolated: bool, threads: int) -> Runner:
    """The runner for a run's model code; its snapshot of the user's modules goes before any other of the same name.

    Args:
        storage: Of the store; None when there is none, and so no code in it.
        code: The user's own modules; None when there are none.
        isolated: In the child process; else here.
        threads: BLAS and OpenMP threads of the child.
    """
    paths = _paths(storage, code)
    if isolated:
        return warm_sandbox(preload=_PRELOAD, paths=paths, threads=threads)
    for path in paths:
        import_from(Path(path))
    return InProcess()


def spare_runner(storage: Storage | None, code: CodeSnapshot | None, *, threads: int) -> Sandbox:
    """What ``runner_for`` gives to the thread that asks next for an isolated one with these settings."""
    return spare_sandbox(preload=_PRELOAD, paths=_paths(storage, code), threads=threads)


def _paths(storage: Storage | None, code: CodeSnapshot | None) -> tuple[str, ...]:
    if storage is None or code is None:
        return ()
    return (str(ensure_code(storage, code.path, code.sha256)),)


def reraise(raised: Raised) -> ComputeError:
    """The error for an exception that left the engine's own code in the child."""
    return ComputeError(f"{raised.error}: {raised.message}")
