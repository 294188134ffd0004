from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from artifacts_fleet import StoreModel

from manymodels.artifacts.codecs import CODECS, decode, encode
from manymodels.exceptions import DamagedError, ModelError, StoreFormatError


class Holder:
    """A model with anything on it."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def predict(self, rows: Any) -> dict[str, Any]:
        return {}


def test_a_model_comes_back_as_it_was() -> None:
    codec, artifact = encode(StoreModel(7))  # type: ignore[arg-type]
    assert codec == "pickle"
    assert codec in CODECS
    assert decode(codec, artifact) == StoreModel(7)


def test_a_model_with_a_lambda_or_a_local_class_comes_back_too() -> None:
    class Local(Holder):
        pass

    codec, artifact = encode(Local(transform=lambda value: value + 1))  # type: ignore[arg-type]
    assert decode(codec, artifact).transform(1) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "place"),
    [
        (Holder(lock=threading.Lock()), "`lock` of the Holder"),
        (
            Holder(steps=[("scale", 1), ("fit", Holder(cache={"a": threading.Lock()}))]),
            r"`steps\[1\]\[1\].cache\['a'\]`",
        ),
        (threading.Lock(), "the lock"),
    ],
)
def test_a_model_that_cannot_be_pickled_is_an_error_that_names_the_attribute_and_its_type(
    model: Any, place: str
) -> None:
    with pytest.raises(
        ModelError, match=rf"cannot be saved: {place}.* is a _thread.lock, which cannot be pickled"
    ):
        encode(model)


def test_a_model_that_holds_itself_and_a_lock_is_an_error_too() -> None:
    model = Holder(lock=threading.Lock())
    model.itself = model
    with pytest.raises(ModelError, match="`lock`"):
        encode(model)


def test_a_model_too_large_for_a_segment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manymodels.artifacts.codecs._LARGEST", 1000)
    with pytest.raises(ModelError, match=r"the StoreModel takes 1,\d\d\d bytes, more than 1,000"):
        encode(StoreModel(7, b"x" * 1000))  # type: ignore[arg-type]


def test_an_unknown_codec_is_one_of_a_newer_version() -> None:
    with pytest.raises(StoreFormatError, match="encoded as 'skops', this version of manymodels reads pickle"):
        decode("skops", b"")


@pytest.mark.parametrize("artifact", [b"", b"not a pickle", pickle.dumps(StoreModel(7))[:-5]])
def test_bytes_that_are_no_model_are_damaged(artifact: bytes) -> None:
    with pytest.raises(DamagedError, match="could not be loaded"):
        decode("pickle", artifact)


def test_a_model_whose_code_is_not_here_says_what_is_missing() -> None:
    artifact = pickle.dumps(StoreModel(7)).replace(b"artifacts_fleet", b"artifacts_absen")
    with pytest.raises(DamagedError, match="No module named 'artifacts_absen'; install the libraries"):
        decode("pickle", artifact)
