"""Signatures that are looked up once: scikit-learn asks for those of its constructors whenever it copies an estimator."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

__all__ = ["remember_signatures"]


def remember_signatures(estimator: Any) -> None:
    """Keep the signatures of the constructors of an estimator, and of those in it, where ``inspect.signature`` looks first.

    A forest copies its tree for each that it grows, and reads the constructor anew five times: a tenth of its fit.
    """
    for each in _estimators(estimator):
        constructor = type(each).__init__
        if inspect.isfunction(constructor) and not hasattr(constructor, "__signature__"):
            with contextlib.suppress(ValueError, TypeError):  # no signature that Python can tell
                constructor.__signature__ = inspect.signature(constructor)  # type: ignore[attr-defined]


def _estimators(value: Any) -> Iterator[Any]:
    """An estimator and those that it holds: what has ``get_params``, also in lists and in (name, estimator) pairs."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting += value
        elif hasattr(value, "get_params") and not inspect.isclass(value) and id(value) not in seen:
            seen.add(id(value))
            yield value
            waiting += vars(value).values() if hasattr(value, "__dict__") else ()
