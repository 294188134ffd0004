"""Search spaces: parameters that stand for many values, and the configurations that are drawn of them.

A space is a mapping of one name to a list, as a parameter's value or anywhere inside one: ``{uniform: [0, 1]}``,
``{log_uniform: [1e-3, 1e3]}``, ``{integers: [1, 5]}`` (both ends included), ``{choice: [a, b]}``. The options of a choice are
taken as written, so that ``{choice: [{choice: [a, b]}]}`` passes the inner mapping on.

A run draws its configurations once, and every key tries the same ones: what won for one key says something about another, and
batched trainers take them like any other candidate. They are points of a Kronecker sequence (Niederreiter, Random Number
Generation and Quasi-Monte Carlo Methods, 1992; its slopes are powers of the generalised golden ratio), shifted by the run's
seed: they fill the space more evenly than independent draws, and more draws begin with the fewer ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product, zip_longest
from typing import Any

from manymodels.models.spec import CandidateSpec
from manymodels.selection.spec import SelectionSpec

__all__ = ["Space", "check_spaces", "configurations", "has_spaces"]

_KINDS = ("uniform", "log_uniform", "integers", "choice")
_PATIENCE = 50  # points without a new configuration, before the space counts as used up

_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Space:
    """The values that one parameter may have.

    Attributes:
        kind: ``uniform``, ``log_uniform``, ``integers`` or ``choice``.
        values: The two ends, or the options.
    """

    kind: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, value: Any) -> Space | None:
        """The space that a value is written as; None where it is a plain value.

        Raises:
            ValueError: It is written as a space, and is none.
        """
        if not isinstance(value, Mapping) or len(value) != 1:
            return None
        kind, values = next(iter(value.items()))
        if kind not in _KINDS or not isinstance(values, list | tuple):
            return None
        if kind == "choice":
            if not values:
                raise ValueError("`choice` needs at least one option; found none")
            return cls(kind, tuple(values))
        number = int if kind == "integers" else (int, float)
        if len(values) != 2 or not all(isinstance(v, number) and not isinstance(v, bool) for v in values):
            what = "whole numbers" if kind == "integers" else "numbers"
            raise ValueError(f"`{kind}` takes two {what}, [lowest, highest]; found {list(values)!r}")
        low, high = values
        if not low < high:
            raise ValueError(f"`{kind}` takes [lowest, highest]; found {list(values)!r}")
        if kind == "log_uniform" and low <= 0:
            raise ValueError(f"`log_uniform` needs a lowest value above zero; found {low!r}")
        return cls(kind, (low, high))

    @property
    def size(self) -> float:
        """How many values there are."""
        if self.kind == "choice":
            return len(self.values)
        return self.values[1] - self.values[0] + 1 if self.kind == "integers" else math.inf

    def at(self, share: float) -> Any:
        """The value below which this share of the space lies; four significant digits of a number.

        Args:
            share: In [0, 1).
        """
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values
        if self.kind == "integers":
            return low + int(share * (high - low + 1))
        exact = low * (high / low) ** share if self.kind == "log_uniform" else low + share * (high - low)
        return min(max(float(f"{exact:.4g}"), float(low)), float(high))

    def all(self) -> Iterator[Any]:
        """Every value of a finite space."""
        yield from self.values if self.kind == "choice" else range(self.values[0], self.values[1] + 1)


def check_spaces(candidate: CandidateSpec) -> None:
    """Refuse a candidate with a space that is none.

    Raises:
        ValueError: With the names of candidate and parameter.
    """
    for _ in _spaces(candidate):
        pass


def has_spaces(candidate: CandidateSpec) -> bool:
    """Whether a candidate stands for several configurations."""
    return any(True for _ in _spaces(candidate))


def configurations(
    candidates: Sequence[CandidateSpec], selection: SelectionSpec, seed: int
) -> tuple[CandidateSpec, ...]:
    """What a run may try on a key: the candidates, those with spaces replaced by what is drawn of them.

    The first of each candidate come first, in the job's order, then the second ones, and so on. A budget of trials cuts the end
    off, unless the order is to be learned.

    Args:
        candidates: Of the job.
        selection: Of the job.
        seed: The run's.

    Returns:
        At least one; those that were drawn are named ``ridge#1``, ``ridge#2``, …

    Raises:
        ValueError: A space is none.
    """
    drawn = [_drawn(candidate, selection.drawn, seed) for candidate in candidates]
    found = [one for round_ in zip_longest(*drawn) for one in round_ if one is not None]
    return tuple(found if selection.learn else found[: selection.max_trials])


def _drawn(candidate: CandidateSpec, count: int, seed: int) -> list[CandidateSpec]:
    spaces = dict(sorted(_spaces(candidate), key=lambda entry: [str(part) for part in entry[0]]))
    if not spaces:
        return [candidate]
    found: dict[str, dict[str, Any]] = {}

    def add(values: Sequence[Any]) -> bool:
        params = _filled(candidate.params, dict(zip(spaces, values, strict=True)), ())
        key = json.dumps(params, sort_keys=True, default=str)
        new = key not in found
        found.setdefault(key, params)
        return new

    barren = 0
    for shares in _points(f"{seed} {candidate.name}", list(spaces)):
        new = add([space.at(share) for space, share in zip(spaces.values(), shares, strict=True)])
        barren = 0 if new else barren + 1
        if len(found) == count or barren == _PATIENCE:
            break
    if len(found) < count and math.prod(space.size for space in spaces.values()) <= count:
        for values in product(*(space.all() for space in spaces.values())):
            add(values)
    return [
        candidate.model_copy(update={"name": f"{candidate.name}#{number}", "params": params})
        for number, params in enumerate(found.values(), start=1)
    ]


def _points(seed: str, paths: Sequence[_Path]) -> Iterator[list[float]]:
    """Points of the unit cube that fill it evenly, one dimension a path."""
    golden = 2.0
    for _ in range(64):  # the root of x ** (d + 1) = x + 1
        golden = (1 + golden) ** (1 / (len(paths) + 1))
    shifts = [_share(f"{seed} {'.'.join(map(str, path))}") for path in paths]
    number = 0
    while True:
        yield [(shift + number * golden ** -(place + 1)) % 1.0 for place, shift in enumerate(shifts)]
        number += 1


def _share(text: str) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def _spaces(candidate: CandidateSpec) -> Iterator[tuple[_Path, Space]]:
    try:
        path: _Path = ()
        for path, value in _mappings(candidate.params, ()):
            space = Space.parse(value)
            if space is not None:
                yield path, space
    except ValueError as error:
        raise ValueError(
            f"candidate {candidate.name}, parameter {'.'.join(map(str, path))}: {error}"
        ) from None


def _mappings(value: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    """The mappings in a value, outer first; what lies in the options of a choice is none of them."""
    if isinstance(value, Mapping):
        if path:
            yield path, value
        if Space.parse(value) is None:
            for name, inner in value.items():
                yield from _mappings(inner, (*path, name))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _mappings(inner, (*path, place))


def _filled(value: Any, drawn: Mapping[_Path, Any], path: _Path) -> Any:
    """A value with its spaces replaced by what was drawn of them."""
    if path in drawn:
        return drawn[path]
    if isinstance(value, Mapping):
        return {name: _filled(inner, drawn, (*path, name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, drawn, (*path, place)) for place, inner in enumerate(value)]
    return value
