"""What is tried on one key, in which order, and when it is enough: the search asks, somebody else fits and tells.

A search knows no models and no rows. ``ask`` says which configuration to judge next, and by how much of the evaluation;
``tell`` says how it did. Whatever counts trials is exact: the same configurations are tried whatever the workers. Seconds are
safety limits, and a search that hit one says so (``stopped``).

Successive halving (Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016):
all configurations are judged on little, the better third of them on three times as much, and so on, the last on everything.
Little is first fewer windows, whose results are kept, then the newest third of the training rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["ETA", "LEAST_ROWS", "Ask", "Halving", "InOrder", "Limits", "Rung", "Search", "rungs_of"]

ETA = 3
"""Of so many configurations on a rung of successive halving one reaches the next."""

LEAST_ROWS = 60
"""Training rows below which a rung of successive halving says little."""


@dataclass(frozen=True)
class Ask:
    """What is to be judged next.

    Attributes:
        place: Of the configuration.
        start: The first split on which it is to be judged; it has been judged on those before.
        stop: One past the last.
        share: Of the training rows of each split, the newest; results on less than 1 are only compared with each other.
    """

    place: int
    start: int
    stop: int
    share: float = 1.0


class Search(Protocol):
    """One key's search."""

    @property
    def stopped(self) -> str:
        """The limit in seconds that ended it; empty when none did."""
        ...

    def ask(self) -> Ask | None:
        """What to judge next; None when it is enough."""
        ...

    def tell(self, badness: float | None, *, failed: bool = False) -> None:
        """How the configuration that was asked for did.

        Args:
            badness: Its mean over all splits that it was judged on so far, lower is better; None where there is none.
            failed: Whether it is out.
        """
        ...


@dataclass(frozen=True)
class Limits:
    """When a search ends.

    Attributes:
        trials: Configurations, at most; None is all.
        patience: Trials in a row that are no better than the best before; None is any number.
        target: A badness that is good enough.
        seconds: Wall time since the search began, and the setting that asks for it.
    """

    trials: int | None = None
    patience: int | None = None
    target: float | None = None
    seconds: tuple[float, str] | None = None


class _Clock:
    """Notes when a search has taken its time."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limit, self._now, self._began = limits.seconds, now, now()
        self.stopped = ""

    def over(self) -> bool:
        if self._limit is not None and self._now() - self._began >= self._limit[0]:
            self.stopped = self._limit[1]
        return bool(self.stopped)


class InOrder:
    """One configuration after the other, each judged in full.

    A budget of trials or patience ends the search once something can be used: while all that was tried failed, it goes on.

    Args:
        order: Places of the configurations.
        splits: Of the evaluation.
        limits: When it ends.
        now: The clock.
    """

    def __init__(
        self, order: Sequence[int], splits: int, limits: Limits, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._order, self._splits, self._limits = order, splits, limits
        self._clock = _Clock(limits, now)
        self._told = self._usable = self._worse = 0
        self._best = math.inf

    @property
    def stopped(self) -> str:
        """See ``Search``."""
        return self._clock.stopped

    def ask(self) -> Ask | None:
        """See ``Search``."""
        if self._told == len(self._order) or self._enough() or (self._told and self._clock.over()):
            return None
        return Ask(self._order[self._told], 0, self._splits)

    def tell(self, badness: float | None, *, failed: bool = False) -> None:
        """See ``Search``."""
        self._told += 1
        self._usable += not failed
        if badness is not None and badness < self._best:
            self._best, self._worse = badness, 0
        else:
            self._worse += 1

    def _enough(self) -> bool:
        limits = self._limits
        if not self._usable:
            return False
        return (
            (limits.trials is not None and self._told >= limits.trials)
            or (limits.patience is not None and self._worse >= limits.patience)
            or (limits.target is not None and self._best <= limits.target)
        )


@dataclass(frozen=True)
class Rung:
    """How much of the evaluation configurations are judged by.

    Attributes:
        splits: The newest so many.
        share: Of the training rows of each.
    """

    splits: int
    share: float = 1.0


def rungs_of(configurations: int, splits: int, rows: int, *, apart: bool = True) -> list[Rung]:
    """The rungs of successive halving, from the least to the whole evaluation.

    Args:
        configurations: That begin.
        splits: Of the evaluation.
        rows: Training rows of the newest split.
        apart: Whether each split can be judged without the others.
    """
    rungs = [Rung(splits)]
    left = configurations // ETA  # that reach the last rung, were there one more below it
    while left >= 1 and apart and rungs[0].splits > 1:
        rungs.insert(0, Rung(math.ceil(rungs[0].splits / ETA)))
        left //= ETA
    while left >= 1 and rows * rungs[0].share / ETA >= LEAST_ROWS:
        rungs.insert(0, Rung(rungs[0].splits, rungs[0].share / ETA))
        left //= ETA
    return rungs


class Halving:
    """Successive halving.

    What has no value on a rung is not known to be worse, since less was asked of it: it goes on beside the best third.

    Args:
        order: Places of the configurations.
        rungs: See ``rungs_of``.
        limits: When it ends; the target counts on the last rung.
        champion: The configuration that others are to be compared with: it goes on too.
        now: The clock.
    """

    def __init__(
        self,
        order: Sequence[int],
        rungs: Sequence[Rung],
        limits: Limits,
        champion: int | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._rungs, self._limits, self._champion = list(rungs), limits, champion
        self._clock = _Clock(limits, now)
        self._alive = list(order[: limits.trials])
        self._told: list[tuple[int, float | None]] = []
        self._asked = self._rung = 0
        self._done = False

    @property
    def stopped(self) -> str:
        """See ``Search``."""
        return self._clock.stopped

    def ask(self) -> Ask | None:
        """See ``Search``."""
        if self._asked == len(self._alive):
            self._climb()
        if self._done or self._rung == len(self._rungs) or not self._alive:
            return None
        if (self._asked or self._rung) and self._clock.over():
            return None
        rung = self._rungs[self._rung]
        before = self._rungs[self._rung - 1] if self._rung else None
        kept = before.splits if before is not None and before.share == 1.0 else 0
        return Ask(self._alive[self._asked], kept, rung.splits, rung.share)

    def tell(self, badness: float | None, *, failed: bool = False) -> None:
        """See ``Search``."""
        if not failed:
            self._told.append((self._alive[self._asked], badness))
        self._asked += 1
        target = self._limits.target
        last = self._rung == len(self._rungs) - 1
        self._done = last and badness is not None and target is not None and badness <= target

    def _climb(self) -> None:
        """Go on to the next rung with the best third."""
        self._rung += 1
        valued = sorted(
            (badness, number) for number, (_, badness) in enumerate(self._told) if badness is not None
        )
        kept = {number for _, number in valued[: math.ceil(len(valued) / ETA)]}
        kept |= {
            number
            for number, (place, badness) in enumerate(self._told)
            if badness is None or place == self._champion
        }
        self._alive = [self._told[number][0] for number in sorted(kept)]
        self._told, self._asked = [], 0
