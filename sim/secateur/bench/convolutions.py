"""Random convolutional networks for tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from secateur.convolution import Convolution, Pool
from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["random_convolution", "random_convolutional_network"]


def random_convolution(
    rng: np.random.Generator,
    planes: tuple[int, int, int],
    *,
    most_kernel: int = 11,
    groups: Sequence[int] = (1, 2, 3),
) -> Convolution:
    """Draw a convolution for ``planes``, channels by rows by columns, with pooling or without."""
    channels, *sides = planes
    kernel, stride, padding, positions = [], [], [], []
    for side in sides:
        border = int(rng.integers(3))
        size = int(rng.integers(1, min(most_kernel, side + 2 * border) + 1))
        border = min(border, size - 1)
        kernel.append(size)
        padding.append(border)
        stride.append(int(rng.integers(1, 5)))
        positions.append((side + 2 * border - size) // stride[-1] + 1)
    kind = rng.choice(["none", "max", "average"])
    pool = None
    if kind == "max":
        size = [int(rng.integers(1, length + 1)) for length in positions]
        pool = Pool(kind="max", size=(size[0], size[1]))
    elif kind == "average":
        size = [1 << int(rng.integers(length.bit_length())) for length in positions]
        pool = Pool(kind="average", size=(size[0], size[1]))
    return Convolution(
        channels=channels,
        height=sides[0],
        width=sides[1],
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
        groups=int(rng.choice([count for count in groups if channels % count == 0])),
        pool=pool,
    )


def random_convolutional_network(
    seed: int,
    planes: tuple[int, int, int],
    *,
    convolutions: int = 1,
    lengths: Sequence[int] = (),
    density: float = 0.5,
    codebook: bool = False,
    width: int = 8,
    most_kernel: int = 5,
) -> Network:
    """Make a network of convolutions, then of fully connected layers, each with a weight.

    Parameters
    ----------
    seed : int
    planes : tuple of int
        Channels, rows and columns of the input.
    convolutions : int
        How many.
    lengths : sequence of int
        Outputs of each fully connected layer.
    density : float
        Share of the weights that are not zero.
    codebook : bool
        Draw weights from up to 16 values per layer, otherwise from all of 8 bits.
    width : int
        Bits of an activation.
    most_kernel : int
        Rows and columns of a kernel, at most.
    """
    rng = np.random.default_rng(seed)
    count = convolutions + len(lengths)
    formats = [
        NumberFormat(width=width, signed=bool(signed)) for signed in rng.integers(2, size=count + 1)
    ]
    layers: list[Layer] = []
    for index, (before, after) in enumerate(itertools.pairwise(formats)):
        convolution = None
        if index < convolutions:
            convolution = random_convolution(rng, planes, most_kernel=most_kernel)
            rows = convolution.groups * int(rng.integers(1, 4))
            planes = (rows, *convolution.plane)
            shape = rows, convolution.columns
        else:
            columns = layers[-1].outputs if layers else int(np.prod(planes))
            shape = lengths[index - convolutions], columns
        values = None
        if codebook:
            values = np.unique(np.append(rng.integers(-128, 128, 14), [0, 1]))
        weights = rng.integers(-128, 128, shape) if values is None else rng.choice(values, shape)
        weights[rng.random(shape) >= density] = 0
        if not weights.any():
            weights[rng.integers(shape[0]), rng.integers(shape[1])] = 1
        layers.append(
            Layer(
                name=f"conv{index + 1}" if convolution else f"fc{index + 1}",
                weights=weights,
                bias=rng.integers(-3000, 3000, shape[0]),
                weight_width=8,
                input=before,
                requant=Requant(
                    shift=int(rng.integers(4, 12)), output=after, relu=bool(rng.integers(2))
                ),
                codebook=values,
                convolution=convolution,
            )
        )
    return Network(name="random", layers=tuple(layers))
