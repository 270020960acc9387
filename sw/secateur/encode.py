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
from secateur.placement import place
from secateur.program import Program
from secateur.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from secateur.lowering import FloatLayer
    from secateur.network import Layer, Network
    from secateur.placement import Placement

__all__ = ["check_kinds", "encode", "fit"]

#: What each field must be enough for, and what else than a larger one makes a program need less.
NEEDS = {
    "accumulator_width": (
        "the sums need {need} bits and the engine's accumulators have {have}",
        "quantise to fewer bits",
    ),
    "bias_width": (
        "the biases need {need} bits and the engine's have {have}",
        "quantise to fewer bits",
    ),
    "count_width": (
        "the counts of entries need {need} bits and the engine's have {have}",
        "use more PEs",
    ),
    "weight_depth": (
        "the weights need {need} words of a PE and the engine has {have}",
        "prune more or use more PEs",
    ),
    "column_depth": (
        "the columns need {need} words and the engine has {have}",
        "prune whole neurons",
    ),
    "row_depth": (
        "the rows need {need} accumulators of each PE and the engine has {have}",
        "use more PEs",
    ),
    "activation_depth": (
        "the activations need {need} words and the engine has {have}",
        "use more lanes",
    ),
    "bias_depth": ("the biases need {need} words and the engine has {have}", "use more lanes"),
    "layer_depth": (
        "the layer table needs {need} words and the engine has {have}",
        "use fewer layers",
    ),
}
#: Accumulators of a PE, and words of a queue, that need no block RAM; what the smallest block RAM
#: of any device holds instead.
DISTRIBUTED, BLOCK = 64, 256


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
        one memory of accumulators.

    Raises
    ------
    BadInputError
        If a field is out of range, or no engine with the given fields holds the network, as none
        does that has a convolution.
    """
    wide = {"weight_width": 16, "index_width": 8, "entry_width": 3, "accumulator_width": 48}
    fields = {"bias_width": 2, "pes": pes, "lanes": lanes}
    if lanes is None:
        fields["lanes"] = default_lanes(pes) if type(pes) is int else 1
    base = EngineSpec(**(wide | fields | given))
    check_kinds(network.layers)
    placement = place(network, pes=pes, lanes=base.lanes)
    codebooks = [layer.code_width for layer in placement.layers if layer.codebook is not None]
    formats = {
        "activation_width": network.layers[0].input.width,
        "weight_width": max(layer.weight_width for layer in network.layers),
        "codebook_bits": max(codebooks, default=0),
    }
    spec = _with(base, formats, given)
    _check_formats(placement.layers, spec)

    spec = replace(spec, **_entry(placement, index_width, padding, given.get("entry_width")))
    rows = given.get("row_depth", _power(placement.row_depth))
    spec = _with(spec, {"jobs": 4 if 2 * rows > DISTRIBUTED else 2}, given)
    words = Words(placement=placement, spec=spec)
    fields = dict(words.needs)
    fields["bias_width"] = min(
        fields["bias_width"], given.get("accumulator_width", fields["accumulator_width"])
    )
    for name in fields:
        if name in POWERS_OF_TWO:
            fields[name] = _power(fields[name])
    if fields["activation_depth"] > DISTRIBUTED:
        fields["activation_depth"] = max(fields["activation_depth"], BLOCK)
    fields["accumulator_width"] = max(fields["accumulator_width"], given.get("bias_width", 0))
    spec = _with(spec, fields, given)
    _check_needs(words, spec)
    return spec


def encode(network: Network, spec: EngineSpec) -> Program:
    """Encode a network for an engine.

    Dead neurons are removed (:func:`remove_dead`), rows are assigned to groups of PEs by load
    (:func:`balanced_order`), and each layer's columns stand in the order in which the layer before
    computes them.

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
        a layer is a convolution.
    """
    check_kinds(network.layers)
    placement = place(network, pes=spec.pes, lanes=spec.lanes)
    _check_formats(placement.layers, spec)
    _check_entries(placement.layers, [1] * len(placement.layers), spec.entry_width)
    words = Words(placement=placement, spec=spec)
    _check_needs(words, spec)
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
            )
            for layer, order, streams, code_width in zip(
                network.layers, placement.row_orders, words.streams, words.code_widths, strict=True
            )
        ),
    )


def check_kinds(layers: Iterable[Layer | FloatLayer]) -> None:
    """Refuse the kinds of layers that engines do not have.

    Raises
    ------
    BadInputError
        If there is a convolution.
    """
    for layer in layers:
        if layer.convolution is not None:
            raise BadInputError(
                f"layer {layer.name!r} is a convolution, which can be pruned, quantised and "
                f"computed, but not yet encoded for the engine; encode a network of fully "
                f"connected layers"
            )


def _power(need: int) -> int:
    """Give the smallest power of two that is enough."""
    return 1 << (need - 1).bit_length() if need else 1


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
    _check_entries(layers, least, entry_width)
    return {"entry_width": entry_width, "index_width": min(high, entry_width - min(codes))}


def _check_formats(layers: Sequence[Layer], spec: EngineSpec) -> None:
    """Refuse numbers that are not the engine's."""
    for layer in layers:
        for side, width in (("input", layer.input.width), ("output", layer.requant.output.width)):
            if width != spec.activation_width:
                raise BadInputError(
                    f"layer {layer.name!r} has an {side} of {width} bits and the engine's "
                    f"activations have {spec.activation_width}; quantise all activations to "
                    f"{spec.activation_width} bits or set activation_width to {width}"
                )
        if (layer.codebook is None) != (spec.codebook_bits == 0):
            kinds = ("direct weights", "a codebook")
            mine, other = kinds if layer.codebook is None else kinds[::-1]
            raise BadInputError(
                f"layer {layer.name!r} has {mine} and the engine is made for {other}; quantise "
                f"every layer with {other} or generate another engine"
            )
        if layer.codebook is not None and len(layer.codebook) > 1 << spec.codebook_bits:
            raise BadInputError(
                f"layer {layer.name!r} has a codebook of {len(layer.codebook)} values and the "
                f"engine's hold {1 << spec.codebook_bits}; use fewer values or more codebook_bits"
            )
        if layer.weight_width > spec.weight_width:
            raise BadInputError(
                f"layer {layer.name!r} has weights of {layer.weight_width} bits and the engine's "
                f"have {spec.weight_width}; quantise it to {spec.weight_width} bits or set "
                f"weight_width to {layer.weight_width}"
            )


def _check_entries(layers: Sequence[Layer], least: Sequence[int], entry_width: int) -> None:
    """Refuse entries that lack bits for codes or for indices of at least so many bits."""
    for layer, index in zip(layers, least, strict=True):
        need = layer.code_width + index
        if need > entry_width:
            raise BadInputError(
                f"layer {layer.name!r} needs entries of {need} bits, {layer.code_width} for codes "
                f"and {index} for the index, and the engine's have {entry_width}; quantise it to "
                f"fewer bits or set entry_width to {need}"
            )


def _check_needs(words: Words, spec: EngineSpec) -> None:
    """Refuse what the engine cannot hold."""
    for name, need in words.needs.items():
        have = getattr(spec, name)
        if need > have:
            what, way_out = NEEDS[name]
            value = _power(need) if name in POWERS_OF_TWO else need
            larger = f" or set {name} to {value}" if value <= RANGES[name][1] else ""
            raise BadInputError(f"{what.format(need=need, have=have)}; {way_out}{larger}")
