"""Random integer networks for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.fixed import NumberFormat, Requant
from secateur.network import Layer, Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["random_inputs", "random_network"]


def random_network(
    seed: int,
    lengths: Sequence[int],
    *,
    density: float = 0.2,
    dead: float = 0.0,
    codebook: bool = False,
    width: int = 8,
) -> Network:
    """Make a network with at least one weight in every layer.

    Signed and unsigned activations, ReLU, shifts and biases differ between layers.

    Parameters
    ----------
    seed : int
    lengths : sequence of int
        Of the input, then of each layer's output.
    density : float
        Share of the weights that are not zero, in rows and columns that are not dead.
    dead : float
        Share of rows and of columns without any weight.
    codebook : bool
        Draw weights from up to 16 values per layer, otherwise from all of 8 bits.
    width : int
        Bits of an activation.
    """
    rng = np.random.default_rng(seed)
    formats = [
        NumberFormat(width=width, signed=bool(signed))
        for signed in rng.integers(2, size=len(lengths))
    ]
    layers = []
    for index in range(len(lengths) - 1):
        shape = lengths[index + 1], lengths[index]
        values = np.unique(np.append(rng.integers(-128, 128, 14), [0, 1])) if codebook else None
        weights = rng.integers(-128, 128, shape) if values is None else rng.choice(values, shape)
        weights[rng.random(shape) >= density] = 0
        weights[rng.random(shape[0]) < dead] = 0
        weights[:, rng.random(shape[1]) < dead] = 0
        if not weights.any():
            weights[rng.integers(shape[0]), rng.integers(shape[1])] = 1
        layers.append(
            Layer(
                name=f"fc{index + 1}",
                weights=weights,
                bias=rng.integers(-3000, 3000, shape[0]),
                weight_width=8,
                input=formats[index],
                requant=Requant(
                    shift=int(rng.integers(12)),
                    output=formats[index + 1],
                    relu=bool(rng.integers(2)),
                ),
                codebook=values,
            )
        )
    return Network(name="random", layers=tuple(layers))


def random_inputs(seed: int, network: Network, count: int) -> NDArray[np.int64]:
    """Make inputs, half of them zeros, the first all zeros: int64[count, inputs]."""
    rng = np.random.default_rng(seed)
    kind = network.layers[0].input
    x = rng.integers(kind.lowest, kind.highest + 1, (count, network.inputs))
    x[rng.random(x.shape) < 0.5] = 0
    x[:1] = 0
    return x
