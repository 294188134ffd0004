from __future__ import annotations

import numpy as np
import pytest

from manymodels.spans import Span


def before(span: str, *times: str) -> list[str]:
    moments = np.array(times, dtype="datetime64[us]").astype(np.int64)
    return Span.parse(span).before(moments).astype("datetime64[us]").astype(str).tolist()


def test_lengths_of_time_are_subtracted() -> None:
    assert before("36h", "2024-03-02T00:00:00.5") == ["2024-02-29T12:00:00.500000"]
    assert before("2w", "2024-03-14", "1970-01-01") == [
        "2024-02-29T00:00:00.000000",
        "1969-12-18T00:00:00.000000",
    ]


def test_months_go_to_the_same_day_and_from_a_last_day_to_a_last_day() -> None:
    assert before("1mo", "2024-03-15T06:00") == ["2024-02-15T06:00:00.000000"]
    assert before("1mo", "2023-03-30") == ["2023-02-28T00:00:00.000000"]
    assert before("1mo", "2023-02-28") == ["2023-01-31T00:00:00.000000"]
    assert before("2y", "2024-02-29") == ["2022-02-28T00:00:00.000000"]
    assert before("1y", "1969-12-31T23:00") == ["1968-12-31T23:00:00.000000"]


def test_a_number_is_periods() -> None:
    assert Span.parse(26) == Span("periods", 26)
    with pytest.raises(ValueError, match="no length of time"):
        Span.parse(26).before(np.array([0]))


@pytest.mark.parametrize(
    "value", ["", "y", "2 years", "-2y", "1.5y", 0, -1, True, 2.0, None, "0d", "9" * 12 + "y"]
)
def test_what_is_no_span_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a length of history"):
        Span.parse(value)
