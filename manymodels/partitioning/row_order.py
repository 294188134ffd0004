"""The order of rows in memory: key, time and row number packed into one 64-bit integer a row, and those sorted.

Processors sort plain integers many times faster than rows. What comes out holds the row numbers in order. It is made in blocks,
so that hardly any memory is touched beside the integers themselves.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manymodels.partitioning.collecting import fresh
from manymodels.partitioning.keys import key_order

__all__ = ["Field", "SortedRows", "key_fields", "row_order", "run_field", "sort_keys", "time_field"]

Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_WORD = 64  # bits
_BLOCK = 1 << 15  # rows that are packed at a time
_SAMPLE = 4096  # times


@dataclass(frozen=True)
class Field:
    """A column as numbers that compare as its values do.

    Attributes:
        bits: Of the largest number.
        numbers: Those of a range of rows.
    """

    bits: int
    numbers: Callable[[slice], Words]


def key_fields(table: pa.Table, keys: Sequence[str]) -> list[Field]:
    """The key columns, which have no NaN and no -0.0; a null comes first."""
    return [_key_field(table.column(name)) for name in keys]


def _key_field(column: pa.ChunkedArray) -> Field:
    encoded = pc.dictionary_encode(column.chunk(0), null_encoding="encode")
    values, places = encoded.dictionary, encoded.indices.to_numpy()
    ranks = np.empty(len(values), np.uint64)
    ranks[key_order(pa.table([values], ["key"]), ["key"])] = np.arange(len(values), dtype=np.uint64)
    return Field((len(values) - 1).bit_length(), lambda rows: ranks[places[rows]])


def time_field(times: Integers) -> Field:
    """Times, from the first one on and in units of their common step: days in microseconds take one bit a day, not 37."""
    words, first = times.view(np.uint64), times.min().view(np.uint64)
    span = int(times.max()) - int(times.min())
    step = math.gcd(span, int(np.gcd.reduce(words[:: len(words) // _SAMPLE + 1] - first)))
    for begin in range(0, len(words), _BLOCK):
        if step <= 1:
            break
        offsets = words[begin : begin + _BLOCK] - first
        rest = offsets - offsets // np.uint64(step) * np.uint64(step)
        if rest.any():
            step = math.gcd(step, int(np.gcd.reduce(rest)))
    unit = np.uint64(max(step, 1))
    return Field((span // int(unit)).bit_length(), lambda rows: (words[rows] - first) // unit)


def run_field(counts: Integers) -> Field:
    """Which of the runs, one after the other, a row is in."""
    numbers = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    return Field((len(counts) - 1).bit_length(), lambda rows: numbers[rows])


def _numbered(rows: int) -> Field:
    return Field(
        (rows - 1).bit_length(),
        lambda place: np.arange(place.start, min(place.stop, rows), dtype=np.uint64),
    )


def _packed(fields: Sequence[Field], rows: int) -> Words | None:
    """Numbers that compare as the fields do, the first of them first; None where 64 bits do not hold them."""
    if sum(field.bits for field in fields) > _WORD:
        return None
    packed = fresh(8 * rows).view(np.uint64)
    for begin in range(0, rows, _BLOCK):
        place = slice(begin, begin + _BLOCK)
        block = packed[place]
        block[:] = 0
        for field in fields:
            block <<= np.uint64(field.bits)
            block |= field.numbers(place)
    return packed


def row_order(fields: Sequence[Field], rows: int) -> Integers:
    """The row numbers in ascending order of the fields; rows that are alike come in any order."""
    last = _numbered(rows)
    packed = _packed([*fields, last], rows)
    if packed is not None:
        packed.sort()
        packed &= np.uint64((1 << last.bits) - 1)
        return packed.view(np.int64)
    packed = _packed(fields, rows)
    if packed is not None:
        return np.argsort(packed)
    return np.lexsort([field.numbers(slice(0, rows)) for field in reversed(fields)])


@dataclass(frozen=True)
class SortedRows:
    """The rows of a table in ascending order of their keys.

    Attributes:
        packed: Key, perhaps time, and row number of every row, sorted.
        key_shift: Bits below the key.
        row_bits: Bits of the row number.
    """

    packed: Words
    key_shift: int
    row_bits: int

    def numbers(self, begin: int, end: int) -> Integers:
        """The row numbers at some places of the order."""
        return (self.packed[begin:end] & np.uint64((1 << self.row_bits) - 1)).view(np.int64)

    def cuts(self, pieces: int) -> Iterator[tuple[int, int]]:
        """The places of the order in pieces of whole keys, about alike, at most so many."""
        rows = len(self.packed)
        begin = 0
        for end in (rows * number // pieces for number in range(1, pieces + 1)):
            if begin < end < rows:
                end = self._key_start(begin, end)
            if begin < end:
                yield begin, end
                begin = end

    def _key_start(self, begin: int, place: int) -> int:
        """Where the key at a place begins; where it ends, if it begins at the beginning."""

        def key(place: int) -> int:
            return int(self.packed[place]) >> self.key_shift

        places = range(len(self.packed))
        start = bisect_left(places, key(place), begin, place, key=key)
        return start if start > begin else bisect_right(places, key(place), place, key=key)


def sort_keys(keys: Sequence[Field], time: Field | None, rows: int) -> SortedRows | None:
    """The rows in ascending order of their keys, and of their times where these fit too.

    Returns:
        None where 64 bits do not hold keys and row number.
    """
    last = _numbered(rows)
    for times in ([] if time is None else [time], []):
        packed = _packed([*keys, *times, last], rows)
        if packed is not None:
            packed.sort()
            return SortedRows(packed, sum(field.bits for field in [*times, last]), last.bits)
    return None
