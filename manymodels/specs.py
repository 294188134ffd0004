"""What the specs of all rooms share: strict, frozen pydantic models, durations, sizes and fractions."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

__all__ = ["Duration", "Fraction", "Size", "Spec", "parse_duration", "parse_size"]


class Spec(BaseModel):
    """Base of every part of the job file: frozen, strict, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip


def parse_duration(value: Any) -> float:
    """Seconds from ``90s``, ``5m``, ``1.5h`` or a number of seconds.

    Raises:
        ValueError: Not a positive, finite duration.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*(ms|s|m|h|d)\s*", value)
        if match is None:
            raise ValueError(f"a duration is written like 30s, 5m or 2h; found {value!r}")
        value = float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a duration is written like 30s, 5m or 2h; found {value!r}")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"a duration must be more than zero; found {value!r}")
    return float(value)


def parse_size(value: Any) -> int:
    """Bytes from ``512MiB``, ``2GiB`` or a number of bytes.

    Raises:
        ValueError: Not a positive size.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*([kKMGT]i?B|B)\s*", value)
        if match is None or match[2] not in _SIZES:
            raise ValueError(f"a size is written like 512MiB or 2GiB; found {value!r}")
        value = int(float(match[1]) * _SIZES[match[2]])
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"a size is a positive number of bytes like 512MiB; found {value!r}")
    return value


def _parse_fraction(value: Any) -> float:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*%\s*", value)
        if match is None:
            raise ValueError(f"a fraction is written like 1% or 0.01; found {value!r}")
        value = float(match[1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a fraction is written like 1% or 0.01; found {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"a fraction lies between 0 and 1; found {value!r}")
    return float(value)


_TEXT_OR_NUMBER: Any = {"anyOf": [{"type": "string"}, {"type": "number"}]}

Duration = Annotated[
    float, BeforeValidator(parse_duration), PlainSerializer(lambda s: s), WithJsonSchema(_TEXT_OR_NUMBER)
]
"""Seconds; written ``30s``, ``5m``, ``2h``."""

Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_TEXT_OR_NUMBER)]
"""Bytes; written ``512MiB``, ``2GiB``."""

Fraction = Annotated[float, BeforeValidator(_parse_fraction), WithJsonSchema(_TEXT_OR_NUMBER)]
"""Between 0 and 1; written ``1%`` or ``0.01``."""
