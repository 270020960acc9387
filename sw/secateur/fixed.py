"""Fixed-point arithmetic: the one definition that software, gateware and tests share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NumberFormat", "Requant", "round_to", "signed_width"]


def signed_width(lowest: int, highest: int) -> int:
    """Bits of the narrowest two's complement number that holds both values.

    Examples
    --------
    >>> signed_width(-128, 127), signed_width(0, 128), signed_width(0, 0)
    (8, 9, 1)
    """
    return 1 + max(int(highest).bit_length(), (~int(lowest)).bit_length() if lowest < 0 else 0)


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """An integer format: two's complement or unsigned.

    Parameters
    ----------
    width : int
        Bits, from 2 to 64.
    signed : bool
        Two's complement if true.

    Examples
    --------
    >>> NumberFormat(width=8, signed=True).lowest, NumberFormat(width=8, signed=False).highest
    (-128, 255)
    """

    width: int
    signed: bool

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 64:
            raise ValueError(f"width must be between 2 and 64, not {self.width!r}")

    @property
    def lowest(self) -> int:
        """The smallest representable value."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest representable value."""
        return (1 << (self.width - self.signed)) - 1

    def holds(self, values: NDArray[np.int64]) -> bool:
        """Tell whether every one of ``values`` (int64[...]) is representable."""
        return bool(np.all((values >= self.lowest) & (values <= self.highest)))


def round_to(
    values: NDArray[np.floating], fraction: int, target: NumberFormat
) -> NDArray[np.int64]:
    """Round half up to multiples of ``2**-fraction`` and saturate: float[...] to int64[...].

    Examples
    --------
    >>> round_to(np.array([0.375, -0.375, 9.0]), 2, NumberFormat(width=4, signed=True)).tolist()
    [2, -1, 7]
    """
    scaled = np.floor(np.asarray(values, dtype=np.float64) * 2.0**fraction + 0.5)
    return np.clip(scaled, target.lowest, target.highest).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Requant:
    """Narrow an accumulator to an activation: shift right, round half up, saturate, activate.

    This object is the specification. :meth:`compute` is the reference that every test compares
    with; :class:`secateur.gateware.requant.Requantizer` is the circuit with the same fields at
    run time.

    Rounding is ``floor(x / 2**shift + 1/2)`` (ties towards +inf), which costs one adder; it is
    not the ties-away-from-zero of gemmlowp's ``RoundingDivideByPOT``.

    Parameters
    ----------
    shift : int
        Right shift, bits, from 0 to 47.
    output : NumberFormat
        Format that the result saturates to.
    relu : bool
        Whether negative results become zero.

    Raises
    ------
    ValueError
        If a field is out of range.
    """

    shift: int
    output: NumberFormat
    relu: bool

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 47:
            raise ValueError(f"shift must be between 0 and 47, not {self.shift!r}")

    def compute(self, acc: NDArray[np.int64]) -> NDArray[np.int64]:
        """Requantise ``acc``.

        Parameters
        ----------
        acc : int64[...]
            Accumulators, of at most 62 bits.

        Returns
        -------
        int64[...]
            Same shape as ``acc``; each value representable in ``output``.

        Examples
        --------
        >>> requant = Requant(shift=3, output=NumberFormat(width=4, signed=True), relu=False)
        >>> requant.compute(np.array([-13, -12, 11, 12, 127]))
        array([-2, -1,  1,  2,  7])
        """
        half = 1 << self.shift >> 1
        saturated = np.clip((acc + half) >> self.shift, self.output.lowest, self.output.highest)
        return np.maximum(saturated, 0) if self.relu else saturated
