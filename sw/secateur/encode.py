"""From an integer network to a program for one engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from secateur.description import ProgramLayer
from secateur.engine import RANGES, EngineSpec, default_lanes
from secateur.errors import BadInputError
from secateur.image import write_image
from secateur.placement import place
from secateur.program import Program

if TYPE_CHECKING:
    from secateur.network import Network
    from secateur.placement import Placement

__all__ = ["encode", "fit"]

#: What each depth counts, and what else than a larger depth makes a program need less of it.
MEMORIES = {
    "weight_depth": ("the weights need {need} words of a PE", "prune more or use more PEs"),
    "column_depth": ("the columns need {need} words of each PE", "prune whole neurons"),
    "row_depth": ("the rows need {need} accumulators of each PE", "use more PEs"),
    "activation_depth": ("the activations need {need} words", "use more lanes"),
    "bias_depth": ("the biases need {need} words", "use more lanes"),
    "layer_depth": ("the layer table needs {need} words", "use fewer layers"),
}


def fit(
    network: Network,
    *,
    pes: int,
    lanes: int | None = None,
    index_width: int = 4,
    queue_depth: int = 8,
    banks: int = 2,
    **given: int,
) -> EngineSpec:
    """Find the smallest engine that holds a network.

    Parameters
    ----------
    network : Network
    pes, lanes, index_width, queue_depth, banks : int
        As in :class:`EngineSpec`; lanes are :func:`default_lanes` by default.
    **given : int
        Other fields of :class:`EngineSpec`, for an engine that is to hold larger networks too.

    Returns
    -------
    EngineSpec
        Depths that were not given are the smallest powers of two that are enough.

    Raises
    ------
    BadInputError
        If a field is out of range, or no engine with the given fields holds the network.
    """
    base = EngineSpec(
        pes=pes,
        lanes=default_lanes(pes) if lanes is None else lanes,
        index_width=index_width,
        queue_depth=queue_depth,
        banks=banks,
        **given,
    )
    placement = place(network, base)
    codebooks = [layer.codebook for layer in network.layers if layer.codebook is not None]
    needs = {
        "weight_width": max(layer.weight_width for layer in network.layers),
        "codebook_bits": max(((len(values) - 1).bit_length() for values in codebooks), default=0),
        "accumulator_width": placement.network.accumulator_width,
        **{name: 1 << (need - 1).bit_length() for name, need in placement.depths.items()},
    }
    # What no engine has is refused by `_check`, which can say what to do about it.
    fields = {
        name: min(max(need, RANGES[name][0]), RANGES[name][1]) for name, need in needs.items()
    }
    fields["activation_width"] = network.layers[0].input.width
    spec = replace(base, **(fields | given))
    _check(placement, spec)
    return spec


def encode(network: Network, spec: EngineSpec) -> Program:
    """Encode a network for an engine.

    Dead neurons are removed (:func:`remove_dead`), rows are assigned to PEs by load
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
        If the engine's number formats are others than the network's, or its memories too small.
    """
    placement = place(network, spec)
    _check(placement, spec)
    return Program(
        spec=spec,
        image=write_image(spec, placement.contents(spec)),
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
                input=layer.input,
                output=layer.requant.output,
                input_fraction=layer.input_fraction,
                weight_fraction=layer.weight_fraction,
                output_fraction=layer.output_fraction,
            )
            for layer, order, streams in zip(
                network.layers, placement.row_orders, placement.streams, strict=True
            )
        ),
    )


def _check(placement: Placement, spec: EngineSpec) -> None:
    """Refuse what the engine cannot hold."""
    for layer in placement.layers:
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
    width = placement.network.accumulator_width
    if width > spec.accumulator_width:
        raise BadInputError(
            f"the sums of network {placement.network.name!r} need {width} bits and the engine's "
            f"accumulators have {spec.accumulator_width}; quantise to fewer bits"
            + _or_larger("accumulator_width", width)
        )
    for name, need in placement.depths.items():
        have = getattr(spec, name)
        if need > have:
            what, way_out = MEMORIES[name]
            raise BadInputError(
                f"{what.format(need=need)} and the engine has {have}; {way_out}"
                + _or_larger(name, 1 << (need - 1).bit_length())
            )


def _or_larger(name: str, value: int) -> str:
    """Offer a larger field where the engine can have one."""
    return f" or set {name} to {value}" if value <= RANGES[name][1] else ""
