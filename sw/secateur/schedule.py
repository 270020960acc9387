"""How far pruning has gone: from what a layer has to its target, in rounds or smoothly."""

from __future__ import annotations

__all__ = ["approach", "cubic"]


def approach(key: str, start: float, target: float, part: float) -> float:
    """Go a part of the way to a target, in rounds that each ask the same of the network.

    A quality grows in equal steps. A density shrinks by equal factors, so that every round removes
    the same part of the weights that the one before has left. It never grows: weights that have
    been removed stay so.

    Parameters
    ----------
    key : str
        "quality", or any other for a density.
    start, target : float
        Where the first round begins and the last one ends.
    part : float
        Of the rounds, from 0 to 1; at 1 the result is ``target``, whatever the power rounds to.

    Returns
    -------
    float

    Examples
    --------
    >>> [approach("quality", 0.0, 1.5, part) for part in (1 / 3, 2 / 3, 1)]
    [0.5, 1.0, 1.5]
    >>> [approach("density", 1.0, 0.25, part) for part in (0, 0.5, 1)]
    [1.0, 0.5, 0.25]
    >>> approach("density", 0.2, 0.25, 0.5)
    0.25
    """
    if part >= 1:
        return target
    if key == "quality":
        return start + (target - start) * part
    return start ** (1 - part) * target**part if target < start else target


def cubic(start: float, target: float, part: float) -> float:
    """Go a part of the way to a density, fast while much can be spared and slowly at the end.

    ``target + (start - target) * (1 - part)**3``: M. Zhu, S. Gupta, "To prune, or not to prune",
    2017 (arXiv 1710.01878), equation 1, in densities.

    Parameters
    ----------
    start, target : float
        Densities, above 0 and at most 1; one that is below its target from the start stays as it
        is, for which the target stands.
    part : float
        Of the steps, from 0; from 1 on the result is ``target``.

    Returns
    -------
    float

    Examples
    --------
    >>> [cubic(1.0, 0.5, part) for part in (0, 0.5, 1, 1.5)]
    [1.0, 0.5625, 0.5, 0.5]
    >>> cubic(0.1, 0.2, 0.0)
    0.2
    """
    if part >= 1 or target >= start:
        return target
    return target + (start - target) * (1 - part) ** 3
