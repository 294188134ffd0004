"""Models of large arrays: packed in fewer bytes, and the same to the last bit when they are loaded."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manymodels.artifacts.codecs import PACKED, decode, encode
from manymodels.artifacts.packed import _LARGE, unpack
from manymodels.exceptions import DamagedError

NODE = np.dtype(
    {"names": ["left", "cut", "flag"], "formats": ["<i8", "<f8", "u1"], "offsets": [0, 8, 16], "itemsize": 24}
)


class Model:
    """Holds arrays."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays = arrays

    def predict(self, rows: Any) -> dict[str, Any]:
        return {}


def there_and_back(*arrays: Any, codec: str = PACKED) -> tuple[Any, ...]:
    found, artifact = encode(Model(*arrays))  # type: ignore[arg-type]
    assert found == codec
    back: Any = decode(found, artifact)
    for array, again in zip(arrays, back.arrays, strict=True):
        assert (array.dtype, array.shape, array.strides) == (again.dtype, again.shape, again.strides)
        assert array.tobytes() == again.tobytes()
        assert again.flags.writeable
    return tuple(back.arrays)


def nodes(count: int) -> Any:
    rng = np.random.default_rng(0)
    found = np.zeros(count, NODE)
    found["left"] = np.where(rng.random(count) < 0.5, -1, np.arange(count))
    found["cut"] = np.where(found["left"] < 0, -2.0, rng.normal(size=count))
    found["flag"] = rng.random(count) < 0.5
    return found


@pytest.mark.parametrize(
    "values",
    [
        np.arange(20_000),
        np.arange(20_000) - 2**62,
        np.full(20_000, 2**63, np.uint64),
        np.arange(20_000) % 2 == 0,
        np.linspace(0, 1, 20_000),
        np.linspace(0, 1, 20_000, dtype=np.float32).astype(float),
        np.where(np.arange(20_000) % 3 == 0, 0.1, -2.0),
        np.arange(20_000.0) - 128,
        np.where(np.arange(20_000) < 19_000, 0.0, -0.0),
        np.where(np.arange(20_000) < 19_000, 7.0, np.nan),
        np.full(20_000, np.inf),
        np.arange(40_000, dtype=np.float16),
        np.arange(20_000).astype("M8[s]"),
        np.arange(20_000, dtype=np.complex128),
        np.arange(20_000).astype(">i8"),
        np.random.default_rng(0).normal(size=(100, 200)),
        np.asfortranarray(np.random.default_rng(0).normal(size=(100, 200))),
        np.full(5_000, "text"),
    ],
    ids=lambda values: f"{values.dtype}-{values.flat[0]}",
)
def test_numbers_of_every_kind_come_back_bit_by_bit(values: Any) -> None:
    there_and_back(values, np.arange(_LARGE), nodes(10))


@settings(deadline=None, max_examples=50)
@given(bits=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), often=st.integers(0, 2**64 - 1))
def test_any_float_comes_back_bit_by_bit(bits: list[int], often: int) -> None:
    values = np.array([*bits, *[often] * 60] * 100, np.uint64).view(np.float64)
    there_and_back(values, np.arange(_LARGE), values[: len(bits)].copy())


def test_records_become_columns_and_take_a_part_of_their_bytes() -> None:
    trees = [nodes(count) for count in (3_000, 500, 1_000)]
    (first, *_) = there_and_back(*trees, np.random.default_rng(0).normal(size=500))
    assert first["flag"].tolist() == trees[0]["flag"].tolist()
    _, artifact = encode(Model(*trees))  # type: ignore[arg-type]
    assert len(artifact) < sum(tree.nbytes for tree in trees) / 3


def test_an_array_that_is_there_twice_is_kept_once_and_shared_again() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    _, artifact = encode(Model(values, values))  # type: ignore[arg-type]
    assert len(artifact) < 1.1 * values.nbytes
    first, second = there_and_back(values, values)
    assert first is second


def test_small_arrays_stay_in_an_ordinary_pickle() -> None:
    there_and_back(np.arange(5.0), np.arange(1_000.0), codec="pickle")


def test_huge_arrays_stay_in_an_ordinary_pickle_which_takes_fewer_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manymodels.artifacts.packed._HUGE", 200_000)
    there_and_back(np.arange(20_000.0))
    there_and_back(np.arange(30_000.0), codec="pickle")


def test_the_same_model_has_the_same_bytes_whatever_lies_between_its_fields() -> None:
    dirty = np.frombuffer(b"\xff" * 24 * 4_000, NODE).copy()
    clean = np.zeros(4_000, NODE)
    for array in (dirty, clean):
        array["left"], array["cut"], array["flag"] = 1, 0.5, 1
    assert encode(Model(dirty)) == encode(Model(clean))  # type: ignore[arg-type]


def test_a_forest_predicts_as_before_from_a_third_of_its_bytes() -> None:
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(200, 3)), rng.normal(size=200)
    forest: Any = RandomForestRegressor(10, random_state=0).fit(features, target)
    codec, artifact = encode(forest)
    assert codec == PACKED
    assert len(artifact) < len(pickle.dumps(forest, 5)) / 2.5
    again: Any = pickle.loads(artifact)
    assert np.array_equal(again.predict(features), forest.predict(features))
    assert np.array_equal(again.feature_importances_, forest.feature_importances_)


def test_what_a_newer_version_packed_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="packed in way 9, this version of manymodels knows 1"):
        unpack(9, b"", [], [], 0, b"", b"")


def test_a_packed_model_with_bytes_missing_is_damaged() -> None:
    _, artifact = encode(Model(nodes(5_000)))  # type: ignore[arg-type]
    with pytest.raises(DamagedError, match="could not be loaded"):
        decode(PACKED, artifact[:-100])
