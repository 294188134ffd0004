from __future__ import annotations

import numpy as np
import pytest

from manymodels.evaluation.conformal import crossed_widths, residual_widths


def draws(
    keys: int, windows: int, steps: int, growth: float = 0.0, alike: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Residuals whose spread grows as a power of the step, those of neighbours correlated."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(keys, windows, steps))
    for step in range(1, steps):
        noise[:, :, step] = alike * noise[:, :, step - 1] + np.sqrt(1 - alike**2) * noise[:, :, step]
    return noise * np.arange(1, steps + 1) ** growth


@pytest.mark.parametrize("growth", [0.0, 0.5])
@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_new_residuals_are_covered_as_often_as_promised(growth: float, alike: float) -> None:
    past, new = draws(3000, 3, 10, growth, alike), draws(3000, 1, 10, growth, alike, seed=1)[:, 0]
    widths = residual_widths(past, (80.0, 95.0), 10)
    steps = np.arange(1, 11)
    for place, level in enumerate((0.80, 0.95)):
        half = widths.half[:, [place]] * steps ** widths.growth[:, None]
        inside = np.abs(new) <= half
        assert inside.mean() == pytest.approx(level, abs=0.03)
        # Three windows' growth is believed three quarters: a little too wide at first, too narrow at last.
        assert inside[:, 0].mean() == pytest.approx(level, abs=0.08)
        assert inside[:, -1].mean() == pytest.approx(level, abs=0.08)


def test_quantiles_are_of_sizes_and_do_not_fall_with_the_level() -> None:
    residuals = np.array([[[1.0, -4.0, 2.0, -3.0], [4.0, -1.0, 3.0, -2.0], [2.5, -2.5, 2.5, -2.5]]])
    widths = residual_widths(residuals, (50.0, 80.0, 99.0), 4)
    assert widths.half.shape == (1, 3)
    assert widths.growth[0] == 0
    assert (np.diff(widths.half[0]) >= 0).all()
    assert 2.0 <= widths.half[0, 0] <= 4.0
    assert widths.half[0, 2] > 4.0  # more than twelve residuals can tell: by Student's t


def test_sizes_that_grow_with_the_step_are_told_from_those_that_do_not() -> None:
    steep = residual_widths(draws(200, 4, 20, growth=0.8), (80.0,), 20).growth
    flat = residual_widths(draws(200, 4, 20), (80.0,), 20).growth
    assert steep.mean() == pytest.approx(0.8 * 4 / 5, abs=0.1)
    assert flat.mean() < 0.15
    assert flat.min() >= 0


def test_one_window_is_believed_half() -> None:
    growing = np.arange(1.0, 11.0)[None, None, :]
    one = residual_widths(growing, (80.0,), 10).growth[0]
    three = residual_widths(np.repeat(growing, 3, axis=1), (80.0,), 10).growth[0]
    assert (one, three) == pytest.approx((0.5, 0.75))


def test_windows_that_overlap_tell_less() -> None:
    residuals = draws(50, 4, 10)
    apart = residual_widths(residuals, (80.0,), 10).half
    overlapping = residual_widths(residuals, (80.0,), 2).half
    assert (overlapping >= apart).all()
    assert overlapping.mean() > apart.mean()


def test_keys_do_not_know_of_each_other_and_missing_steps_do_not_count() -> None:
    residuals = draws(6, 2, 8)
    residuals[2, 0, 3:] = np.nan
    residuals[3] = np.nan
    residuals[4] = 0.0
    residuals[5, :, :] = np.nan
    residuals[5, 1, 2] = 2.0
    whole = residual_widths(residuals, (80.0, 95.0), 8)
    for key in range(6):
        alone = residual_widths(residuals[key : key + 1], (80.0, 95.0), 8)
        np.testing.assert_allclose(whole.half[key], alone.half[0], rtol=1e-12)
        assert whole.growth[key] == pytest.approx(alone.growth[0])
    assert np.isnan(whole.half[3]).all()
    assert whole.half[4].tolist() == [0.0, 0.0]
    # One residual tells little: Student's t with one degree of freedom.
    assert whole.half[5, 1] > 10


def test_the_scale_of_the_target_does_not_matter() -> None:
    residuals = draws(5, 2, 8)
    small, large = (residual_widths(residuals * scale, (80.0,), 8) for scale in (1e-200, 1e200))
    np.testing.assert_allclose(small.half * 1e200, large.half * 1e-200, rtol=1e-9)
    np.testing.assert_array_equal(small.growth, large.growth)


def test_a_window_is_bounded_by_the_others() -> None:
    residuals = draws(4, 3, 8)
    crossed = crossed_widths(residuals, (80.0,), 8)
    for window, widths in enumerate(crossed):
        others = np.delete(residuals, window, axis=1)
        np.testing.assert_allclose(widths.half, residual_widths(others, (80.0,), 8).half)
    assert np.isnan(crossed_widths(residuals[:, :1], (80.0,), 8)[0].half).all()
