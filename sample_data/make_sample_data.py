"""Make the sample data: three small data sets with what real ones have, always the same.

Usage: python sample_data/make_sample_data.py [FOLDER]

store_sales.parquet       daily sales of 40 stores over two years: weekly and yearly seasons, promotions, holidays,
                          stores that close on Sundays, for a renovation or for good, new stores, one that sells rarely
store_sales_future.parquet  the next 14 days' plan of promotions, prices and holidays for the stores that still trade,
                          and for store 41, which opens then
wells.parquet             half-daily readings of 30 pumps, from overhaul to failure, several times over, with days to
                          the failure (`rul`) and injected faults
wells_new.parquet         the pumps' present lives, whose end is not known, and a pump that is new
ratings.parquet           3 to 500 ratings of films by each of 150 users, with the films' features
candidates.parquet        films to rank for each of them, and for user 151, who has rated none
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20260101
DAY = np.timedelta64(1, "D")
HOLIDAYS = (
    *("2024-01-01", "2024-03-29", "2024-04-01", "2024-05-01", "2024-12-25", "2024-12-26"),
    *("2025-01-01", "2025-04-18", "2025-04-21", "2025-05-01", "2025-12-25", "2025-12-26"),
    "2026-01-01",
)


def store_sales(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    """The history and the plan for the next days."""
    first, end, horizon = np.datetime64("2024-01-01"), np.datetime64("2026-01-01"), 14
    days = np.arange(first, end + horizon * DAY)
    number = np.arange(len(days))
    known = int((end - first) / DAY)
    weekday = (days.astype("datetime64[D]").astype(int) + 3) % 7  # Monday is 0
    year_part = (days - days.astype("datetime64[Y]")).astype(int) / 365.25
    holidays = np.array(HOLIDAYS, dtype="datetime64[D]")
    holiday = np.isin(days, holidays)
    december = np.where(year_part > 0.92, (year_part - 0.92) * 6.0, 0.0)
    history, plan = [], []
    for store in range(1, 42):
        region = ("north", "east", "south", "west")[store % 4]
        promo = (((number // 7 + store) % 3 == 0) & (weekday < 5)) | (rng.random(len(days)) < 0.03)
        steps = np.where(rng.random(len(days)) < 0.01, rng.normal(0, 0.04, len(days)), 0.0)
        price = np.round(rng.uniform(8, 14) * np.exp(np.cumsum(steps)) * np.where(promo, 0.85, 1.0), 2)
        weekly = np.array([0.95, 0.9, 0.92, 1.0, 1.2, 1.35, 0.7]) * rng.uniform(0.9, 1.1, 7)
        yearly = 0.12 * np.sin(2 * np.pi * (year_part - rng.uniform(0.15, 0.3))) + december
        trend = rng.normal(0.03, 0.1) * number / 365.25
        effects = np.log(weekly[weekday]) + yearly + trend + promo * rng.uniform(0.2, 0.5)
        effects += -1.2 * np.log(price / price.mean()) + holiday * rng.choice([-0.6, 0.4])
        shocks = rng.normal(0, 0.09, len(days))
        shocks[1:] += 0.4 * shocks[:-1]
        sales = np.round(rng.lognormal(5.5, 0.5) * np.exp(effects + shocks)).astype(np.int64)
        opens = np.ones(len(days), dtype=bool)
        opens[days == np.datetime64("2024-12-25")] = opens[days == np.datetime64("2025-12-25")] = False
        if 11 <= store <= 20:
            opens &= weekday != 6
        if store == 21:  # renovated
            opens &= (days < np.datetime64("2025-02-10")) | (days >= np.datetime64("2025-05-05"))
        if store == 34:  # sells something on one day in eight
            sales = np.where(rng.random(len(days)) < 0.125, rng.integers(1, 6, len(days)), 0)
        if store == 35:
            opens &= days < np.datetime64("2024-12-01")
        if store == 36:
            opens &= days < np.datetime64("2025-08-16")
        if store == 37:
            opens &= days >= end - 5 * DAY
        if store == 38:
            opens &= days >= end - 30 * DAY
        columns = {
            "store": np.full(len(days), store),
            "region": np.full(len(days), region),
            "date": days.astype("datetime64[us]"),
            "sales": sales,
            "promo": promo.astype(np.int64),
            "price": price,
            "holiday": holiday.astype(np.int64),
        }
        past, ahead = opens & (number < known), opens & (number >= known)
        if store < 41:
            history.append(pa.table({name: values[past] for name, values in columns.items()}))
        plan.append(pa.table({name: values[ahead] for name, values in columns.items() if name != "sales"}))
    return pa.concat_tables(history), pa.concat_tables(plan)


SENSORS = ("pressure", "flow", "temperature", "vibration", "current")


def wells(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    """Lives that have ended, and present ones."""
    ended, present = [], []
    for number in range(1, 32):
        well = f"W-{number:02d}"
        site = ("alpha", "bravo", "charlie")[number % 3]
        offsets = rng.normal(0, 1, len(SENSORS)) * (6, 8, 3, 0.3, 4)
        wear_rate = rng.uniform(2.5, 4.5)
        clock = np.datetime64("2025-01-01T06:00") + rng.integers(0, 40) * DAY
        lives = 1 if number == 30 else int(rng.integers(3, 6))
        if number == 31:  # new: its first life is the present one
            lives = 0
        for life in range(lives + 1):
            days = rng.integers(10, 14) if number == 30 else rng.integers(25, 65)
            steps = 2 * int(days)
            age = np.arange(steps) / steps
            wear = np.expm1(wear_rate * age) / np.expm1(wear_rate)
            condition = rng.choice(["low", "normal", "high"], p=[0.2, 0.6, 0.2], size=steps // 6 + 1)
            condition = np.repeat(condition, 6)[:steps]
            load = np.select([condition == "low", condition == "high"], [-1.0, 1.0], 0.0)
            readings = np.column_stack(
                [
                    180 - 35 * wear + 9 * load,
                    240 - 60 * wear + 25 * load,
                    71 + 14 * wear + 4 * load,
                    2.1 + 5.5 * wear**1.5 + 0.4 * load,
                    64 + 18 * wear + 11 * load,
                ]
            )
            readings += offsets + rng.normal(0, 1, readings.shape) * (2.0, 4.0, 0.8, 0.18, 1.5)
            fault = rng.random(steps) < 0.015
            hit = rng.integers(0, len(SENSORS), steps)
            jump = rng.choice([-1.0, 1.0], steps) * np.array([45, 90, 20, 5, 40])[hit]
            readings[fault, hit[fault]] += jump[fault]
            readings = np.maximum(readings, 0.0)
            readings[rng.random(readings.shape) < 0.02] = np.nan
            if number == 7:  # has no current sensor
                readings[:, SENSORS.index("current")] = np.nan
            stamps = clock + np.arange(steps) * np.timedelta64(12, "h")
            columns = {
                "well": np.full(steps, well),
                "site": np.full(steps, site),
                "timestamp": stamps.astype("datetime64[us]"),
                "days_since_overhaul": np.arange(steps) / 2,
                "condition": condition,
                **{name: np.round(readings[:, place], 2) for place, name in enumerate(SENSORS)},
            }
            table = pa.table(
                {name: pa.array(values, from_pandas=name in SENSORS) for name, values in columns.items()}
            )
            if life < lives:
                table = table.append_column("rul", pa.array((steps - np.arange(steps)) / 2))
                ended.append(table.append_column("fault", pa.array(fault.astype(np.int64))))
                clock = stamps[-1] + rng.integers(2, 6) * DAY
            else:
                present.append(table.slice(0, int(steps * rng.uniform(0.3, 0.9))))
    return pa.concat_tables(ended), pa.concat_tables(present)


GENRES = ("action", "comedy", "drama", "horror", "romance", "scifi")


def ratings(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    """Ratings given, and films to rank."""
    users, items = 150, 900
    genres = rng.random((items, len(GENRES))) < (0.3, 0.4, 0.5, 0.12, 0.25, 0.18)
    genres[~genres.any(axis=1), 2] = True
    year = 2024 - np.minimum(rng.exponential(14, items).astype(np.int64), 80)
    quality = rng.normal(0, 0.45, items)
    appeal = np.exp(rng.normal(0, 1.1, items) + 0.6 * quality)
    popularity = np.round(appeal / appeal.max(), 4)
    counts = np.clip(rng.lognormal(3.7, 1.1, users).astype(np.int64), 3, 500)
    counts[:4] = (3, 4, 500, 320)

    def films(chosen: np.ndarray) -> dict[str, np.ndarray]:
        dummies = {name: genres[chosen, place].astype(np.int64) for place, name in enumerate(GENRES)}
        return {"item": chosen + 1, **dummies, "year": year[chosen], "popularity": popularity[chosen]}

    given, asked = [], []
    for user in range(1, users + 2):
        taste = rng.normal(0, 0.55, len(GENRES))
        likes_old = rng.normal(0, 0.012)
        mean = rng.normal(3.4, 0.4)
        order = rng.choice(items, items, replace=False, p=appeal / appeal.sum())
        count = int(counts[user - 1]) if user <= users else 0
        seen, unseen = order[:count], order[count : count + 20]
        liking = genres[seen] @ taste / np.sqrt(genres[seen].sum(axis=1)) + likes_old * (2010 - year[seen])
        score = mean + quality[seen] + liking + rng.normal(0, 0.55, count)
        start = np.datetime64("2024-01-01") + rng.integers(0, 500) * DAY
        gaps = np.cumsum(rng.exponential(9, count)) * 3600
        stamps = start.astype("datetime64[s]") + gaps.astype("timedelta64[s]")
        if count:
            table = {
                "user": np.full(count, user),
                **films(seen),
                "timestamp": stamps.astype("datetime64[us]"),
                "rating": np.clip(np.round(score * 2) / 2, 0.5, 5.0),
            }
            given.append(pa.table(table))
        asked.append(pa.table({"user": np.full(len(unseen), user), **films(unseen)}))
    return pa.concat_tables(given), pa.concat_tables(asked)


def make() -> dict[str, pa.Table]:
    """All tables by file name; each data set has a stream of random numbers of its own."""
    streams = [np.random.default_rng([SEED, number]) for number in range(3)]
    sales, future = store_sales(streams[0])
    ended, present = wells(streams[1])
    given, asked = ratings(streams[2])
    return {
        "store_sales.parquet": sales,
        "store_sales_future.parquet": future,
        "wells.parquet": ended,
        "wells_new.parquet": present,
        "ratings.parquet": given,
        "candidates.parquet": asked,
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in make().items():
        pq.write_table(table, folder / name, compression="zstd", compression_level=19)
        print(f"{name}: {table.num_rows:,} rows, {(folder / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
