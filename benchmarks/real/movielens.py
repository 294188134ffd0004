"""Rank films for each of MovieLens' 610 users (latest-small), one model per user, and score the ratings by RMSE.

    python benchmarks/real/movielens.py DATA             DATA is the folder that holds ratings.csv and movies.csv
    python benchmarks/real/movielens.py DATA --inside    the same inside the training part: to choose candidates by

Each user's last fifth by time is held out (with `--inside` it is dropped, and the last fifth of the rest is held out). A
film's features are its genres, its year, how many training ratings it has, and how much better than their usual the *other*
users rated it there (shrunk towards zero): a row's own rating and all held-out ratings are no part of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import manymodels as mm

JOB = Path(__file__).with_suffix(".yaml").absolute()
SHRINKAGE = 5  # ratings' worth of doubt about a film


def main(folder: Path, inside: bool) -> None:
    ratings = pd.read_csv(folder / "ratings.csv").sort_values(
        ["userId", "timestamp", "movieId"], ignore_index=True
    )
    if inside:
        ratings = ratings[~last_fifth(ratings)].reset_index(drop=True)
    held = last_fifth(ratings)
    rows = pd.concat([ratings, film_features(ratings, ~held)], axis=1).join(
        genres(pd.read_csv(folder / "movies.csv")), on="movieId"
    )
    train, test = rows[~held], rows[held]
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        train.to_parquet("train.parquet", index=False)
        job = mm.Job.from_yaml(JOB)
        run = mm.train(job)
        scores = mm.score(job, data=test)
        print(f"{run} in {run.summary['seconds']:.0f} s")
        print(run.leaderboard().to_string(index=False))
    assert len(scores) == len(test), "every row is in the output"
    scores["squares"] = (scores["prediction"].clip(0.5, 5) - scores["rating"]) ** 2
    scores["naive"] = (scores["userId"].map(train.groupby("userId")["rating"].mean()) - scores["rating"]) ** 2
    by = scores.groupby(["model_source", "status"])
    print(
        by.agg(users=("userId", "nunique"), rows=("rating", "size"))
        .join(by[["squares", "naive"]].mean() ** 0.5)
        .to_string()
    )
    print(
        f"{scores['userId'].nunique()} users, {len(scores):,} ratings: RMSE {np.sqrt(scores['squares'].mean()):.4f}; "
        f"each user's mean has {np.sqrt(scores['naive'].mean()):.4f}"
    )


def last_fifth(ratings: pd.DataFrame) -> pd.Series:
    users = ratings.groupby("userId")["rating"]
    size = users.transform("size")
    return users.cumcount() >= size - np.ceil(size * 0.2)


def film_features(ratings: pd.DataFrame, known: pd.Series) -> pd.DataFrame:
    """What the other users' known ratings say of each row's film."""
    usual = ratings["userId"].map(ratings[known].groupby("userId")["rating"].mean())
    better = (ratings["rating"] - usual).where(known, 0.0)
    films = ratings["movieId"]
    others = better.groupby(films).transform("sum") - better
    count = known.groupby(films).transform("sum") - known
    return pd.DataFrame({"liking": others / (count + SHRINKAGE), "seen": np.log1p(count)})


def genres(films: pd.DataFrame) -> pd.DataFrame:
    table = films.set_index("movieId")
    year = table["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype(float).rename("year")
    return pd.concat([table["genres"].str.get_dummies("|"), year], axis=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--inside", action="store_true")
    arguments = parser.parse_args()
    main(arguments.data.absolute(), arguments.inside)
