"""From columns to a matrix: equal to scikit-learn's transformers, and steady where the data are not."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from manymodels.exceptions import DataError, UnusableRowsError
from manymodels.models.tabular.preprocessing import MAX_CATEGORIES, Encoder, Needs, fit_encoder
from manymodels.records import Rows

SCALED = Needs(scaled=True)
PLAIN = Needs()


def fitted(
    frame: pd.DataFrame, needs: Needs = PLAIN, *, categorical: tuple[str, ...] = (), part: slice | None = None
) -> Encoder:
    part = part or slice(0, len(frame))
    return fit_encoder(Rows(frame, part.start, part.stop), tuple(frame.columns), categorical, needs)


def table(rows: int = 200, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(3, 10, size=(rows, 4)), columns=list("abcd"))
    frame.loc[rng.random(rows) < 0.3, "b"] = np.nan
    frame["whole"] = rng.integers(0, 50, rows)
    frame["flag"] = rng.random(rows) < 0.5
    frame["kind"] = rng.choice(["x", "y", "z"], rows)
    frame.loc[rng.random(rows) < 0.1, "kind"] = None
    frame["city"] = rng.choice(["Ulm", "Bonn"], rows)
    return frame


NUMBERS = ["a", "b", "c", "d", "whole", "flag"]


def sklearn_equal(known: pd.DataFrame) -> ColumnTransformer:
    kinds = [sorted(known[name].dropna().unique()) for name in ("kind", "city")]
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            (
                "categories",
                OneHotEncoder(categories=kinds, handle_unknown="ignore", sparse_output=False),
                ["kind", "city"],
            ),
        ]
    )


def test_the_matrix_equals_that_of_scikit_learns_transformers() -> None:
    known, new = table(seed=1), table(seed=2)
    reference = sklearn_equal(known)
    encoder = fitted(known, SCALED)
    np.testing.assert_allclose(encoder.matrix(Rows(known)), reference.fit_transform(known), atol=1e-12)
    np.testing.assert_allclose(encoder.matrix(Rows(new)), reference.transform(new), atol=1e-12)


def test_a_keys_matrix_does_not_depend_on_the_batch_it_came_in() -> None:
    batch = table(300)
    alone = batch.iloc[100:180].reset_index(drop=True)
    inside = fitted(batch, SCALED, part=slice(100, 180))
    np.testing.assert_array_equal(
        inside.matrix(Rows(batch, 100, 180)), fitted(alone, SCALED).matrix(Rows(alone))
    )


def test_columns_are_found_by_name_whatever_their_order() -> None:
    frame = table()
    encoder = fitted(frame)
    turned = frame[list(reversed(frame.columns))].assign(more=1)
    np.testing.assert_array_equal(encoder.matrix(Rows(turned)), encoder.matrix(Rows(frame)))


def test_the_names_say_what_each_column_of_the_matrix_is() -> None:
    encoder = fitted(table())
    assert encoder.names == [*NUMBERS, "kind=x", "kind=y", "kind=z", "city=Bonn", "city=Ulm"]


def test_unseen_and_missing_categories_are_zero_everywhere() -> None:
    encoder = fitted(pd.DataFrame({"kind": ["x", "y", "x"]}))
    matrix = encoder.matrix(Rows(pd.DataFrame({"kind": ["y", "new", None]})))
    np.testing.assert_array_equal(matrix, [[0, 1], [0, 0], [0, 0]])


def test_trees_get_codes_and_minus_one_for_the_unseen() -> None:
    encoder = fitted(pd.DataFrame({"n": [1.0, 2.0, 3.0], "kind": ["x", "y", "x"]}), Needs(categories="codes"))
    matrix = encoder.matrix(Rows(pd.DataFrame({"n": [5.0, 6.0, 7.0], "kind": ["y", "new", None]})))
    np.testing.assert_array_equal(matrix, [[5, 1], [6, -1], [7, -1]])
    assert encoder.native == [1]


def test_native_categories_are_missing_where_unseen() -> None:
    encoder = fitted(pd.DataFrame({"kind": ["x", "y", "x"]}), Needs(missing=True, categories="native"))
    matrix = encoder.matrix(Rows(pd.DataFrame({"kind": ["y", "new", None]})))
    np.testing.assert_array_equal(matrix, [[1], [np.nan], [np.nan]])


def test_only_the_most_frequent_values_of_a_category_count() -> None:
    values = [f"v{number:04}" for number in range(MAX_CATEGORIES + 45)]
    often = values[40:]
    encoder = fitted(pd.DataFrame({"kind": values + often}))
    assert [name for name, _ in encoder.categories] == ["kind"]
    assert len(encoder.categories[0][1]) == MAX_CATEGORIES
    assert encoder.categories[0][1] == tuple(often[:MAX_CATEGORIES])


def test_numbers_are_categories_where_the_job_says_so_even_when_nulls_made_them_floats() -> None:
    encoder = fitted(pd.DataFrame({"zone": [3, 1, 3]}), categorical=("zone",))
    assert encoder.names == ["zone=1", "zone=3"]
    matrix = encoder.matrix(Rows(pd.DataFrame({"zone": [3.0, None, 2.0]})))
    np.testing.assert_array_equal(matrix, [[0, 1], [0, 0], [0, 0]])


def test_dictionary_encoded_text_gives_the_same_codes_whatever_the_dictionary() -> None:
    plain = pd.DataFrame({"kind": ["b", "a", "b"]})
    turned = plain.astype(pd.CategoricalDtype(["z", "b", "a"]))
    assert fitted(plain).categories == fitted(turned).categories == (("kind", ("a", "b")),)
    np.testing.assert_array_equal(fitted(plain).matrix(Rows(turned)), fitted(plain).matrix(Rows(plain)))


def test_missing_numbers_take_the_median_of_the_key_and_not_of_the_batch() -> None:
    frame = pd.DataFrame({"n": [1.0, np.nan, 3.0, 8.0, 900.0, 900.0]})
    encoder = fitted(frame, part=slice(0, 4))
    np.testing.assert_array_equal(encoder.matrix(Rows(frame, 0, 4)), [[1], [3], [3], [8]])


def test_missing_numbers_stay_for_estimators_that_take_them() -> None:
    frame = pd.DataFrame({"n": [1.0, np.nan, 3.0]})
    np.testing.assert_array_equal(
        fitted(frame, Needs(missing=True)).matrix(Rows(frame)), [[1], [np.nan], [3]]
    )


def test_infinite_features_count_as_missing() -> None:
    frame = pd.DataFrame({"n": [1.0, np.inf, 3.0, -np.inf, 5.0]})
    np.testing.assert_array_equal(fitted(frame).matrix(Rows(frame)), [[1], [3], [3], [3], [5]])


def test_columns_without_a_value_are_left_out_and_constant_ones_stay() -> None:
    frame = pd.DataFrame(
        {"empty": [np.nan] * 3, "same": [0.1, 0.1, 0.1], "n": [1.0, 2.0, 3.0], "void": [None] * 3}
    )
    encoder = fitted(frame, SCALED)
    assert encoder.names == ["same", "n"]
    late = frame.assign(empty=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(encoder.matrix(Rows(late))[:, 0], 0, atol=1e-12)
    assert encoder.matrix(Rows(late)).shape == (3, 2)


def test_only_categories_may_have_values() -> None:
    frame = pd.DataFrame({"empty": [np.nan] * 3, "kind": ["x", "y", "x"]})
    np.testing.assert_array_equal(fitted(frame, SCALED).matrix(Rows(frame)), [[1, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize("columns", [[], ["empty"], ["empty", "void"]])
def test_rows_without_any_feature_value_are_unusable(columns: list[str]) -> None:
    frame = pd.DataFrame({"empty": [np.nan] * 3, "void": pd.Series([None] * 3, dtype="str")})
    with pytest.raises(UnusableRowsError, match="no feature has a value in 3 rows"):
        fitted(frame[columns] if columns else frame[[]])


def test_times_are_seconds_from_the_keys_first_one() -> None:
    first = pd.Timestamp("2026-03-01 12:00")
    frame = pd.DataFrame({"at": [first + pd.Timedelta(days=1), first, pd.NaT]})
    expected = [[86400], [0], [43200]]
    np.testing.assert_array_equal(fitted(frame).matrix(Rows(frame)), expected)
    zoned = frame.assign(at=frame["at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    np.testing.assert_array_equal(fitted(zoned).matrix(Rows(zoned)), expected)
    np.testing.assert_array_equal(fitted(frame).matrix(Rows(zoned)), expected)


def test_dates_durations_decimals_and_booleans_with_nulls_are_numbers() -> None:
    frame = pd.DataFrame(
        {
            "day": [dt.date(2026, 1, 1), None, dt.date(2026, 1, 3)],
            "took": pd.to_timedelta(["1s", "2s", "4s"]),
            "price": [Decimal("1.5"), None, Decimal("2.5")],
            "flag": [True, None, True],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    np.testing.assert_array_equal(
        fitted(frame).matrix(Rows(frame)),
        [[0, 0, 1.5, 1, 1], [86400, 1, 2, 1, 2], [172800, 3, 2.5, 1, 3]],
    )


def test_a_missing_column_is_named() -> None:
    encoder = fitted(table())
    with pytest.raises(DataError, match="no column 'whole', which the model needs; they have a, b"):
        encoder.matrix(Rows(table().drop(columns="whole")))
    with pytest.raises(DataError, match="no column 'city'"):
        encoder.matrix(Rows(table().drop(columns="city")))


def test_text_in_a_column_of_numbers_is_refused_with_the_column() -> None:
    encoder = fitted(pd.DataFrame({"n": [1.0, 2.0]}))
    with pytest.raises(DataError, match="column 'n': numbers were expected, as in training"):
        encoder.matrix(Rows(pd.DataFrame({"n": ["1", "many"]})))


def test_the_batch_is_never_changed_through_a_matrix() -> None:
    frame = pd.DataFrame({"n": [1.0, 2.0, 3.0]})
    rows = Rows(frame)
    encoder = fitted(frame)
    encoder.matrix(rows)[:] = -1
    np.testing.assert_array_equal(encoder.matrix(rows), [[1], [2], [3]])
