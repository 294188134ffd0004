import pytest

from manymodels.job import Job
from manymodels.job.fingerprints import job_fingerprint

BASE = {
    "name": "sales",
    "task": "forecast",
    "data": {"path": "a.parquet", "partition_by": ["store"], "time": "date", "target": "sales"},
    "models": ["naive", {"ets": {"trend": "add"}}],
}


def fingerprint(fields=None, columns=None, **data):
    fields = {**BASE, **(fields or {})}
    return job_fingerprint(Job(**{**fields, "data": {**fields["data"], **data}}), columns=columns)


def test_the_fingerprint_is_32_hex_digits_and_stays_what_it_is():
    # A change here trains every model of every user again: raise it on purpose only.
    assert fingerprint() == fingerprint()
    assert len(fingerprint()) == 32
    int(fingerprint(), 16)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"training": {"timeout": "1s", "memory": "1GiB", "retries": 5, "only": "all", "max_failed": 3}},
        {"compute": "serial"},
        {"store": "elsewhere"},
        {"promotion": {"rule": "never"}},
        {"fallback": []},
        {"ranking": {"top": 3}},
        {"forecast": {"horizon": 14}},
    ],
)
def test_what_makes_no_model_another_is_not_in_it(fields):
    assert fingerprint(fields) == fingerprint()


@pytest.mark.parametrize(
    "data",
    [
        {"path": "b/*.parquet"},
        {"min_rows": 50},
        {"where": "sales > 0"},
        {"on_null_key": "drop"},
        {"csv": {"separator": ";"}},
    ],
)
def test_how_the_rows_are_found_is_not_in_it(data):
    assert fingerprint(**data) == fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"models": ["naive"]},
        {"training": {"max_rows": 100}},
        {"models": ["naive", {"ets": {"trend": None}}]},
        {"forecast": {"horizon": 7}},
        {"evaluation": {"metric": "smape"}},
        {"anomaly": {"rate": 0.1}},
        {"training": {"seed": 1}},
    ],
)
def test_what_makes_other_models_is_in_it(fields):
    assert fingerprint(fields) != fingerprint()


@pytest.mark.parametrize(
    "data",
    [
        {"partition_by": ["store", "product"]},
        {"target": "units"},
        {"features": ["promo"]},
        {"known_future": ["promo"]},
        {"ignore": ["id"]},
        {"gaps": "zero"},
        {"on_duplicate_time": "sum"},
        {"frequency": "D"},
        {"types": {"promo": "bool"}},
    ],
)
def test_the_roles_of_columns_are_in_it(data):
    assert fingerprint(**data) != fingerprint()


def test_settled_columns_take_the_place_of_those_left_open():
    settled = {"frequency": "D", "features": ("a", "b")}
    assert fingerprint(columns=settled) == fingerprint(frequency="D", features=["a", "b"], columns=settled)
    assert fingerprint(columns=settled) == fingerprint(ignore=["c"], columns=settled)
    assert fingerprint(columns=settled) != fingerprint(
        columns={"frequency": "D", "features": ("a", "b", "c")}
    )


def test_a_season_that_is_looked_for_is_in_it_when_settled():
    looked_for = {"forecast": {"season_length": "auto"}}
    weekly = fingerprint(looked_for, columns={"season_length": 7})
    assert weekly != fingerprint(looked_for, columns={"season_length": 1})
