"""Every error that manymodels raises.

ManyModelsError                 exit code 1
├── UsageError                  exit code 2: the call, the job file, or data that does not fit the job
│   ├── JobError                the job file, its fields and overrides
│   ├── DataError               the input's files, columns, keys or values
│   └── NotFoundError           a run, model, version, alias or store that is not there
├── StoreError                  the store's files
│   ├── DamagedError            a file whose content is not what the registry recorded
│   ├── TrustError              what the reader's settings do not trust: a pickle, an unsigned model, a store from elsewhere
│   └── StoreFormatError        a store of another format
├── RegistryError               the registry's database
│   └── ConflictError           somebody else changed it first
├── ComputeError                the executor: workers, scheduler, sandbox
├── RunError                    a run that stopped; it can be resumed
│   └── RunInterrupted          exit code 130: stopped by the user
└── ModelError                  one key's model; returned as data in outcomes, never ends a run
    ├── UnusableRowsError       the key's rows cannot train any model (too few, no target)
    └── CannotExtendError       a fitted forecast that cannot take newer history
"""

from __future__ import annotations

from manymodels.redaction import redact

__all__ = [
    "CannotExtendError",
    "ComputeError",
    "ConflictError",
    "DamagedError",
    "DataError",
    "JobError",
    "ManyModelsError",
    "ModelError",
    "NotFoundError",
    "RegistryError",
    "RunError",
    "RunInterrupted",
    "StoreError",
    "StoreFormatError",
    "TrustError",
    "UnusableRowsError",
    "UsageError",
]


class ManyModelsError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: What was expected, what was found, where, and what to do; one line. Secrets in it are hidden.
        key: The key concerned, as users write it (``store=17``), when there is one.
        run: The run concerned, when there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, key: str | None = None, run: str | None = None) -> None:
        message = redact(message)
        super().__init__(message)
        self.message = message
        self.key = key
        self.run = run

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.key, self.run)


def _rebuild(kind: type[ManyModelsError], message: str, key: str | None, run: str | None) -> ManyModelsError:
    return kind(message, key=key, run=run)


class UsageError(ManyModelsError):
    """The call, the job file, or data that does not fit the job."""

    exit_code = 2


class JobError(UsageError):
    """The job file, a field of it, or an override."""


class DataError(UsageError):
    """The input's files, columns, keys or values."""


class NotFoundError(UsageError):
    """A run, model, version, alias or store that is not there."""


class StoreError(ManyModelsError):
    """The store's files could not be read or written."""


class DamagedError(StoreError):
    """A file of the store is not what the registry recorded."""


class TrustError(StoreError):
    """What the reader's settings do not trust: a pickle, an unsigned model, or a store from elsewhere."""


class StoreFormatError(StoreError):
    """The store was written in a format that this version does not know."""


class RegistryError(ManyModelsError):
    """The registry's database could not be used."""


class ConflictError(RegistryError):
    """Somebody else changed the registry first."""


class ComputeError(ManyModelsError):
    """Workers, scheduler or sandbox failed."""


class RunError(ManyModelsError):
    """A run stopped before its end; ``runs resume`` continues it."""


class RunInterrupted(RunError):  # noqa: N818 - an interruption is no error of the program
    """The user stopped the run; ``runs resume`` continues it."""

    exit_code = 130


class ModelError(ManyModelsError):
    """One key's model could not be fitted or used."""


class UnusableRowsError(ModelError):
    """A key's rows cannot train any model, by a documented rule."""


class CannotExtendError(ModelError):
    """A fitted forecast cannot take newer history without a refit."""
