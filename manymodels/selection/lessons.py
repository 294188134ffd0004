"""What other keys teach: which configurations a key should try first, by how they did on keys that are like it.

A key's neighbours are the keys with the nearest traits, each trait in units of its spread over the fleet. From how much
worse than the neighbour's best each configuration was, an order is built greedily: next comes what lowers most the loss of
the best tried so far, on average over the neighbours. So the second is not what is second best everywhere, but what is good
where the first is not. (Such portfolios for algorithm selection: Xu, Hoos and Leyton-Brown, Hydra, AAAI 2010; Feurer et
al., Auto-sklearn 2.0, JMLR 23, 2022.) How many neighbours is settled by leaving one key out at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints

__all__ = ["Lessons"]

_WORST = 1.0  # the loss of what failed, and of all that is worse than twice the best
_NEIGHBOURS = (5, 10, 20, 40)
_JUDGED = 200  # keys that the number of neighbours is judged by


@dataclass(frozen=True, eq=False)
class Lessons:
    """What some keys of a fleet taught, maybe none.

    Attributes:
        traits: Of the keys, in units of their spread. Shape (keys, traits).
        losses: How much worse than the key's best each configuration was, relative to it, from 0 to 1. Shape (keys,
            configurations).
        scale: The spread of each trait. Shape (traits,).
        neighbours: How many keys are asked.
    """

    traits: Floats
    losses: Floats
    scale: Floats
    neighbours: int

    @classmethod
    def learn(cls, traits: Floats, badness: Floats, trials: int) -> Lessons:
        """Learn from keys.

        Args:
            traits: Of the keys. Shape (keys, traits).
            badness: Lower is better, infinite where a configuration failed, NaN where it was not tried. Shape (keys,
                configurations).
            trials: That a key will have: the number of neighbours is chosen for them.
        """
        compared = np.isfinite(badness).sum(axis=1) >= 2
        traits, badness = traits[compared], badness[compared]
        scale = traits.std(axis=0) if len(traits) else np.ones(traits.shape[1])
        scale[scale < 1e-9] = 1.0
        found = cls(traits / scale, _losses(badness), scale, len(traits))
        return replace(found, neighbours=found._best_neighbours(trials))

    def order(self, traits: Sequence[float], places: Sequence[int], most: int | None = None) -> list[int]:
        """The order of some configurations, the most promising first; as they are listed where no key taught anything.

        Args:
            traits: Of the key.
            places: Of the configurations that are for it, among all.
            most: How many will be tried: those after them come as they do by themselves, in case others fail; None is all.

        Returns:
            Places in ``places``.
        """
        if len(self.losses) == 0:
            return list(range(len(places)))
        near = self.losses[self._nearest(np.asarray(traits) / self.scale, self.neighbours)][:, places]
        first = _portfolio(near, most)
        rest = np.argsort(near.mean(axis=0), kind="stable").tolist()
        return [*first, *(place for place in rest if place not in first)]

    def to_plain(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            "configurations": self.losses.shape[1],
            "traits": self.traits.tolist(),
            "losses": self.losses.tolist(),
            "scale": self.scale.tolist(),
            "neighbours": self.neighbours,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Lessons:
        """What ``to_plain`` made."""
        scale = np.array(plain["scale"], dtype=np.float64)
        return cls(
            np.array(plain["traits"], dtype=np.float64).reshape(-1, len(scale)),
            np.array(plain["losses"], dtype=np.float64).reshape(-1, plain["configurations"]),
            scale,
            plain["neighbours"],
        )

    def _nearest(self, traits: Floats, count: int, without: int | None = None) -> Ints:
        distance = np.square(self.traits - traits).sum(axis=1)
        if without is not None:
            distance[without] = np.inf
        return np.argsort(distance, kind="stable")[:count]

    def _best_neighbours(self, trials: int) -> int:
        """How many neighbours make the best orders, for keys that are not among them."""
        keys = len(self.losses)
        if keys < 2:
            return keys
        judged = np.unique(np.linspace(0, keys - 1, min(keys, _JUDGED)).astype(np.int64)).tolist()
        best, least = keys, np.inf
        for count in [*(count for count in _NEIGHBOURS if count < keys - 1), keys - 1]:
            lost = 0.0
            for key in judged:
                order = _portfolio(self.losses[self._nearest(self.traits[key], count, key)], trials)
                lost += float(self.losses[key, order].min())
            if lost <= least:  # of equal ones the larger: it says the same of more keys
                best, least = count, lost
        return best


def _losses(badness: Floats) -> Floats:
    """How much worse than the key's best; what was not tried is taken to do as on average elsewhere."""
    best = np.where(np.isfinite(badness), badness, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    size = np.maximum(np.abs(best), 1e-12)
    tried = ~np.isnan(badness)
    losses = np.where(tried, np.minimum((badness - best) / size, _WORST), 0.0)
    counts = tried.sum(axis=0)
    usual = np.where(counts > 0, losses.sum(axis=0) / np.maximum(counts, 1), _WORST)
    found: Floats = np.where(tried, losses, usual)
    return found


def _portfolio(losses: Floats, most: int | None = None) -> list[int]:
    """Each next configuration lowers most the loss of the best so far, on average over the keys; ties as listed.

    Args:
        losses: Shape (keys, candidates).
        most: How many are wanted; all when None.
    """
    count = losses.shape[1]
    left = np.ones(count, dtype=bool)
    best = np.full(len(losses), _WORST)
    mean = losses.mean(axis=0)
    order: list[int] = []
    while len(order) < (count if most is None else min(most, count)):
        after = np.minimum(best[:, None], losses).mean(axis=0)
        # Where nothing is gained any more, what is good by itself comes first.
        ranked = np.lexsort((np.arange(count), mean, np.round(after, 12), ~left))
        order.append(int(ranked[0]))
        left[ranked[0]] = False
        best = np.minimum(best, losses[:, ranked[0]])
    return order
