"""From an integer network to a program for one engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from secateur.description import ProgramLayer
from secateur.engine import POWERS_OF_TWO, RANGES, EngineSpec, check_range, default_lanes
from secateur.errors import BadInputError
from secateur.image import write_image
from secateur.limits import (
    POSITIONS,
    check_entries,
    check_formats,
    check_kinds,
    check_maps,
    check_needs,
    power_of_two,
)
from secateur.placement import place
from secateur.program import Program
from secateur.words import Words

if TYPE_CHECKING:
    from secateur.network import Network
    from secateur.placement import Placement

__all__ = ["encode", "fit"]

#: Accumulators of a PE, and words of a queue, that need no block RAM; what the smallest block RAM
#: of any device holds instead.
DISTRIBUTED, BLOCK = 64, 256
#: What else an engine has that runs convolutions, until its rows are counted.
MAPS = {"positions": POSITIONS, "jobs": 1, "queue_depth": 23, "row_depth": RANGES["row_depth"][1]}


def fit(
    network: Network,
    *,
    pes: int,
    lanes: int | None = None,
    index_width: int | Mapping[str, int] | None = None,
    padding: float = 0.05,
    **given: int,
) -> EngineSpec:
    """Find the smallest engine that holds a network.

    Where ``entry_width`` is not given, it is the one with which the entries take the fewest bits
    and at most a share of ``padding`` of them is padding, or, if none has that few, the one with
    the least padding.

    Parameters
    ----------
    network : Network
    pes, lanes : int
        As in :class:`EngineSpec`; lanes are :func:`default_lanes` by default.
    index_width : int or mapping of str to int, optional
        Bits of the index of all layers, or at least those of layers by name.
    padding : float
        Share of all entries that may be padding.
    **given : int
        Other fields of :class:`EngineSpec`, for an engine that is to hold larger networks too.

    Returns
    -------
    EngineSpec
        Widths that were not given are the smallest that are enough, depths the smallest powers of
        two. Four jobs are taken where accumulators lie in block RAM, which has room for them, and
        one memory of accumulators. A network with convolutions gets an engine for 8 positions, with
        four memories of accumulators and long queues; others do if ``positions`` is given.

    Raises
    ------
    BadInputError
        If a field is out of range, or no engine with the given fields holds the network.
    """
    wide = {"weight_width": 16, "index_width": 8, "entry_width": 3, "accumulator_width": 48}
    fields = {"bias_width": 2, "pes": pes, "lanes": lanes}
    if lanes is None:
        fields["lanes"] = default_lanes(pes) if type(pes) is int else 1
    convolutions = any(layer.convolution is not None for layer in network.layers)
    positions = given.get("positions", POSITIONS if convolutions else 0)
    if positions:
        fields |= MAPS | {
            "accumulator_memories": 4 if positions > 3 else 2 if positions == 2 else 1
        }
    base = EngineSpec(**(wide | fields | given))
    check_kinds(network, base)
    placement = place(network, pes=pes, lanes=base.lanes, maps=base.positions > 0)
    codebooks = [layer.code_width for layer in placement.layers if layer.codebook is not None]
    formats = {
        "activation_width": network.layers[0].input.width,
        "weight_width": max(layer.weight_width for layer in network.layers),
        "codebook_bits": max(codebooks, default=0),
    }
    spec = _with(base, formats, given)
    check_formats(placement.layers, spec)

    spec = replace(spec, **_entry(placement, index_width, padding, given.get("entry_width")))
    if not spec.positions:
        rows = given.get("row_depth", power_of_two(max(placement.accumulators)))
        spec = _with(spec, {"jobs": 4 if 2 * rows > DISTRIBUTED else 2}, given)
    words = Words(placement=placement, spec=spec)
    fields = dict(words.needs)
    fields["bias_width"] = min(
        fields["bias_width"], given.get("accumulator_width", fields["accumulator_width"])
    )
    for name in fields:
        if name in POWERS_OF_TWO:
            fields[name] = power_of_two(fields[name])
    if fields["activation_depth"] > DISTRIBUTED and not spec.positions:
        fields["activation_depth"] = max(fields["activation_depth"], BLOCK)
    fields["accumulator_width"] = max(fields["accumulator_width"], given.get("bias_width", 0))
    spec = _with(spec, fields, given)
    check_maps(words, spec)
    check_needs(words, spec)
    return spec


def encode(network: Network, spec: EngineSpec) -> Program:
    """Encode a network for an engine.

    Dead neurons are removed (:func:`remove_dead`), rows are assigned to groups of PEs by load
    (:func:`balanced_order`), and each layer's columns stand in the order in which the layer before
    computes them or, in an engine with positions, in that of their lanes (:mod:`secateur.maps`).

    Parameters
    ----------
    network : Network
    spec : EngineSpec

    Returns
    -------
    Program

    Raises
    ------
    BadInputError
        If the engine's number formats are others than the network's, or its memories too small, or
        a layer is a convolution and the engine has no positions.
    """
    check_kinds(network, spec)
    placement = place(network, pes=spec.pes, lanes=spec.lanes, maps=spec.positions > 0)
    check_formats(placement.layers, spec)
    check_entries(placement.layers, [1] * len(placement.layers), spec.entry_width)
    words = Words(placement=placement, spec=spec)
    check_maps(words, spec)
    check_needs(words, spec)
    return Program(
        spec=spec,
        image=write_image(spec, words.contents()),
        network=network.name,
        network_digest=network.digest,
        inputs=network.inputs,
        input_order=placement.input_order,
        layers=tuple(
            ProgramLayer(
                name=layer.name,
                rows=layer.weights.shape[0],
                columns=layer.weights.shape[1],
                nonzeros=int(np.count_nonzero(layer.weights)),
                order=order,
                entries=streams.entries,
                padding=streams.padding,
                code_width=code_width,
                input=layer.input,
                output=layer.requant.output,
                input_fraction=layer.input_fraction,
                weight_fraction=layer.weight_fraction,
                output_fraction=layer.output_fraction,
                convolution=layer.convolution,
            )
            for layer, order, streams, code_width in zip(
                network.layers, placement.row_orders, words.streams, words.code_widths, strict=True
            )
        ),
    )


def _with(spec: EngineSpec, fields: Mapping[str, int], given: Mapping[str, int]) -> EngineSpec:
    """Set fields that are not given, as far as engines go: what none has, the checks refuse."""
    possible = {
        name: min(max(value, RANGES[name][0]), RANGES[name][1]) for name, value in fields.items()
    }
    return replace(spec, **(possible | {name: given[name] for name in fields if name in given}))


def _entry(
    placement: Placement,
    index_width: int | Mapping[str, int] | None,
    padding: float,
    entry_width: int | None,
) -> dict[str, int]:
    """Choose ``entry_width``, where it is not given, and the ``index_width`` that goes with it."""
    layers, slices = placement.layers, placement.slices
    names = [layer.name for layer in layers]
    low, high = RANGES["index_width"]
    table = index_width if isinstance(index_width, Mapping) else {}
    if unknown := [name for name in table if name not in names]:
        raise BadInputError(
            f"index_width names layer {unknown[0]!r} and the network has {', '.join(names)}; "
            f"correct the name"
        )
    if isinstance(index_width, int):
        least, high = [index_width] * len(layers), index_width
    else:
        least = [table.get(name, low) for name in names]
    for value in least:
        check_range("index_width", value)
    codes = [layer.code_width for layer in layers]
    if entry_width is None:
        lowest = max(code + index for code, index in zip(codes, least, strict=True))
        lowest = max(lowest, RANGES["entry_width"][0])
        widths = range(lowest, max(lowest, max(codes) + high) + 1)
        weights = sum(each.weights.size for each in slices)

        def cost(width: int) -> tuple[float, int]:
            pads = sum(
                each.padding(min(high, width - code))
                for each, code in zip(slices, codes, strict=True)
            )
            share = pads / (weights + pads)
            return max(share - padding, 0.0), (weights + pads) * width

        entry_width = min(widths, key=cost)
    check_entries(layers, least, entry_width)
    return {"entry_width": entry_width, "index_width": min(high, entry_width - min(codes))}
