"""Estimators from import paths: ``sklearn.linear_model.Ridge`` and its parameters, however deep."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from manymodels.exceptions import JobError

__all__ = ["build_estimator", "check_names", "import_attribute", "nearest"]

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAMED = frozenset({"steps", "transformer_list", "estimators"})
"""Parameters of compositions that scikit-learn wants as (name, estimator) pairs."""


def build_estimator(path: str, params: Mapping[str, Any], where: str) -> Any:
    """An unfitted estimator.

    A parameter's value that is an import path, or a mapping of one import path to parameters, becomes an
    estimator too; the steps of a pipeline take the names that ``make_pipeline`` would give them. Whatever the
    job says, ``n_jobs`` is 1: the work is spread over keys.

    Args:
        path: Import path of a class with scikit-learn's interface.
        params: Its parameters, as the job file has them.
        where: What errors begin with: the place in the job file.

    Raises:
        JobError: The path leads nowhere, its import fails, it is no estimator, or it does not take these
            parameters.
    """
    module, _, name = path.rpartition(".")
    kind: Any = import_attribute(module, name, where)
    if not (inspect.isclass(kind) and hasattr(kind, "fit") and hasattr(kind, "get_params")):
        raise JobError(f"{where}: {path} is no estimator: a class with `fit` and `get_params` was expected")
    signature = inspect.signature(kind)
    check_names(path, params, signature, where)
    values = {}
    for name, value in params.items():
        value = _built(value, where)
        parameter = signature.parameters.get(name)
        if name in _NAMED and isinstance(value, list):
            value = _paired(value)
        elif isinstance(value, list) and parameter and isinstance(parameter.default, tuple):
            value = tuple(value)  # YAML has no tuples, and some parameters must be one
        values[name] = value
    try:
        estimator: Any = kind(**values)
        parallel = [name for name in estimator.get_params() if name.rpartition("__")[2] == "n_jobs"]
        if parallel:
            estimator.set_params(**dict.fromkeys(parallel, 1))
        if hasattr(
            estimator, "_validate_params"
        ):  # scikit-learn checks at fit: here it stops the job, not every key
            estimator._validate_params()
    except Exception as error:
        raise JobError(f"{where}: {path}: {_one_line(error)}") from error
    return estimator


def import_attribute(module: str, name: str, where: str, place: str = "") -> Any:
    """What ``module`` has under ``name``.

    Args:
        module: Import path.
        name: Of the attribute.
        where: What errors begin with.
        place: Where the module was looked for, when it is not just any installed package.

    Raises:
        JobError: The module or the attribute is not there (with the nearest name), or importing it fails.
    """
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise JobError(f"{where}: importing {module} failed: {_one_line(error)}") from error
        parent, _, missing = error.name.rpartition(".")
        hint = nearest(missing, _submodules(parent)) if parent else ""
        place = place or ("" if parent else " among the installed packages")
        raise JobError(f"{where}: no module {error.name!r}{place}{hint}") from None
    except (Exception, SystemExit) as error:
        raise JobError(f"{where}: importing {module} failed: {_one_line(error)}") from error
    try:
        return getattr(found, name)
    except AttributeError:
        hint = nearest(name, (other for other in dir(found) if not other.startswith("_")))
        raise JobError(f"{where}: {module} has no {name!r}{hint}") from None
    except ImportError as error:  # scikit-learn's experimental estimators
        raise JobError(f"{where}: importing {module}.{name} failed: {_one_line(error)}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)`` when a known name is close; nothing otherwise."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_names(path: str, params: Mapping[str, Any], signature: inspect.Signature, where: str) -> None:
    """Check that a call takes parameters of these names, and that it needs no other.

    Args:
        path: What is called, for messages.
        params: The parameters.
        signature: What is known of the call.
        where: What errors begin with.

    Raises:
        JobError: It does not, with the nearest name; or it needs another.
    """
    parameters = signature.parameters.values()
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in params:
        if name not in signature.parameters and not anything:
            raise JobError(f"{where}: {path} has no parameter {name!r}{nearest(name, signature.parameters)}")
    for parameter in parameters:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        needed = parameter.default is parameter.empty and not variadic
        if needed and parameter.name not in params:
            raise JobError(f"{where}: {path} needs the parameter {parameter.name!r}")


def _built(value: Any, where: str) -> Any:
    if isinstance(value, str) and _is_path(value):
        return build_estimator(value, {}, where)
    if isinstance(value, dict):
        if len(value) == 1:
            path, params = next(iter(value.items()))
            if isinstance(path, str) and _is_path(path) and isinstance(params, dict | None):
                return build_estimator(path, params or {}, where)
        return {name: _built(entry, where) for name, entry in value.items()}
    if isinstance(value, list):
        return [_built(entry, where) for entry in value]
    return value


def _is_path(text: str) -> bool:
    """Whether a text is meant as an import path: dotted, and beginning with a package that is there."""
    if _PATH.fullmatch(text) is None:
        return False
    try:
        return importlib.util.find_spec(text.partition(".")[0]) is not None
    except ValueError:  # a module without a spec, such as __main__
        return False


def _paired(entries: list[Any]) -> list[Any]:
    """Estimators as (name, estimator) pairs; pairs that are there already stay."""
    names = [entry if isinstance(entry, str) else type(entry).__name__.lower() for entry in entries]
    total = Counter(names)
    seen: Counter[str] = Counter()
    pairs: list[Any] = []
    for entry, name in zip(entries, names, strict=True):
        if isinstance(entry, list):
            pairs.append(tuple(entry))
            continue
        seen[name] += 1
        pairs.append((name if total[name] == 1 else f"{name}-{seen[name]}", entry))
    return pairs


def _submodules(package: str) -> list[str]:
    module: ModuleType = importlib.import_module(package)
    return [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
