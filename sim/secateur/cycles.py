"""The cycle model: how long the engine takes, register by register, for many inputs at once.

It moves counts, never values: what waits in a queue and how many entries a PE still has. Every
constant belongs to a pipeline stage in `secateur.gateware`; simulation shows that the sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.format import Section
from secateur.image import read_image
from secateur.machine import run
from secateur.units import Work
from secateur.words import streams_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.network import Network
    from secateur.program import Program
    from secateur.streams import Streams

__all__ = ["LayerCycles", "followed", "model"]

#: PEs that are modelled at once: more are not faster.
AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCycles:
    """Cycles of one layer for each of some inputs.

    Parameters
    ----------
    cycles : int64[inputs]
        From the start of its walk to the last word drained.
    multiplications : int64[inputs, pes]
        Useful ones: neither weight nor activation is zero.
    """

    cycles: NDArray[np.int64]
    multiplications: NDArray[np.int64]

    @property
    def ideal(self) -> NDArray[np.float64]:
        """Cycles if every PE multiplied in every cycle, float64[inputs]."""
        return self.multiplications.mean(axis=1)


def model(
    program: Program, network: Network, x: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[LayerCycles]]:
    """Model every inference alone, on an engine that waits for nothing outside.

    Parameters
    ----------
    program : Program
        The program.
    network : Network
        The network that it was encoded from.
    x : int64[inputs, network.inputs]
        Inputs.

    Returns
    -------
    int64[inputs]
        Latency: cycles from the first word of x to the last of y, both included.
    list of LayerCycles
        By layer.
    """
    streams = _streams(program)
    active = _active(program, network, x)
    latency, jobs = [], []
    at_once = max(1, AT_ONCE // program.spec.pes)
    for first in range(0, len(x), at_once):
        part = np.concatenate([layer[first : first + at_once] for layer in active], axis=1)
        times = run(_work(program, streams, part[:, None]))
        latency.append(times.ended[:, 0] - times.begun[:, 0] + 1)
        jobs.append(times.jobs[:, :, 0])
    layers = [
        LayerCycles(cycles=cycles, multiplications=_multiplications(each, flags))
        for cycles, each, flags in zip(np.concatenate(jobs, axis=1), streams, active, strict=True)
    ]
    return np.concatenate(latency), layers


def followed(program: Program, network: Network, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Model inputs that follow each other without a pause.

    Parameters
    ----------
    program, network, x
        As in :func:`model`.

    Returns
    -------
    int64[inputs]
        Cycles from the first word of the first x to the last word of every y, both included.
    """
    active = np.concatenate(_active(program, network, x), axis=1)
    times = run(_work(program, _streams(program), active[None]))
    return times.ended[0] - times.begun[0, 0] + 1


def _streams(program: Program) -> list[Streams]:
    """Read every layer's entries."""
    return streams_in(program.spec, read_image(program.spec, program.image))


def _active(program: Program, network: Network, x: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Tell which activations of every layer's input are not zero: bool[inputs, words, lanes]."""
    lanes = program.spec.lanes
    orders = [program.input_order, *(layer.order for layer in program.layers)]
    flags = []
    for activations, order in zip(network.activations(x)[:-1], orders, strict=False):
        flags.append(np.zeros((len(x), -(-len(order) // lanes) * lanes), dtype=bool))
        flags[-1][:, : len(order)] = activations[:, order] != 0
    return [each.reshape(len(x), -1, lanes) for each in flags]


def _work(program: Program, streams: list[Streams], active: NDArray[np.bool_]) -> Work:
    """Put together what engines have to do; the words of ``active`` are those of all layers."""
    spec = program.spec
    table = read_image(spec, program.image)[Section.LAYERS, 0]
    words = table["source_words"]
    counts = np.concatenate([each.counts for each in streams], axis=1).T
    return Work(
        spec=spec,
        source_words=words,
        rows_words=table["rows_words"],
        bases=np.cumsum(words) - words,
        counts=counts.reshape(-1, spec.groups, spec.lanes).astype(np.int32),
        active=active,
    )


def _multiplications(streams: Streams, active: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the entries of active columns that are no padding: int64[inputs, pes]."""
    lanes = active.shape[2]
    products = []
    for pe, (weights, counts) in enumerate(zip(streams.weights, streams.counts, strict=True)):
        before = np.concatenate([[0], np.cumsum(weights != 0)])
        end = np.cumsum(counts)
        products.append(active[:, :, pe % lanes] @ (before[end] - before[end - counts]))
    return np.stack(products, axis=1)
