"""What keeps an engine from holding a network, in one sentence with a way out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from secateur.engine import POWERS_OF_TWO, RANGES
from secateur.errors import BadInputError
from secateur.format import AVERAGE_BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secateur.engine import EngineSpec
    from secateur.network import Layer, Network
    from secateur.words import Words

__all__ = [
    "POSITIONS",
    "check_entries",
    "check_formats",
    "check_kinds",
    "check_maps",
    "check_needs",
    "power_of_two",
]

#: Positions of an engine that is made for convolutions, where nothing else is said.
POSITIONS = 8
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


def power_of_two(need: int) -> int:
    """Give the smallest power of two that is enough."""
    return 1 << (need - 1).bit_length() if need else 1


def check_kinds(network: Network, spec: EngineSpec) -> None:
    """Refuse kinds of layers that the engine does not have."""
    for layer in network.layers:
        convolution = layer.convolution
        if convolution is None:
            continue
        if not spec.positions:
            raise BadInputError(
                f"layer {layer.name!r} is a convolution, which an engine without positions does "
                f"not run; set positions to {POSITIONS} and jobs to 1"
            )
        pool = convolution.pool
        if pool and pool.kind == "average" and math.prod(pool.size) > 1 << AVERAGE_BITS:
            raise BadInputError(
                f"layer {layer.name!r} averages windows of {pool.size[0]} x {pool.size[1]}, and "
                f"an engine's have at most {1 << AVERAGE_BITS} activations; use smaller windows"
            )


def check_formats(layers: Sequence[Layer], spec: EngineSpec) -> None:
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


def check_entries(layers: Sequence[Layer], least: Sequence[int], entry_width: int) -> None:
    """Refuse entries that lack bits for codes or for indices of at least so many bits."""
    for layer, index in zip(layers, least, strict=True):
        need = layer.code_width + index
        if need > entry_width:
            raise BadInputError(
                f"layer {layer.name!r} needs entries of {need} bits, {layer.code_width} for codes "
                f"and {index} for the index, and the engine's have {entry_width}; quantise it to "
                f"fewer bits or set entry_width to {need}"
            )


def check_needs(words: Words, spec: EngineSpec) -> None:
    """Refuse what the engine cannot hold."""
    for name, need in words.needs.items():
        have = getattr(spec, name)
        if need > have:
            what, way_out = NEEDS[name]
            raise BadInputError(
                f"{what.format(need=need, have=have)}; {way_out}{_or_set(name, need)}"
            )


def check_maps(words: Words, spec: EngineSpec) -> None:
    """Refuse a layer whose map, or whose sums of a position, the engine cannot hold."""
    place = words.placement
    # Engines without positions have no walks.
    for layer, walk, need in zip(place.layers, place.walks, place.accumulators, strict=False):
        if walk.end > spec.activation_depth:
            raise BadInputError(
                f"the maps up to the input of layer {layer.name!r} need {walk.end} words and the "
                f"engine's activation memory has {spec.activation_depth}; use smaller images or "
                f"more lanes{_or_set('activation_depth', walk.end)}"
            )
        if walk.positions > 1 and need > spec.set_depth:
            raise BadInputError(
                f"layer {layer.name!r} needs {need} accumulators of each PE for a position and "
                f"the engine has {spec.set_depth}; use more PEs or fewer positions"
                f"{_or_set('row_depth', need * spec.positions)}"
            )


def _or_set(name: str, need: int) -> str:
    """Say what to set a depth to, where an engine may have as much."""
    value = power_of_two(need) if name in POWERS_OF_TWO else need
    return f" or set {name} to {value}" if value <= RANGES[name][1] else ""
