"""What an estimator wants and can do, read off its class and tags.

The rules, by the estimator itself or, for one that wraps another (``estimator``, ``regressor``), by the
wrapped one:

- Numbers are standardised for everything in ``sklearn.linear_model``, ``svm``, ``neighbors``,
  ``neural_network``, ``gaussian_process`` and ``kernel_ridge``: penalties, distances and gradient steps
  depend on the units of the columns; least squares without a penalty does not change. Indicator columns
  of categories stay 0 and 1.
- A pipeline brings its own scaling, so nothing is standardised in front of it: a pipeline of one step is the
  way to fit an estimator on numbers as they are.
- Trees take categories as codes, histogram gradient boosting as categories, everything else as indicators.
- Missing numbers stay where the estimator's tag ``allow_nan`` says that it takes them, or a pipeline imputes
  them.
"""

from __future__ import annotations

from typing import Any, Literal

from manymodels.models.tabular.preprocessing import Needs

__all__ = ["estimator_kind", "needs_of", "weight_parameter"]

_SCALED = (
    "sklearn.linear_model",
    "sklearn.svm",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.gaussian_process",
    "sklearn.kernel_ridge",
)
_HISTOGRAM = ("sklearn.ensemble._hist_gradient_boosting",)
_TREES = ("sklearn.tree", "sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._iforest")
_WRAPPED = ("estimator", "regressor")


def estimator_kind(estimator: Any) -> str | None:
    """``regressor``, ``classifier``, ``outlier_detector`` and so on; None when the estimator does not say."""
    tags = _tags(estimator)
    kind = getattr(estimator, "_estimator_type", None) if tags is None else tags.estimator_type
    return None if kind is None else str(kind)


def needs_of(estimator: Any, *, as_given: bool = False) -> Needs:
    """What the estimator's matrix must be; ``as_given`` leaves numbers in their units, whatever the estimator."""
    steps = _steps(estimator)
    last = _innermost(steps[-1]) if steps else _innermost(estimator)
    if steps:
        scaled, missing = False, _pipeline_takes_missing(steps)
    else:
        scaled = not as_given and _is_from(last, _SCALED)
        missing = not scaled and _takes_missing(estimator)
    categories: Literal["columns", "codes", "native"] = "columns"
    if _is_from(last, _HISTOGRAM):
        categories = "native" if last is estimator else "codes"
    elif _is_from(last, _TREES):
        categories = "codes"
    return Needs(scaled=scaled, missing=missing, categories=categories)


def weight_parameter(estimator: Any) -> str | None:
    """The argument of ``fit`` that takes sample weights; None when there is none."""
    from sklearn.utils.validation import has_fit_parameter

    if steps := getattr(estimator, "steps", None):
        inner = weight_parameter(steps[-1][1])
        return None if inner is None else f"{steps[-1][0]}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def _tags(estimator: Any) -> Any:
    from sklearn.utils import get_tags

    if not hasattr(estimator, "__sklearn_tags__"):  # classes that only look like scikit-learn's
        return None
    try:
        return get_tags(estimator)
    except AttributeError:  # a class with a mixin of scikit-learn's, but not its base
        return None


def _steps(estimator: Any) -> list[Any]:
    return [step for _, step in getattr(estimator, "steps", ()) if step not in (None, "passthrough")]


def _innermost(estimator: Any) -> Any:
    for name in _WRAPPED:
        inner = getattr(estimator, name, None)
        if hasattr(inner, "fit"):
            return _innermost(inner)
    return estimator


def _takes_missing(estimator: Any) -> bool:
    tags = _tags(estimator)
    return tags is not None and bool(tags.input_tags.allow_nan)


def _pipeline_takes_missing(steps: list[Any]) -> bool:
    for step in steps:
        if _is_from(step, ("sklearn.impute",)):
            return True
        if not _takes_missing(step):
            return False
    return True


def _is_from(estimator: Any, packages: tuple[str, ...]) -> bool:
    """Whether the estimator's class, or one that it is derived from, is in one of these packages."""
    modules = (kind.__module__ for kind in type(estimator).__mro__)
    return any(module == p or module.startswith(f"{p}.") for module in modules for p in packages)
