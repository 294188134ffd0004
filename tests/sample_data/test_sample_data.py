"""The sample data are what their script makes, and have what real data have."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "sample_data"
FILES = ("store_sales", "store_sales_future", "wells", "wells_new", "ratings", "candidates")


def read(name: str) -> pd.DataFrame:
    return pd.read_parquet(FOLDER / f"{name}.parquet")


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(FOLDER / "make_sample_data.py"))["make"]()


def test_the_script_makes_every_file_and_no_other(made):
    assert sorted(made) == sorted(f"{name}.parquet" for name in FILES)
    assert sorted(path.name for path in FOLDER.glob("*.parquet")) == sorted(made)


@pytest.mark.parametrize("name", FILES)
def test_the_script_makes_equal_tables_again(made, name):
    kept, again = pq.read_table(FOLDER / f"{name}.parquet"), made[f"{name}.parquet"]
    assert kept.schema.equals(again.schema)
    pd.testing.assert_frame_equal(kept.to_pandas(), again.to_pandas(), check_exact=False, rtol=0, atol=0.011)


def test_all_of_it_is_small_enough_for_git():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1_000_000


def test_stores_close_open_and_are_young_as_real_ones():
    sales = read("store_sales")
    by_store = sales.groupby("store")
    last = sales["date"].max()
    assert len(by_store) == 40
    assert (by_store["region"].nunique() == 1).all()
    assert not sales.duplicated(["store", "date"]).any()
    assert by_store.size()[37] == 5
    assert 28 <= by_store.size()[38] <= 30
    assert (by_store["date"].max() < last - pd.Timedelta(days=100)).sum() == 2
    sundays = (
        sales[sales["date"].dt.day_of_week == 6].groupby("store").size().reindex(range(1, 41), fill_value=0)
    )
    assert (sundays == 0).sum() == 10 + (sundays[[37]] == 0).sum()
    longest = by_store["date"].apply(lambda dates: dates.sort_values().diff().max().days)
    assert (longest > 60).sum() == 1
    assert ((sales["sales"] == 0).groupby(sales["store"]).mean() > 0.8).sum() == 1


def test_sales_follow_week_promotion_and_year():
    sales = read("store_sales").query("store not in (34, 35, 36, 37, 38)")
    level = sales["sales"] / sales.groupby("store")["sales"].transform("mean")
    day = sales["date"].dt.day_of_week
    plain = sales["promo"] == 0
    assert level[plain & (day == 5)].mean() > 1.3 * level[plain & (day == 1)].mean()
    assert (
        level[(sales["promo"] == 1) & (day < 5)].mean()
        > 1.25 * level[(sales["promo"] == 0) & (day < 5)].mean()
    )
    month = sales["date"].dt.month
    assert level[month == 12].mean() > 1.1 * level[month == 2].mean()


def test_the_plan_covers_the_next_fourteen_days_and_a_store_never_seen():
    sales, plan = read("store_sales"), read("store_sales_future")
    end = sales["date"].max()
    assert (plan["date"].min(), plan["date"].max()) == (
        end + pd.Timedelta(days=1),
        end + pd.Timedelta(days=14),
    )
    trading = set(sales.loc[sales["date"] > end - pd.Timedelta(days=7), "store"])
    assert set(plan["store"]) == trading | {41}
    assert list(plan.columns) == ["store", "region", "date", "promo", "price", "holiday"]
    assert not plan.isna().any().any()


def test_wells_wear_fail_and_start_again():
    wells = read("wells").sort_values(["well", "timestamp"])
    assert wells["well"].nunique() == 30
    resets = wells.groupby("well")["rul"].apply(lambda rul: int((rul.diff() > 0).sum()))
    assert resets.drop("W-30").between(2, 4).all()
    life = wells.groupby("well")["rul"].transform(lambda rul: (rul.diff() > 0).cumsum())
    steps = wells["rul"].groupby([wells["well"], life]).diff().dropna()
    assert np.allclose(steps, -0.5)
    assert (
        wells.loc[wells["rul"] < 3, "vibration"].mean() > 2 * wells.loc[wells["rul"] > 25, "vibration"].mean()
    )
    assert wells.groupby("well").size()["W-30"] < 60


def test_wells_have_faults_missing_readings_and_a_sensor_that_is_not_there():
    wells = read("wells")
    assert 0.01 < wells["fault"].mean() < 0.03
    missing = wells.groupby("well")["current"].apply(lambda current: current.isna().mean())
    assert missing["W-07"] == 1.0
    assert missing.drop(["W-07", "W-30"]).between(0.001, 0.08).all()
    calm = wells["fault"] == 0
    assert wells.loc[~calm, "flow"].std() > 1.2 * wells.loc[calm, "flow"].std()


def test_present_lives_follow_those_that_ended_and_one_well_is_new():
    wells, present = read("wells"), read("wells_new")
    assert set(present["well"]) - set(wells["well"]) == {"W-31"}
    ended = wells.groupby("well")["timestamp"].max()
    began = present.groupby("well")["timestamp"].min()
    assert (began.drop("W-31") > ended).all()
    assert list(present.columns) == [name for name in wells.columns if name not in ("rul", "fault")]


def test_users_rated_from_3_to_500_films_and_have_tastes():
    ratings = read("ratings")
    counts = ratings.groupby("user").size()
    assert (len(counts), counts.min(), counts.max()) == (150, 3, 500)
    assert (counts < 20).sum() > 20
    assert set(ratings["rating"]) == set(np.arange(1, 11) / 2)
    assert not ratings.duplicated(["user", "item"]).any()
    assert (ratings.groupby("user")["timestamp"].diff().dropna() >= pd.Timedelta(0)).all()
    drama = (
        ratings[ratings["user"].isin(counts[counts > 100].index)].groupby(["user", "drama"])["rating"].mean()
    )
    liking = drama.xs(1, level="drama") - drama.xs(0, level="drama")
    assert liking.max() > 0.25
    assert liking.min() < -0.25


def test_candidates_are_films_that_the_user_has_not_rated_and_one_user_is_new():
    ratings, candidates = read("ratings"), read("candidates")
    both = candidates.merge(ratings[["user", "item"]], on=["user", "item"])
    assert len(both) == 0
    assert set(candidates["user"]) - set(ratings["user"]) == {151}
    assert (candidates.groupby("user").size() == 20).all()
    assert list(candidates.columns) == [
        name for name in ratings.columns if name not in ("timestamp", "rating")
    ]
