"""Known laws are found again through noise, and what a line cannot say is not claimed."""

from __future__ import annotations

import numpy as np
import pytest

from var_core.study.fits import Power, bootstrap, joint, left_out, line, power, reducible, valley

N = np.array([0.48, 0.83, 1.36, 2.08, 4.33]) * 1e6


def test_a_law_with_a_limit_is_found_again() -> None:
    law = Power(5.2, 3e5, 0.42)
    found = power(N, law.at(N))
    assert found.limit == pytest.approx(5.2, abs=1e-3)
    assert found.exponent == pytest.approx(0.42, rel=1e-2) and found.scale == pytest.approx(3e5, rel=1e-2)
    noise = np.random.default_rng(0).normal(0, 5e-4, len(N))
    noisy = power(N, law.at(N) + noise)
    assert noisy.limit == pytest.approx(5.2, abs=0.1) and noisy.exponent == pytest.approx(0.42, rel=0.25)
    assert np.abs(noisy.at(N) - law.at(N)).max() < 2e-3


def test_without_a_limit_the_limit_is_zero_and_a_rise_is_no_law() -> None:
    found = power(N, Power(0.0, 1e8, 0.2).at(N))
    assert found.limit == pytest.approx(0, abs=1e-2) and found.exponent == pytest.approx(0.2, rel=1e-2)
    assert power(N, np.linspace(5, 6, 5)).exponent == 0


def test_a_line_on_raw_losses_correlates_also_where_it_is_wrong() -> None:
    loss = Power(5.2, 3e5, 0.42).at(N)
    raw, left = line(N, loss), reducible(N, loss)
    assert raw.correlation < -0.97 and left.correlation < -0.9999
    assert left.exponent == pytest.approx(0.42, rel=1e-2) and raw.exponent < 0.1
    assert line(N, raw.at(N)).correlation == pytest.approx(-1)


def test_the_largest_is_foretold_by_the_law_and_missed_by_the_line() -> None:
    loss = Power(5.2, 3e5, 0.42).at(N)
    found = left_out(N, loss)
    assert found.measured == loss[-1]
    assert found.by_power == pytest.approx(found.measured, abs=1e-3)
    assert abs(found.by_line - found.measured) > 5e-3


def test_the_law_in_size_and_data_is_found_again() -> None:
    n = np.repeat(N, 4)
    d = np.tile([2e3, 8e3, 3e4, 1e5], 5) * (1e6 / n)
    loss = 4.8 + 1.1 * (n / N[0]) ** -0.35 + 0.9 * (d / d[0]) ** -0.5 + np.random.default_rng(1).normal(0, 1e-3, 20)
    found = joint(n, d, loss)
    assert found.limit == pytest.approx(4.8, abs=0.08)
    assert found.alpha == pytest.approx(0.35, rel=0.15) and found.beta == pytest.approx(0.5, rel=0.15)
    assert np.abs(found.at(n, d) - loss).max() < 5e-3


def test_the_bottom_of_equal_flop() -> None:
    loss = 5 + 0.3 * (np.log(N) - np.log(1.5e6)) ** 2
    found = valley(N, loss)
    assert found.inside and found.n == pytest.approx(1.5e6, rel=1e-6) and found.loss == pytest.approx(5)
    falling = valley(N, 7 - 0.1 * np.log(N))
    assert not falling.inside and falling.n == N[-1]


def test_intervals_hold_what_is_true_and_narrow_with_pictures() -> None:
    law, rng = Power(5.2, 3e5, 0.42), np.random.default_rng(2)

    def widths(pictures: int) -> np.ndarray:
        own = rng.normal(0, 0.5, pictures)  # hard pictures are hard for every size
        values = [[mean + own + rng.normal(0, 0.01, pictures)] for mean in law.at(N)]
        low, high = bootstrap(values, lambda means: np.array([means.mean(), means[0] - means[-1]]), rounds=100)
        true = np.array([law.at(N).mean(), law.at(N[0]) - law.at(N[-1])])
        assert ((low - 0.02 < true) & (true < high + 0.02)).all()
        return high - low

    few, many = widths(50), widths(800)
    assert many[0] < few[0] / 2
    assert many[1] < 0.01 < 0.03 < many[0], "what all sizes share cancels"


def test_seeds_widen_an_interval() -> None:
    one = [[np.full(20, 5.0)], [np.full(20, 4.0)]]
    two = [[np.full(20, 5.0), np.full(20, 5.2)], [np.full(20, 4.0)]]
    assert np.ptp(bootstrap(one, lambda m: m[:1], rounds=50)) == 0
    assert np.ptp(bootstrap(two, lambda m: m[:1], rounds=50)) == pytest.approx(0.2)
