"""The cycle model: how long the engine takes, register by register, for many inputs at once.

It moves counts, never values: what waits in a queue and how many entries a PE still has. Every
constant belongs to a pipeline stage in `secateur.gateware`; simulation shows that the sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.format import Section
from secateur.image import read_image
from secateur.machine import SETUP, run
from secateur.map_machine import run_layer
from secateur.reference_maps import patches_of, targets_of
from secateur.units import Work
from secateur.words import streams_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from secateur.engine import EngineSpec
    from secateur.image import Contents
    from secateur.network import Network
    from secateur.program import Program
    from secateur.streams import Streams

__all__ = ["LayerCycles", "followed", "model"]

#: PEs that are modelled at once: more are not faster.
AT_ONCE = 1 << 14
#: Cycles between the last word of y and the first of the next x, in an engine with positions: until
#: its control, then its store knows.
NEXT_X = 2


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
    if program.spec.positions:
        return _model_maps(program, network, x)
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
    if program.spec.positions:  # the engine takes an x when it has given the y before
        return model(program, network, x)[0].cumsum() + NEXT_X * np.arange(len(x))
    active = np.concatenate(_active(program, network, x), axis=1)
    times = run(_work(program, _streams(program), active[None]))
    return times.ended[0] - times.begun[0, 0] + 1


def _model_maps(
    program: Program, network: Network, x: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[LayerCycles]]:
    """Model an engine with positions, layer by layer."""
    spec = program.spec
    contents = read_image(spec, program.image)
    table = contents[Section.LAYERS, 0]
    latency = np.full(len(x), program.input_words + SETUP + 1)
    layers = []
    at_once = max(1, AT_ONCE // spec.pes)
    streams, seen = streams_in(spec, contents), _seen(program, contents, network, x)
    for index, (each, active) in enumerate(zip(streams, seen, strict=True)):
        only = slice(index, index + 1)
        cycles = []
        for first in range(0, len(x), at_once):
            work = Work(
                spec=spec,
                source_words=table["source_words"][only],
                rows_words=table["rows_words"][only],
                bases=np.zeros(1, dtype=np.int64),
                counts=_by_group([each], spec),
                active=active[first : first + at_once],
            )
            cycles.append(run_layer(work))
        products = _multiplications(each, active.sum(axis=1))
        layers.append(LayerCycles(cycles=np.concatenate(cycles), multiplications=products))
        latency += layers[-1].cycles + (index > 0) * (SETUP + 1)
    return latency, layers


def _seen(
    program: Program, contents: Contents, network: Network, x: NDArray[np.int64]
) -> Iterator[NDArray[np.bool_]]:
    """Tell which activations each layer's patches have: bool[inputs, positions, words, lanes]."""
    spec = program.spec
    table, offsets = contents[Section.LAYERS, 0], contents[Section.OFFSETS, 0]
    words = np.stack([offsets[f"word{lane}"] for lane in range(spec.lanes)], axis=1)
    memory = np.zeros((len(x), spec.activation_depth * spec.lanes), dtype=bool)
    order = np.array(program.input_order)
    memory[:, np.flatnonzero(order >= 0)] = x[:, order[order >= 0]] != 0
    outputs = network.activations(x)[1:]
    for index, (layer, activations) in enumerate(zip(program.layers, outputs, strict=True)):
        fields = {name: int(values[index]) for name, values in table.items()}
        begin = fields["column_base"]
        mine = words[begin : begin + fields["source_words"]] * spec.lanes + np.arange(spec.lanes)
        address = patches_of(spec, fields)[:, None, None] + mine
        yield memory[:, address % (1 << spec.address_width)]
        if not fields["last"]:
            word = np.sort(targets_of(spec, fields)[:: fields["rows_words"]])  # as in `planes`
            planes = activations.reshape(len(x), layer.rows, -1)[:, list(layer.order)]
            place = np.arange(len(layer.order))[:, None] + word * spec.lanes
            memory[:, place] = planes != 0


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
    return Work(
        spec=spec,
        source_words=words,
        rows_words=table["rows_words"],
        bases=np.cumsum(words) - words,
        counts=_by_group(streams, spec),
        active=active,
    )


def _by_group(streams: list[Streams], spec: EngineSpec) -> NDArray[np.int32]:
    """Give the entries of every PE in the columns of each word: int32[words, groups, lanes]."""
    counts = np.concatenate([each.counts for each in streams], axis=1).T
    return counts.reshape(-1, spec.groups, spec.lanes).astype(np.int32)


def _multiplications(streams: Streams, active: NDArray[Any]) -> NDArray[np.int64]:
    """Count the entries of active columns that are no padding: int64[inputs, pes].

    ``active`` says how often each column is, bool or int64[inputs, words, lanes].
    """
    lanes = active.shape[2]
    products = []
    for pe, (weights, counts) in enumerate(zip(streams.weights, streams.counts, strict=True)):
        before = np.concatenate([[0], np.cumsum(weights != 0)])
        end = np.cumsum(counts)
        products.append(active[:, :, pe % lanes] @ (before[end] - before[end - counts]))
    return np.stack(products, axis=1)
