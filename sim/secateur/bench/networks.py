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
    code_widths: Sequence[int] = (),
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
    code_widths : sequence of int
        Bits of the codes of the layers in turn, of a direct weight or of an index of the codebook;
        as above where it is empty.
    """
    rng = np.random.default_rng(seed)
    formats = [
        NumberFormat(width=width, signed=bool(signed))
        for signed in rng.integers(2, size=len(lengths))
    ]
    layers = []
    for index in range(len(lengths) - 1):
        shape = lengths[index + 1], lengths[index]
        bits = code_widths[index % len(code_widths)] if code_widths else 4 if codebook else 8
        weight_width = 8 if codebook else bits
        low = -(1 << (weight_width - 1))
        if codebook:
            values = np.unique(np.append(rng.integers(low, -low, (1 << bits) - 2), [0, 1]))
            weights = rng.choice(values, shape)
        else:
            values = None
            weights = rng.integers(low, -low, shape)
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
                weight_width=weight_width,
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
