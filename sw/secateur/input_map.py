"""The order of x in front of a convolution: an image and the zeros around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from secateur.convolution import Convolution

__all__ = ["found_pitch", "image_order", "input_pitch"]


def input_pitch(convolution: Convolution, columns: NDArray[np.int64], *, lanes: int) -> int:
    """Choose the pixels of a row of x for the first layer.

    Parameters
    ----------
    convolution : Convolution
    columns : int64[n]
        Its columns that have weights, of all channels: ``(channel * kernel[0] + y) * kernel[1] +
        x``.
    lanes : int

    Returns
    -------
    int
        The smallest with which no lane has more columns than it must.
    """
    channel, inside = np.divmod(columns, math.prod(convolution.kernel))
    y, x = np.divmod(inside, convolution.kernel[1])
    least = convolution.width + 2 * convolution.padding[1]
    most = [
        np.bincount(((y * pitch + x) * convolution.channels + channel) % lanes).max()
        for pitch in range(least, least + lanes)
    ]
    return least + int(np.argmin(most))


def image_order(convolution: Convolution, *, pitch: int, length: int) -> NDArray[np.int64]:
    """Give the input of the network at each address of x, or -1: int64[length].

    Examples
    --------
    >>> from secateur.convolution import Convolution
    >>> conv = Convolution(channels=2, height=2, width=2, kernel=(1, 2), padding=(0, 1))
    >>> image_order(conv, pitch=4, length=20).tolist()
    [-1, -1, 0, 4, 1, 5, -1, -1, -1, -1, 2, 6, 3, 7, -1, -1, -1, -1, -1, -1]
    """
    top, left = convolution.padding
    index = np.arange(convolution.inputs)
    channel, at = np.divmod(index, convolution.height * convolution.width)
    y, x = np.divmod(at, convolution.width)
    order = np.full(length, -1)
    order[((y + top) * pitch + x + left) * convolution.channels + channel] = index
    return order


def found_pitch(convolution: Convolution, order: Sequence[int]) -> int:
    """Find the ``pitch`` that :func:`image_order` was called with; any where it does not matter.

    Raises
    ------
    ValueError
        If an input is not there.

    Examples
    --------
    >>> from secateur.convolution import Convolution
    >>> conv = Convolution(channels=2, height=2, width=2, kernel=(1, 2), padding=(0, 1))
    >>> found_pitch(conv, [-1, -1, 0, 4, 1, 5, -1, -1, -1, -1, 2, 6, 3, 7])
    4
    """
    (top, left), width = convolution.padding, convolution.width
    first = order.index(0) // convolution.channels
    if convolution.height > 1:
        return order.index(width) // convolution.channels - first
    return (first - left) // top if top else width + 2 * left
