from __future__ import annotations

import numpy as np
import pytest

from manymodels.models.forecast.reconciliation import ErrorCovariance, Tree, mint, rounded, top_down

# Five keys in two regions, and all of them.
TREE = Tree((np.array([0, 0, 1, 1, 1]), np.zeros(5, dtype=np.int64)), (2, 1))
SUMMING = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=float)


def base(seed: int, periods: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    keys = draw.uniform(5, 50, (periods, 5))
    return keys, keys @ SUMMING.T * draw.uniform(0.8, 1.2, (periods, 3))


def naive_shrinkage(errors: np.ndarray) -> tuple[float, np.ndarray]:
    """The definition, pair by pair."""
    n, series = errors.shape
    scaled = errors / np.sqrt(np.mean(errors**2, axis=0))
    variances, squares = 0.0, 0.0
    for i in range(series):
        for j in range(series):
            if i != j:
                products = scaled[:, i] * scaled[:, j]
                variances += (
                    n / (n - 1) ** 3 * np.sum((products - products.mean()) ** 2) * (n - 1) ** 2 / n**2
                )
                squares += products.mean() ** 2
    return min(max(variances / squares, 0.0), 1.0), errors.T @ errors / n


@pytest.mark.parametrize("n", [3, 12, 60])
def test_the_shrinkage_is_that_of_its_definition(n: int) -> None:
    draw = np.random.default_rng(n)
    errors = draw.normal(0, 1, (n, 8)) * np.arange(1, 9) + draw.normal(0, 1, (n, 1))

    found = ErrorCovariance.of(errors, np.ones(8))

    weight, whole = naive_shrinkage(errors)
    assert found.shrinkage == pytest.approx(weight, rel=1e-9)
    expected = weight * np.diag(np.diag(whole)) + (1 - weight) * whole
    assert found.times(np.eye(8)) == pytest.approx(expected, rel=1e-9)


def test_a_series_without_errors_has_the_typical_relative_variance() -> None:
    errors = np.array([[1.0, 20.0, np.nan], [-1.0, -20.0, np.nan]])

    found = ErrorCovariance.of(errors, np.array([10.0, 200.0, 50.0]))

    assert found.variances == pytest.approx([1.0, 400.0, 25.0])


def test_mint_is_the_generalised_least_squares_projection() -> None:
    keys, nodes = base(1)
    errors = np.random.default_rng(2).normal(0, 1, (30, 8)) * np.arange(1, 9)
    covariance = ErrorCovariance.of(errors, np.ones(8))

    found = mint(keys, nodes, TREE, covariance)

    whole = np.concatenate([SUMMING, np.eye(5)])
    inverse = np.linalg.inv(covariance.times(np.eye(8)))
    expected = np.linalg.solve(
        whole.T @ inverse @ whole, whole.T @ inverse @ np.concatenate([nodes, keys], axis=1).T
    ).T
    assert found == pytest.approx(expected, rel=1e-8)


def test_mint_leaves_coherent_forecasts_as_they_are() -> None:
    keys, _ = base(3)
    covariance = ErrorCovariance.of(np.random.default_rng(2).normal(0, 1, (9, 8)), np.ones(8))

    assert mint(keys, keys @ SUMMING.T, TREE, covariance) == pytest.approx(keys)


def test_mint_knows_nothing_of_keys_and_sums_without_a_forecast() -> None:
    keys, nodes = base(4)
    keys[1, 2], nodes[2, 0] = np.nan, np.nan
    covariance = ErrorCovariance.of(np.random.default_rng(2).normal(0, 1, (9, 8)), np.ones(8))

    found = mint(keys, nodes, TREE, covariance)

    assert np.isnan(found[1, 2])
    assert np.isnan(found).sum() == 1
    sums = TREE.sums(found)
    assert sums[:, 2] == pytest.approx(np.nansum(found, axis=1))
    # What is known of the other periods is the same with and without the gaps.
    whole_keys, whole_nodes = base(4)
    assert found[[0, 3]] == pytest.approx(mint(whole_keys, whole_nodes, TREE, covariance)[[0, 3]])


def test_top_down_shares_the_total_by_the_forecast_proportions() -> None:
    keys = np.array([[1.0, 3.0, 2.0, 2.0, 4.0]])
    nodes = np.array([[10.0, 30.0, 100.0]])

    found = top_down(keys, nodes, TREE)

    assert found[0] == pytest.approx([6.25, 18.75, 18.75, 18.75, 37.5])


def test_top_down_gives_equal_shares_where_the_parts_are_zero() -> None:
    found = top_down(np.array([[0.0, 0.0, 2.0, 2.0, 4.0]]), np.array([[10.0, 30.0, 40.0]]), TREE)

    assert found[0] == pytest.approx([5.0, 5.0, 7.5, 7.5, 15.0])


@pytest.mark.parametrize("decimals", [0, 2])
def test_rounded_forecasts_add_up_exactly_and_none_moves_by_a_whole_unit(decimals: int) -> None:
    draw = np.random.default_rng(7)
    owner = draw.integers(0, 6, 200)
    tree = Tree((owner, owner // 3, np.zeros(200, dtype=np.int64)), (6, 2, 1))
    keys = draw.normal(3, 5, (20, 200))
    keys[3, 5:40] = np.nan

    found, nodes = rounded(keys, tree, decimals)

    units = np.rint(found * 10**decimals)
    assert np.nanmax(np.abs(units - keys * 10**decimals)) < 1
    sums = tree.sums(units)
    assert (sums == np.rint(nodes * 10**decimals)).all()
    assert np.abs(nodes - tree.sums(keys)).max() * 10**decimals < 1
