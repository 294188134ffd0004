from __future__ import annotations

import json

import pytest

from manymodels.exceptions import ModelError
from manymodels.selection.failures import failure_of


def caught(raising: object) -> BaseException:
    try:
        raising()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def own_code() -> None:
    raise ValueError("bad alpha")


def library_code() -> None:
    json.loads("{")


def test_an_exception_is_kept_with_its_class_message_place_and_traceback() -> None:
    failure = failure_of(caught(own_code), "ridge")
    assert (failure.cause, failure.error, failure.message) == ("exception", "ValueError", "bad alpha")
    assert failure.frame == "test_failures.py:own_code"
    assert failure.candidate == "ridge"
    assert failure.traceback.endswith("ValueError: bad alpha\n")
    assert "own_code" in failure.traceback


def test_the_frame_is_the_innermost_outside_libraries() -> None:
    assert failure_of(caught(library_code)).frame == "test_failures.py:library_code"


def test_an_exception_that_was_never_raised_has_no_frame() -> None:
    assert failure_of(ModelError("too short")).frame == ""


@pytest.mark.parametrize(
    ("error", "cause"), [(MemoryError(), "memory"), (SystemExit(3), "crash"), (ModelError("x"), "exception")]
)
def test_the_cause_follows_the_kind_of_error(error: BaseException, cause: str) -> None:
    assert failure_of(error).cause == cause


def test_text_that_no_store_can_hold_is_escaped() -> None:
    failure = failure_of(ValueError("a\ud800b\0c"))
    assert failure.message == "a\\ud800b\\x00c"
    failure.traceback.encode()


def test_an_error_whose_text_cannot_be_had_is_a_failure_all_the_same() -> None:
    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    failure = failure_of(RudeError())
    assert (failure.error, failure.message) == ("RudeError", "<RudeError whose text cannot be had>")


def test_endless_tracebacks_are_cut() -> None:
    assert len(failure_of(ValueError("x" * 10**6)).traceback) == 20_000
