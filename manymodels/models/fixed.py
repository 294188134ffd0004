"""What models share that are refitted, not extended: all but forecasts."""

from __future__ import annotations

from typing import NoReturn

from manymodels.exceptions import CannotExtendError
from manymodels.records import Rows

__all__ = ["FixedModel"]


class FixedModel:
    """Base of fitted models that do not take newer history."""

    def extend(self, rows: Rows) -> NoReturn:
        """Refused.

        Raises:
            CannotExtendError: Always.
        """
        raise CannotExtendError("this model takes no newer history; train again to use newer rows")
