"""Models of large arrays as small pickles: the arrays lie beside the pickle, as columns of the narrowest types that hold them.

What scikit-learn keeps of a tree is a record of 64 bytes a node, most of them zeros. Pickle protocol 5 hands such arrays over
apart from everything else; those of one type are laid end to end and cut into their fields. Each field becomes the narrowest
type that gives back every bit of it, a value that much of it has is noted once, and what may shrink is compressed: not floats
that look like noise, which would take two thirds of the time for a sixth of the bytes. The result is a pickle like any other,
which unpacks itself when it is loaded.
"""

from __future__ import annotations

import pickle
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manymodels.models.contract import FittedModel

__all__ = ["dumps", "unpack"]

_VERSION = 1
_PROTOCOL = 5
_APART = 256  # bytes of an array that is worth laying apart from the pickle
_LARGE = 2**16  # bytes of all of them together from which on packing pays
_HUGE = 2**28  # bytes beyond which it does not: the copies would count against the child's memory
_SAMPLE = 2**13  # bytes of floats that tell whether these shrink
_FEW = 32  # floats that tell which value most of them have, if any
_COMPRESSION = "lz4_raw"  # of a forest: in a half of zstd's time, to a third more bytes


class _Column(NamedTuple):
    """A field of an array, as it is kept.

    Attributes:
        name: Of the field; empty for a type without fields, and for bytes that are kept as they were.
        kind: The type in which it is kept.
        kept: Values that are.
        usual: The value of all others, as bytes; empty where there is none.
        noise: Whether it is not compressed.
    """

    name: str
    kind: str
    kept: int
    usual: bytes
    noise: bool


def dumps(model: FittedModel) -> tuple[bytes, bool]:
    """A model as bytes that ``pickle.loads`` reads, and whether its arrays are packed.

    Raises:
        Exception: What pickling it raises.
    """
    apart: list[tuple[np.dtype[Any], memoryview]] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        """Whether an array is not worth laying apart."""
        content = memoryview(buffer)
        array = content.obj
        if content.nbytes < _APART or not isinstance(array, np.ndarray) or not array.dtype.isnative:
            return True
        apart.append((array.dtype, buffer.raw()))
        return False

    head = pickle.dumps(model, _PROTOCOL, buffer_callback=stays)
    if not apart:
        return head, False
    if not _LARGE <= sum(content.nbytes for _, content in apart) <= _HUGE:
        return pickle.dumps(model, _PROTOCOL), False
    kinds = list(dict.fromkeys(kind for kind, _ in apart))
    groups: list[tuple[Any, ...]] = []
    bodies: tuple[list[Any], list[Any]] = ([], [])  # to compress, and noise
    for kind in kinds:
        arrays = [content for its, content in apart if its == kind]
        found = _columns(np.frombuffer(b"".join(arrays), kind))
        groups.append((kind, [content.nbytes for content in arrays], [tuple(column) for column, _ in found]))
        for column, parts in found:
            bodies[0].extend(part.data for part in parts[1:])
            bodies[column.noise].append(parts[0].data)
    shrinking, noise = (b"".join(body) for body in bodies)
    packed = _Packed(
        head,
        [kinds.index(kind) for kind, _ in apart],
        groups,
        len(shrinking),
        pa.Codec(_COMPRESSION).compress(shrinking, asbytes=True),
        noise,
    )
    return pickle.dumps(packed, _PROTOCOL), True


def unpack(
    version: int,
    head: bytes,
    numbers: Sequence[int],
    groups: Sequence[tuple[np.dtype[Any], Sequence[int], Sequence[Any]]],
    size: int,
    shrunk: bytes,
    noise: bytes,
) -> Any:
    """What ``dumps`` packed; called by its pickle.

    Args:
        version: Of how it was packed.
        head: The pickle without its arrays.
        numbers: The group of each array, in the order of the pickle.
        groups: The arrays of each type: the type, the bytes of each, and their columns.
        size: Bytes of what was compressed.
        shrunk: The columns of all groups one after the other, compressed.
        noise: Those that are not.

    Raises:
        ValueError: It was packed by a newer version.
    """
    if version > _VERSION:
        raise ValueError(
            f"its arrays are packed in way {version}, this version of manymodels knows {_VERSION}"
        )
    bodies = _Body(pa.Codec(_COMPRESSION).decompress(shrunk, size)), _Body(noise)
    arrays = []
    for kind, sizes, columns in groups:
        content = _array(kind, sum(sizes), [_Column(*column) for column in columns], bodies)
        ends = accumulate(sizes, initial=0)
        arrays.append(iter([content[start:stop] for start, stop in pairwise(ends)]))
    return pickle.loads(head, buffers=(next(arrays[number]) for number in numbers))  # noqa: S301 - verified with this pickle


class _Packed:
    """Is pickled as a call of ``unpack``."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack, (_VERSION, *self._parts)


class _Body:
    """Columns one after the other."""

    def __init__(self, content: bytes | pa.Buffer) -> None:
        self._content, self._place = content, 0

    def take(self, kind: Any, count: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self._content, kind, count, self._place)
        self._place += values.nbytes
        return values


def _columns(array: npt.NDArray[Any]) -> list[tuple[_Column, list[npt.NDArray[Any]]]]:
    """An array's fields as they are kept, each with its values and, where one is usual, the bits that say where they are."""
    names = array.dtype.names or ("",)
    fields = [array[name] if name else array for name in names]
    if any(field.dtype.kind not in "biuf" or field.itemsize > 8 or field.ndim > 1 for field in fields):
        content = array.view(np.uint8)
        return [(_Column("", "", content.nbytes, b"", noise=False), [content])]
    return [_column(name, np.ascontiguousarray(field)) for name, field in zip(names, fields, strict=True)]


def _column(name: str, field: npt.NDArray[Any]) -> tuple[_Column, list[npt.NDArray[Any]]]:
    values = _narrowed(field)
    if values.dtype.kind != "f" or _shrinks(values):
        return _Column(name, values.dtype.str, len(values), b"", noise=False), [values]
    bits = values.view(f"u{values.itemsize}")
    found, counts = np.unique(bits[-_FEW:], return_counts=True)
    usual = found[counts.argmax()]
    rare = bits != usual
    count = int(np.count_nonzero(rare))
    if count > 0.75 * len(bits):
        return _Column(name, values.dtype.str, len(values), b"", noise=True), [values]
    return _Column(name, values.dtype.str, count, usual.tobytes(), noise=True), [
        bits[rare],
        np.packbits(rare),
    ]


def _shrinks(values: npt.NDArray[Any]) -> bool:
    """Whether a sample of floats loses half of its bytes when it is compressed."""
    sample = values[: _SAMPLE // values.itemsize]
    return bool(pa.Codec(_COMPRESSION).compress(sample).size < sample.nbytes / 2)


def _narrowed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in a narrower type, where that gives back every bit of them."""
    if values.dtype.kind == "f":
        for kind in ("i4", "f4"):
            if _holds(kind, values[:100]) and _holds(kind, values):
                return _narrowed(values.astype(kind)) if kind == "i4" else values.astype(kind)
    elif values.dtype.kind in "iu":
        least, most = values.min(), values.max()
        for narrow in ("i1", "u1", "i2", "u2", "i4", "u4"):
            bounds = np.iinfo(narrow)
            if bounds.min <= least and most <= bounds.max:
                return values.astype(narrow)
    return values


def _holds(kind: str, values: npt.NDArray[Any]) -> bool:
    """Whether floats come back from another type as they were: also zeros with a sign, and what is no number."""
    if np.dtype(kind).itemsize > values.itemsize:
        return False
    with np.errstate(all="ignore"):
        there = values.astype(kind).astype(values.dtype)
    bits = f"u{values.itemsize}"
    return bool(np.array_equal(there.view(bits), values.view(bits)))


def _array(
    kind: np.dtype[Any], size: int, columns: Sequence[_Column], bodies: tuple[_Body, _Body]
) -> npt.NDArray[np.uint8]:
    """The bytes of a group's arrays, from what follows in the bodies."""
    count = size // kind.itemsize
    array = np.zeros(count, kind)  # also what lies between the fields
    for column in columns:
        values = bodies[column.noise].take(column.kind or np.uint8, column.kept)
        if not column.kind:
            return values.copy()
        if column.usual:
            rare = np.unpackbits(bodies[False].take(np.uint8, -(-count // 8)), count=count).view(bool)
            every = np.full(count, np.frombuffer(column.usual, column.kind)[0])
            every[rare] = values
            values = every
        array[column.name or ...] = values
    return array.view(np.uint8)
