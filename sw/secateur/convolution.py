"""Convolutions in integers: the one definition of their shapes, and of what a kernel sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import ConfigDict

from secateur.engine import RANGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BATCH", "Convolution", "Pool"]

#: Rows and columns of a kernel, and its steps, at most.
MOST_KERNEL, MOST_STRIDE = 11, 4
#: Activations of a plane's channels at most: what the largest engine's buffer holds.
MOST_ACTIVATIONS = RANGES["activation_depth"][1] * RANGES["lanes"][1]
#: Activations that kernels see at a time: as many as a processor's cache holds.
BATCH = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Pooling of activations, of each channel alone, in windows that do not overlap.

    Rows and columns that fill no window are left out.

    Parameters
    ----------
    kind : {"max", "average"}
        An average is ``floor(sum / count + 1/2)``: ties are rounded up, as requantisation does.
    size : tuple of int
        Rows and columns of a window, and its steps; of an average, powers of two.

    Raises
    ------
    ValueError
        If a field is out of range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    kind: Literal["max", "average"]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"pooling must have a size of at least 1 x 1, not {_times(self.size)}")
        if self.kind == "average" and any(size & (size - 1) for size in self.size):
            raise ValueError(
                f"average-pooling must have sizes that are powers of two, not {_times(self.size)}"
            )

    def compute(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pool activations: int64[..., y, x] to int64[..., y // size[0], x // size[1]].

        The largest of several values, requantised, is the largest of the requantised ones, since
        requantisation is monotone: an engine may do either first. An average is one of activations.

        Examples
        --------
        >>> plane = np.array([[1, 2, 9], [4, 4, 9]])
        >>> Pool(kind="max", size=(2, 2)).compute(plane).tolist()
        [[4]]
        >>> Pool(kind="average", size=(1, 2)).compute(plane).tolist()
        [[2], [4]]
        """
        rows, columns = (
            length // size for length, size in zip(y.shape[-2:], self.size, strict=True)
        )
        y = y[..., : rows * self.size[0], : columns * self.size[1]]
        windows = y.reshape(*y.shape[:-2], rows, self.size[0], columns, self.size[1])
        if self.kind == "max":
            return windows.max(axis=(-3, -1))
        count = math.prod(self.size)
        return (windows.sum(axis=(-3, -1)) + count // 2) >> (count.bit_length() - 1)


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """Where a layer's kernels stand on its input, and how its output is pooled.

    Activations are in PyTorch's order, which Flatten keeps: the one of channel c, row y, column x
    has the index ``(c * height + y) * width + x``, in the input as in the output. Of all pairs, the
    first is for rows (y), the second for columns (x).

    Parameters
    ----------
    channels, height, width : int
        Of the input.
    kernel : tuple of int
        Size of a kernel, at most 11 x 11.
    stride : tuple of int
        Its steps, from 1 to 4.
    padding : tuple of int
        Rows of zeros above and below the input, and columns of zeros left and right of it; fewer
        than the kernel has.
    groups : int
        The rows of a layer and the channels are dealt in order to so many equal groups: a row sees
        the channels of its group only.
    pool : Pool, optional
        What follows requantisation.

    Raises
    ------
    ValueError
        If a field is out of range, or they do not fit each other.

    Examples
    --------
    >>> conv = Convolution(channels=1, height=28, width=28, kernel=(5, 5),
    ...                    pool=Pool(kind="max", size=(2, 2)))
    >>> conv.positions, conv.plane, conv.columns, conv.inputs
    ((24, 24), (12, 12), 25, 784)
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    pool: Pool | None = None

    def __post_init__(self) -> None:
        if min(self.channels, self.height, self.width, self.groups) < 1:
            raise ValueError(
                f"channels, height, width and groups must be at least 1, not "
                f"{(self.channels, self.height, self.width, self.groups)}"
            )
        if not 1 <= min(self.kernel) <= max(self.kernel) <= MOST_KERNEL:
            raise ValueError(
                f"the kernel must be from 1 x 1 to {MOST_KERNEL} x {MOST_KERNEL}, not "
                f"{_times(self.kernel)}"
            )
        if not 1 <= min(self.stride) <= max(self.stride) <= MOST_STRIDE:
            raise ValueError(
                f"the stride must be from 1 to {MOST_STRIDE}, not {_times(self.stride)}"
            )
        if (
            min(self.padding) < 0
            or self.padding[0] >= self.kernel[0]
            or (self.padding[1] >= self.kernel[1])
        ):
            raise ValueError(
                f"the padding must be less than the kernel's {_times(self.kernel)}, not "
                f"{_times(self.padding)}"
            )
        if self.channels % self.groups:
            raise ValueError(
                f"groups must divide the {self.channels} channels, not be {self.groups}"
            )
        self.check_size("input", (self.channels, self.height, self.width))
        if min(self.positions) < 1:
            raise ValueError(
                f"the kernel must not be larger than the padded input, not {_times(self.kernel)} "
                f"on {self.height} x {self.width} with a padding of {_times(self.padding)}"
            )
        if min(self.plane) < 1:
            assert self.pool is not None
            raise ValueError(
                f"pooling must not be larger than the output, not {_times(self.pool.size)} of "
                f"{_times(self.positions)}"
            )

    @staticmethod
    def check_size(side: str, shape: tuple[int, ...]) -> None:
        """Refuse an input or output that no engine's buffer holds.

        Raises
        ------
        ValueError
            If it is too large.
        """
        if math.prod(shape) > MOST_ACTIVATIONS:
            raise ValueError(
                f"the {side} must have at most {MOST_ACTIVATIONS} activations, which is what the "
                f"largest engine holds, not {' x '.join(map(str, shape))}"
            )

    @property
    def inputs(self) -> int:
        """Activations of the input."""
        return self.channels * self.height * self.width

    @property
    def columns(self) -> int:
        """Weights of a row: of one kernel, over the channels of its group."""
        return self.channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of places where a kernel stands: the output before pooling."""
        sizes = zip((self.height, self.width), self.kernel, self.stride, self.padding, strict=True)
        rows, columns = (
            (length + 2 * border - size) // step + 1 for length, size, step, border in sizes
        )
        return rows, columns

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of the output, after pooling."""
        if self.pool is None:
            return self.positions
        sizes = zip(self.positions, self.pool.size, strict=True)
        rows, columns = (length // size for length, size in sizes)
        return rows, columns

    def windows(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give what the kernels see at each position, zeros where they stand on the padding.

        Parameters
        ----------
        x : int64[n, inputs]

        Returns
        -------
        int64[n, groups, positions, columns]
            Positions row by row; columns in the order of a row of weights: channel of the group,
            then row, then column of the kernel.

        Examples
        --------
        >>> conv = Convolution(channels=1, height=2, width=2, kernel=(2, 2), padding=(0, 1))
        >>> conv.windows(np.array([[1, 2, 3, 4]])).tolist()
        [[[[0, 1, 0, 3], [1, 2, 3, 4], [2, 0, 4, 0]]]]
        """
        return self._seen(x).reshape(len(x), self.groups, -1, self.columns)

    def _seen(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """View the padded input as int64[n, groups, *positions, channels of a group, *kernel]."""
        planes = x.reshape(len(x), self.groups, -1, self.height, self.width)
        (top, left), (step_y, step_x) = self.padding, self.stride
        planes = np.pad(planes, ((0, 0), (0, 0), (0, 0), (top, top), (left, left)))
        seen = np.lib.stride_tricks.sliding_window_view(planes, self.kernel, axis=(3, 4))
        return seen[:, :, :, ::step_y, ::step_x].transpose(0, 1, 3, 4, 2, 5, 6)

    def lower(self, weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give rows the columns of all channels, with zeros outside their group.

        Parameters
        ----------
        weights : int64[rows, columns]

        Returns
        -------
        int64[rows, channels * kernel]

        Examples
        --------
        >>> conv = Convolution(channels=2, height=1, width=2, kernel=(1, 2), groups=2)
        >>> conv.lower(np.array([[1, 2], [3, 4]])).tolist()
        [[1, 2, 0, 0], [0, 0, 3, 4]]
        """
        if self.groups == 1:
            return weights
        lowered = np.zeros((len(weights), self.groups, self.columns), dtype=np.int64)
        rows = np.arange(len(weights))
        lowered[rows, rows * self.groups // len(weights)] = weights
        return lowered.reshape(len(weights), -1)

    def sums(self, x: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add up the products.

        Parameters
        ----------
        x : int64[n, inputs]
        weights : int64[rows, columns]

        Returns
        -------
        int64[n, rows, y, x]

        Examples
        --------
        >>> conv = Convolution(channels=1, height=2, width=3, kernel=(2, 2))
        >>> conv.sums(np.arange(6)[None], np.array([[1, 0, 0, 10]])).tolist()
        [[[[40, 51]]]]
        """
        by_group = weights.reshape(self.groups, -1, self.columns)
        height, width = self.positions
        sums = np.empty((len(x), *by_group.shape[:2], height, width), dtype=np.int64)
        seen = self._seen(x)
        rows = max(1, BATCH // max(1, len(x) * self.groups * width * self.columns))
        for top in range(0, height, rows):
            band = seen[:, :, top : top + rows].reshape(len(x), self.groups, -1, self.columns)
            # Rows by rows: integers have no BLAS, and these are read in their order.
            part = (band @ by_group.transpose(0, 2, 1)).swapaxes(2, 3)
            sums[:, :, :, top : top + rows] = part.reshape(*sums.shape[:3], -1, width)
        return sums.reshape(len(x), len(weights), height, width)


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
