"""A batch in the hands of a runner: what died is blamed, tried again as often as allowed, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from manymodels.compute.sandbox import Died, Raised, Runner
from manymodels.exceptions import ComputeError
from manymodels.job.flights import noted
from manymodels.job.runner import reraise
from manymodels.records import AttemptFailure

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Blame", "supervise"]

Blame = Mapping[str, Mapping[str, AttemptFailure]]
"""key_id to what was tried on it (a candidate, a model) to how that ended the child."""

_LOST = 2  # deaths beyond the retries that can be blamed on nothing: a child that cannot even start


_NOTHING: Blame = MappingProxyType({})


class _Keyed(Protocol):
    @property
    def key_id(self) -> str: ...


K = TypeVar("K", bound=_Keyed)


def supervise(
    runner: Runner,
    function: str,
    keys: pa.Table,
    payload: Callable[[pa.Table, Blame], object],
    *,
    run_id: str,
    result: type[K],
    timeout: float,
    memory: int,
    retries: int,
    blame: Blame = _NOTHING,
    keep: Callable[[K], K] | None = None,
) -> dict[str, K]:
    """Run a batch function until every key has a result.

    The function yields ``Started((key_id, attempt))`` before each thing it tries on a key, and one ``result`` per key. When
    the child dies, what was started and not done has a strike; with more than ``retries`` it is in the blame, and the
    function does not try it again.

    Args:
        runner: The child, or this process.
        function: ``module:name`` of the batch function.
        keys: The batch's keys, with ``key_id``.
        payload: The function's argument for the keys that are left and the blame so far.
        run_id: The run, for who asks what is in flight.
        result: What it yields for a key.
        timeout: Seconds per attempt.
        memory: Bytes of the child's resident size.
        retries: Further tries of an attempt that ended the child.
        blame: What is not to be tried from the start.
        keep: Called with each result as it comes; what it returns is the result.

    Returns:
        key_id to result, in the order in which they came.

    Raises:
        ComputeError: The child died again and again before it started anything, or the function itself raised.
    """
    import pyarrow as pa

    done: dict[str, K] = {}
    strikes: dict[tuple[str, str], int] = {}
    blamed = {key_id: dict(attempts) for key_id, attempts in blame.items()}
    lost = 0
    while True:
        died: Died | None = None
        messages = runner.run(function, payload(keys, blamed), timeout=timeout, memory=memory)
        for message in noted(messages, run_id, keys):
            if isinstance(message, result):
                done[message.key_id] = message if keep is None else keep(message)
            elif isinstance(message, Died):
                died = message
            elif isinstance(message, Raised):
                raise reraise(message)
        if died is None:
            return done
        key_id, attempt = cast("tuple[str, str]", died.started.unit) if died.started else ("", "")
        if not key_id or key_id in done:
            lost += 1
            if lost > retries + _LOST:
                raise ComputeError(
                    f"the model process ended {lost} times before it started a key: {died.error}; "
                    f"{died.message or 'nothing more is known'}"
                )
        else:
            strikes[key_id, attempt] = strikes.get((key_id, attempt), 0) + 1
            if strikes[key_id, attempt] > retries:
                failure = AttemptFailure(died.cause, died.error, died.message, candidate=attempt)
                blamed.setdefault(key_id, {})[attempt] = failure
        left = [key not in done for key in keys.column("key_id").to_pylist()]
        keys = keys.filter(pa.array(left, pa.bool_()))
        if keys.num_rows == 0:
            return done
