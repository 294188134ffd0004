"""Which column is what, and what is said when a column cannot be that."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from manymodels.dataset.roles import Roles, resolve_roles, scoring_roles, suspicious_features
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError

ROWS = pa.table(
    {
        "store": [1, 2],
        "date": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)]),
        "step": [1, 2],
        "sales": [1.0, 2.0],
        "promo": [True, False],
        "price": [9.5, 9.0],
        "region": ["N", "S"],
        "grade": pa.array([5, 6]).dictionary_encode(),
        "kind": ["p", "q"],
        "cost": [1, 2],
        "blob": [b"a", b"b"],
        "tags": [["a"], ["b"]],
    }
)
IGNORED = ["blob", "tags"]


def resolved(
    task: str = "forecast",
    *,
    table: pa.Table = ROWS,
    levels: tuple[str, ...] = (),
    label: str | None = None,
    **fields: Any,
) -> Roles:
    data = DataSpec(
        **{"partition_by": ["store"], "time": "date", "target": "sales", "ignore": IGNORED, **fields}
    )
    return resolve_roles(open_source(data, table), data, task, levels, label)


def test_features_are_every_other_column_by_name() -> None:
    roles = resolved(weight="cost", label=None, known_future=["promo"])
    assert roles.features == ("grade", "kind", "price", "promo", "region", "step")
    assert roles.known_future == ("promo",)
    assert roles.categorical == ("grade", "kind", "promo", "region")
    assert roles.columns == (
        "store",
        "date",
        "sales",
        "cost",
        "grade",
        "kind",
        "price",
        "promo",
        "region",
        "step",
    )
    assert (roles.time_kind, roles.target_kind, roles.weight) == ("date", "number", "cost")


def test_the_order_of_columns_in_the_data_does_not_matter() -> None:
    turned = ROWS.select(ROWS.column_names[::-1])
    assert resolved(table=turned) == resolved()


def test_listed_features_keep_their_order_and_known_ones_belong_to_them() -> None:
    roles = resolved(features=["price", "grade"], known_future=["promo"], categorical=["price"], ignore=[])
    assert roles.features == ("price", "grade", "promo")
    assert roles.categorical == ("price", "grade", "promo")
    assert roles.columns == ("store", "date", "sales", "grade", "price", "promo")


def test_levels_are_kept_and_may_be_features() -> None:
    roles = resolved("regression", features=["price"], levels=("region",))
    assert roles.levels == ("region",)
    assert roles.columns == ("store", "date", "sales", "price", "region")


def test_pandas_index_columns_are_no_default_features(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"store": [1, 2], "sales": [1.0, 2.0], "x": [1, 2]}, index=pd.Index([7, 9], name="row")
    )
    data = DataSpec(partition_by=["store"], target="sales")
    roles = resolve_roles(open_source(data, frame), data, "regression")
    assert roles.features == ("x",)
    assert roles.warnings == (
        "column 'row' is a pandas index, so it is no feature; list it in `data.features` to use it",
    )
    frame.index.name = None
    frame.to_parquet(tmp_path / "a.parquet")
    data = DataSpec(path=str(tmp_path / "a.parquet"), partition_by=["store"], target="sales")
    roles = resolve_roles(open_source(data), data, "regression")
    assert (roles.features, roles.warnings) == (("x",), ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"partition_by": ["stroe"]},
            r"`data\.partition_by` is 'stroe', .* does not have; did you mean 'store'\?; it has store, date",
        ),
        ({"time": "Date_"}, r"`data\.time` is 'Date_'.*did you mean 'date'"),
        ({"target": "sale"}, r"`data\.target` is 'sale'.*did you mean 'sales'"),
        ({"features": ["prce"]}, r"`data\.features` is 'prce'.*did you mean 'price'"),
        ({"known_future": ["promos"]}, r"`data\.known_future` is 'promos'.*did you mean 'promo'"),
        ({"categorical": ["PRICE"]}, r"`data\.categorical` is 'PRICE'.*did you mean 'price'"),
        ({"ignore": ["blobs"]}, r"`data\.ignore` is 'blobs'.*did you mean 'blob'"),
        ({"types": {"stor": "string"}}, r"`data\.types` is 'stor'.*did you mean 'store'"),
        ({"weight": "csot"}, r"`data\.weight` is 'csot'.*did you mean 'cost'"),
        ({"levels": ("regin",)}, r"a level of `fallback` is 'regin'.*did you mean 'region'"),
        (
            {"label": "truth"},
            r"`evaluation\.label` is 'truth', a column that the table does not have; it has",
        ),
    ],
)
def test_an_absent_column_names_the_field_the_nearest_name_and_the_columns(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        resolved(**fields)


def test_absent_columns_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("store,sales\n1,2\n")
    data = DataSpec(path=str(tmp_path), partition_by=["shop"])
    with pytest.raises(DataError, match=r"'shop', a column that .*a\.csv does not have"):
        resolve_roles(open_source(data), data, "anomaly")


@pytest.mark.parametrize(
    ("task", "fields", "message"),
    [
        ("forecast", {"target": "kind"}, r"`data\.target` 'kind' is string; a forecast needs numbers"),
        (
            "ranking",
            {"target": "date", "time": None},
            r"`data\.target` 'date' is date; a ranking needs numbers",
        ),
        ("classification", {"target": "date", "time": None}, r"classes are strings, integers or booleans"),
        ("forecast", {"time": "price"}, r"`data\.time` 'price' is float64; expected a date"),
        (
            "forecast",
            {"time": "step", "frequency": "D"},
            r"integers, which are positions, and `data\.frequency` is 'D'",
        ),
        ("forecast", {"frequency": "step"}, r"`data\.frequency` is step, which is for integer positions"),
        ("regression", {"weight": "kind"}, r"`data\.weight` 'kind' is string; weights are numbers"),
        (
            "regression",
            {"ignore": ["blob"]},
            r"'tags' is list<.*, which cannot be a feature; list it in `data\.ignore`",
        ),
        ("regression", {"ignore": ["tags"]}, r"column 'blob' is binary, which cannot be a feature"),
        (
            "regression",
            {"partition_by": ["tags"], "ignore": ["blob"]},
            r"'tags' is list<.*, which cannot be a key",
        ),
        (
            "regression",
            {"ignore": [*IGNORED, "store"]},
            r"'store' has a role in the job and is in `data\.ignore`",
        ),
        ("regression", {"features": ["store"]}, r"`data\.features` has 'store', which has another role"),
        (
            "regression",
            {"categorical": ["sales"]},
            r"`data\.categorical` has 'sales', which has another role",
        ),
        (
            "regression",
            {"features": ["price"], "categorical": ["kind"]},
            r"'kind', which is not among the features",
        ),
        ("regression", {"features": []}, r"a regression needs at least one feature column"),
        ("anomaly", {"features": [], "target": None}, r"needs feature columns or a target, found neither"),
        (
            "anomaly",
            {"label": "kind"},
            r"`evaluation\.label` 'kind' is string; the truth is a boolean, or 0 and 1",
        ),
        ("anomaly", {"label": "sales"}, r"`evaluation\.label` 'sales' has another role"),
    ],
)
def test_a_type_that_a_role_cannot_have_is_explained(task: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolved(task, **fields)


def test_a_csv_target_that_is_text_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("store,sales,x\n1,2,3\n1,closed,3\n")
    data = DataSpec(path=str(tmp_path), partition_by=["store"], target="sales")
    with pytest.raises(DataError, match=r"'sales' is string; a regression needs numbers; .*see `data\.csv`"):
        resolve_roles(open_source(data), data, "regression")


@pytest.mark.parametrize(
    ("task", "target", "kind"),
    [
        ("forecast", "promo", "number"),
        ("classification", "kind", "class"),
        ("classification", "promo", "class"),
    ],
)
def test_booleans_are_numbers_and_classes(task: str, target: str, kind: str) -> None:
    assert resolved(task, target=target).target_kind == kind


def test_integer_positions_are_times() -> None:
    assert resolved(time="step", frequency="step").time_kind == "int"
    assert resolved(time="step").time_kind == "int"


def test_integers_that_look_like_dates_are_warned_about_and_can_be_dates() -> None:
    table = ROWS.append_column("day", pa.array([20240131, 20240201]))
    (warning,) = resolved(table=table, time="day").warnings
    assert "integers such as 20240131, which are taken as positions" in warning
    roles = resolved(table=table, time="day", types={"day": "date"})
    assert (roles.time_kind, roles.warnings) == ("date", ())


def test_float_keys_are_warned_about() -> None:
    assert "key column 'price' is a float" in resolved(partition_by=["price"]).warnings[0]


def scored(table: pa.Table, task: str = "regression", **options: Any) -> Roles:
    data = DataSpec(partition_by=["store"], time="date", target="sales", ignore=IGNORED)
    return scoring_roles(open_source(data, table), data, task, **{"features": ("price", "kind"), **options})


def test_new_rows_need_keys_and_features_and_no_target() -> None:
    few = ROWS.select(["store", "price", "kind"])
    roles = scored(few, levels=["region"])
    assert roles.columns == ("store", "kind", "price")
    assert (roles.time, roles.target, roles.levels) == (None, None, ())
    with pytest.raises(
        DataError, match=r"a feature of the models is 'kind', a column that the table does not have"
    ):
        scored(few.drop_columns("kind"))
    with pytest.raises(DataError, match=r"`data\.time` is 'date'"):
        scored(few, task="forecast")
    with pytest.raises(DataError, match=r"`data\.target` is 'sales'"):
        scored(few, target="sales")


def test_the_other_columns_of_new_rows_are_kept_where_they_can_be() -> None:
    roles = scored(ROWS, every_column=True)
    assert set(roles.columns) == set(ROWS.column_names) - {"tags"}
    assert roles.columns[:2] == ("store", "date")
    (warning,) = roles.warnings
    assert warning.startswith("column 'tags' is list<")
    assert warning.endswith("which the output cannot hold; it is left out")


def sample(rows: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    sales = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "sales": sales,
            "same": sales,
            "line": 3 - 2 * sales,
            "near": sales + rng.normal(scale=0.01, size=rows),
            "constant": 1.0,
            "gaps": np.where(np.arange(rows) % 2 == 0, sales, np.nan),
            "word": "w",
        }
    )


def roles_of(frame: pd.DataFrame, task: str, **fields: Any) -> Roles:
    data = DataSpec(**{"partition_by": ["k"], "target": "sales", **fields})
    return resolve_roles(open_source(data, frame.assign(k=1, t=range(len(frame)))), data, task)


def test_features_that_tell_the_target_are_found() -> None:
    frame = sample()
    assert suspicious_features(frame, roles_of(frame, "regression")) == ["gaps", "line", "same"]
    assert suspicious_features(frame.assign(sales=1.0), roles_of(frame, "regression")) == []
    endless = frame.assign(sales=frame["sales"].replace(frame["sales"].max(), np.inf))
    endless["same"] = endless["sales"]  # not a straight line, for numbers that have an end
    assert suspicious_features(endless, roles_of(frame, "regression")) == ["gaps", "same"]
    words = frame.assign(sales=frame["sales"].astype(str))
    assert suspicious_features(words, roles_of(words, "classification")) == ["gaps", "same"]


def test_only_features_known_ahead_give_a_forecast_away() -> None:
    frame = sample()
    assert suspicious_features(frame, roles_of(frame, "forecast", time="t")) == []
    assert suspicious_features(
        frame, roles_of(frame, "forecast", time="t", known_future=["same", "near"])
    ) == ["same"]


def test_a_copy_of_a_class_is_found() -> None:
    frame = pd.DataFrame(
        {"sales": ["a", "b", "a", "c"], "copy": ["a", "b", "a", "c"], "other": ["a", "b", "c", "c"]}
    )
    assert suspicious_features(frame, roles_of(frame, "classification")) == ["copy"]
