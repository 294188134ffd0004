"""What the specs of all rooms share: strict, frozen pydantic models, durations, sizes and fractions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from manymodels.redaction import redacted

__all__ = ["Duration", "Fraction", "Size", "Spec", "parse_duration", "parse_size"]


class Spec(BaseModel):
    """Base of every part of the job file: frozen, strict, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    added: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after the first release. At their defaults they are not written, so that jobs from before are still the
    jobs that they were: nothing trains again, and their evaluations compare."""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        for name in self.added & fields.keys():
            if getattr(self, name) == type(self).model_fields[name].default:
                del fields[name]
        return fields

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redacted(value)


_NUMBER = r"[0-9]{1,18}(?:\.[0-9]+)?"  # no more digits, so that it fits a float and an int alike
_MOST = 10**18  # seconds or bytes; also keeps NaN and infinities out
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip


def parse_duration(value: Any) -> float:
    """Seconds from ``90s``, ``5m``, ``1.5h`` or a number of seconds.

    Raises:
        ValueError: Not a positive, finite duration.
    """
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*({_NUMBER})\s*(ms|s|m|h|d)\s*", value)
        if match is None:
            raise ValueError(f"a duration is written like 30s, 5m or 2h; found {value!r}")
        value = float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a duration is written like 30s, 5m or 2h; found {value!r}")
    if not 0 < value <= _MOST:
        raise ValueError(f"a duration must be more than zero, and finite; found {value!r}")
    return float(value)


def parse_size(value: Any) -> int:
    """Bytes from ``512MiB``, ``2GiB`` or a number of bytes.

    Raises:
        ValueError: Not a positive size.
    """
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*({_NUMBER})\s*([kKMGT]i?B|B)\s*", value)
        if match is None or match[2] not in _SIZES:
            raise ValueError(f"a size is written like 512MiB or 2GiB; found {value!r}")
        value = int(float(match[1]) * _SIZES[match[2]])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST:
        raise ValueError(f"a size is a positive number of bytes like 512MiB; found {value!r}")
    return value


def _parse_fraction(value: Any) -> float:
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*({_NUMBER})\s*%\s*", value)
        if match is None:
            raise ValueError(f"a fraction is written like 1% or 0.01; found {value!r}")
        value = float(match[1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a fraction is written like 1% or 0.01; found {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"a fraction lies between 0 and 1; found {value!r}")
    return float(value)


def _written(kind: str, *examples: str) -> WithJsonSchema:
    """The schema of a value that is text with a unit, or a plain number; ``kind`` is for the documents."""
    return WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "number"}], "examples": list(examples), "kind": kind}
    )


Duration = Annotated[float, BeforeValidator(parse_duration), _written("duration", "30s", "5m", "2h")]
"""Seconds; written ``30s``, ``5m``, ``2h``."""

Size = Annotated[int, BeforeValidator(parse_size), _written("size", "512MiB", "2GiB")]
"""Bytes; written ``512MiB``, ``2GiB``."""

Fraction = Annotated[float, BeforeValidator(_parse_fraction), _written("fraction", "1%", "0.01")]
"""Between 0 and 1; written ``1%`` or ``0.01``."""
