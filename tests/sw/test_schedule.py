"""Ways from dense to a target: equal steps, equal factors, and Zhu and Gupta's cubic."""

import pytest

from secateur.schedule import approach, cubic


def test_a_quality_grows_in_equal_steps() -> None:
    assert [approach("quality", 0.0, 2.0, step / 4) for step in range(5)] == [0, 0.5, 1, 1.5, 2]
    assert approach("quality", 1.0, 2.0, 0.5) == 1.5


@pytest.mark.parametrize("key", ["density", "budget", "loss", "fit"])
def test_a_density_shrinks_by_equal_factors(key: str) -> None:
    assert [approach(key, 1.0, 1 / 16, step / 4) for step in range(5)] == [
        1,
        1 / 2,
        1 / 4,
        1 / 8,
        1 / 16,
    ]
    assert approach(key, 0.25, 1 / 16, 0.5) == 1 / 8


@pytest.mark.parametrize("part", [0.0, 0.3, 0.999, 1.0])
def test_a_density_never_grows(part: float) -> None:
    assert approach("density", 0.1, 0.3, part) == 0.3
    assert cubic(0.1, 0.3, part) == 0.3


@pytest.mark.parametrize("target", [0.1, 1 / 12, 1 / 56, 0.3, 0.7])
def test_the_end_is_the_target_itself(target: float) -> None:
    """A power or a cube that rounds would leave one weight more or less."""
    for start in (1.0, 0.9, 0.123):
        assert approach("density", start, target, 1) == target
        assert approach("quality", start, target, 1) == target
        assert [cubic(start, target, part) for part in (1, 1.0, 1.25, 9)] == [target] * 4


def test_the_cubic_is_that_of_the_paper() -> None:
    """In sparsities: s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3; here exact in binary."""
    for start, target in ((1.0, 0.25), (0.75, 0.125), (1.0, 1 / 64)):
        for step in range(9):
            part = step / 8
            sparsity = (1 - target) + ((1 - start) - (1 - target)) * (1 - part) ** 3
            assert cubic(start, target, part) == 1 - sparsity
    steps = [cubic(1.0, 0.1, step / 100) for step in range(101)]
    assert steps[0] == 1.0
    assert steps == sorted(steps, reverse=True)
    # Seven eighths of the way are gone at half time.
    assert cubic(1.0, 0.5, 0.5) == 0.5 + 0.5 / 8
