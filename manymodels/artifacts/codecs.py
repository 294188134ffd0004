"""How a fitted model becomes bytes and back.

``pickle``: protocol 5, by the standard library where it can, else by cloudpickle (lambdas, closures, classes
of a notebook); both are read back the same way. ``packed``: a pickle as well, whose large arrays are compressed
(``artifacts.packed``). Decoding runs code: only bytes whose segment was verified are decoded.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from manymodels.artifacts.packed import dumps
from manymodels.exceptions import DamagedError, ModelError, StoreFormatError

if TYPE_CHECKING:
    from manymodels.models.contract import FittedModel

__all__ = ["CODECS", "PACKED", "decode", "encode"]

_PROTOCOL = 5
_LARGEST = 2**31 - 2**20  # Parquet's limit on a value, with room for its page

PACKED = "packed"
"""Codec of pickles that are compressed already."""

CODECS: dict[str, Callable[[bytes], Any]] = {
    "pickle": pickle.loads,
    PACKED: pickle.loads,
}
"""Codec to its decoder."""


def encode(model: FittedModel) -> tuple[str, bytes]:
    """The codec and the bytes of a model.

    Raises:
        ModelError: It cannot be pickled, with the attribute and the type that cannot; or it is larger than
            2 GiB.
    """
    try:
        artifact, packed = dumps(model)
    except Exception as plain:
        import cloudpickle

        try:
            artifact, packed = cloudpickle.dumps(model, _PROTOCOL), False
        except Exception:
            raise ModelError(_complaint(model, plain)) from plain
    if len(artifact) > _LARGEST:
        raise ModelError(
            f"the model cannot be saved: the {type(model).__name__} takes {len(artifact):,} bytes, more than "
            f"{_LARGEST:,}; keep training data off the model"
        )
    return PACKED if packed else "pickle", artifact


def decode(codec: str, artifact: bytes) -> FittedModel:
    """The model of verified bytes.

    Raises:
        StoreFormatError: This version does not know the codec.
        DamagedError: The bytes are no model, or it needs code that is not here.
    """
    decoder = CODECS.get(codec)
    if decoder is None:
        raise StoreFormatError(
            f"a model is encoded as {codec!r}, this version of manymodels reads {', '.join(CODECS)}; "
            "load it with the version that wrote it, or a newer one"
        )
    try:
        model: FittedModel = decoder(artifact)
    except ImportError as error:
        raise DamagedError(
            f"a model could not be loaded: {error}; install the libraries of the run that trained it, and "
            "make its own modules importable"
        ) from error
    except Exception as error:
        raise DamagedError(
            f"a model could not be loaded: {type(error).__name__}: {error}; it was trained with other "
            "versions of its libraries or code, or its bytes are damaged; train the key again"
        ) from error
    return model


def _complaint(model: FittedModel, error: Exception) -> str:
    path, culprit = _culprit(model)
    where = f"`{path}` of the {type(model).__name__}" if path else f"the {type(model).__name__}"
    kind = type(culprit)
    return (
        f"the model cannot be saved: {where} is a {kind.__module__}.{kind.__qualname__}, which cannot be "
        f"pickled ({error}); keep only plain data on the model"
    )


def _culprit(value: Any) -> tuple[str, Any]:
    """The innermost part that cannot be pickled, and the attributes that lead to it."""
    path: list[str] = []
    seen = {id(value)}
    while True:
        for name, part in _parts(value):
            if id(part) not in seen and not _can_be_pickled(part):
                path.append(name)
                seen.add(id(part))
                value = part
                break
        else:
            return "".join(path).lstrip("."), value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    else:
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())


def _can_be_pickled(value: Any) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value, _PROTOCOL)
    except Exception:
        return False
    return True
