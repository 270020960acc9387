"""What an engine will take of a device, known before any tool runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secateur.device import DEVICES, find_device
from secateur.errors import BadInputError
from secateur.hard_cells import engine_memories, hard_cells, queue, soft_multipliers
from secateur.protocol import word_size
from secateur.technology.distributed import BITS, WORDS

if TYPE_CHECKING:
    from secateur.device import Device
    from secateur.engine import EngineSpec

__all__ = [
    "LUT_MODELS",
    "PAYLOAD_BYTES",
    "Resources",
    "estimate",
    "features",
    "lacking",
    "payload_bytes",
    "require",
    "require_possible",
]

#: Bytes of a payload if nothing else is asked for.
PAYLOAD_BYTES = 1024

#: LUT4s by feature and family: least squares of relative errors over engines of 1 to 28 PEs
#: (``python benchmarks/fit_estimate.py``), none of which it misses by more than 4 %. Those have at
#: most four jobs.
LUT_MODELS = {
    "ecp5": {
        "one": 1863.02,
        "queue": 6.19,
        "sum": 3.94,
        "second": 4.2,
        "product": 0.0,
        "drain": 1.11,
        "ram": 5.35,
        "mux": 0.88,
    },
    "ice40": {
        "one": 2475.13,
        "queue": 12.42,
        "sum": 9.1,
        "second": 5.81,
        "product": 3.15,
        "drain": 3.53,
        "ram": 129.36,
        "mux": 0.0,
    },
}

#: LUT4s of the check of weights, and for each bit of all PEs' entries, which it joins: of five
#: boards of 4 to 28 PEs of both families (``python benchmarks/check_cost.py``) it misses none by
#: more than 14.
CHECK_LUTS, CHECK_LUTS_PER_BIT = 170, 2 / 3

#: Percent of a device's LUTs that a network may be made to fill: the rest is for what the estimate
#: may be off, for the check of weights, and for place and route, which a fuller device makes slow.
FILLED = 90


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Pieces of a device.

    Parameters
    ----------
    lut : int
        4-input look-up tables, or the logic cells that each have one; estimated.
    bram, dsp, spram : int
        Block RAMs, multipliers and large single-port RAMs; exact.
    """

    lut: int
    bram: int
    dsp: int
    spram: int = 0


#: How many times the bits of the largest device's block RAMs are still generated: enough for 256
#: PEs of usual depths, which take a minute.
GENERATED = 8


def require_possible(spec: EngineSpec) -> None:
    """Refuse engines whose memories no device comes near to, before anything is made for them.

    Raises
    ------
    BadInputError
        If they have more bits than :data:`GENERATED` of the largest devices, or positions.
    """
    bits = sum(kind.bits for kind in engine_memories(spec))
    largest = GENERATED * max(device.memory_bits for device in DEVICES.values())
    if bits > largest:
        raise BadInputError(
            f"the engine's memories would have {bits} bits and {largest} is the most, {GENERATED} "
            f"times what the largest known device has; reduce pes or the depths"
        )


def features(spec: EngineSpec, device: Device) -> dict[str, int]:
    """Measure what the LUTs of an engine on a device grow with.

    ``one`` is the UART, the loader and control. For all PEs, ``queue`` is the bits of their queued
    columns, which are also those of their pipelines; ``sum`` those of their sums; ``second`` again
    those of PEs with two memories of accumulators; ``product`` those of the partial products that
    no multiplier adds. ``drain`` is the bits with which it adds the lanes' sums, ``ram`` the
    distributed RAMs, or as many flip-flops instead of each as it has bits, ``mux`` the bits behind
    the first row in memories of several rows.
    """
    sums = spec.pes * spec.accumulator_width
    waiting = queue(spec)
    found = {
        "one": 1,
        "queue": waiting.count * waiting.width,
        "sum": sums,
        "second": sums * (spec.accumulator_memories - 1),
        "product": soft_multipliers(spec, device),
        "drain": spec.drain_lanes * (spec.lanes - 1) * spec.accumulator_width,
        "ram": 0,
        "mux": 0,
    }
    for kind in engine_memories(spec, device):
        tile = kind.tile(device)
        if flip_flops := kind.flip_flops(device) * kind.count:
            found["ram"] += flip_flops // (WORDS * BITS)
        elif not kind.cells(device):
            # There are only as many flip-flops as bits.
            full = kind.bits // (tile.words * tile.bits)
            found["ram"] += (
                full if device.family.flip_flop_memories else tile.rows * tile.columns * kind.count
            )
        found["mux"] += (tile.rows - 1) * kind.width * kind.count
    return found


def estimate(
    spec: EngineSpec, device: Device, *, payload: int = PAYLOAD_BYTES, checked: bool = False
) -> Resources:
    """Estimate what ``spec`` takes of ``device`` behind a UART with payloads of ``payload`` bytes.

    With ``checked`` its weights can be checked.

    Examples
    --------
    >>> from secateur.device import find_device
    >>> from secateur.engine import EngineSpec
    >>> found = estimate(EngineSpec(pes=4, lanes=4), find_device("ecp5-25k"))
    >>> found.bram, found.dsp
    (14, 4)
    """
    model = LUT_MODELS[device.family.name]
    lut = sum(model[name] * value for name, value in features(spec, device).items())
    if checked:
        lut += CHECK_LUTS + CHECK_LUTS_PER_BIT * spec.pes * spec.entry_width
    return Resources(lut=round(lut), **hard_cells(spec, device, payload))


def require(
    spec: EngineSpec, device: Device, *, payload: int = PAYLOAD_BYTES, checked: bool = False
) -> Resources:
    """Estimate, and refuse what does not fit.

    Raises
    ------
    BadInputError
        If the device is too small: the sentence names everything that does not fit, and the
        smallest device that would hold it.
    """

    def lacks(one: Device) -> list[str]:
        return _lacking(estimate(spec, one, payload=payload, checked=checked), one)

    needed = estimate(spec, device, payload=payload, checked=checked)
    lacking = lacks(device)
    if not lacking:
        return needed
    larger = next((one.name for one in DEVICES.values() if not lacks(one)), None)
    way_out = (
        f"device {larger!r} would hold it"
        if larger
        else "no known device holds it; reduce pes or the depths"
    )
    raise BadInputError(
        f"the engine does not fit device {device.name!r}: it needs {' and '.join(lacking)}; "
        f"{way_out}"
    )


def payload_bytes(spec: EngineSpec, words: int) -> int:
    """Bytes of the payloads that carry an x and a y of at most ``words`` words.

    Examples
    --------
    >>> from secateur.engine import EngineSpec
    >>> [payload_bytes(EngineSpec(pes=4, lanes=4), words) for words in (16, 256, 257)]
    [1024, 1024, 2048]
    """
    return max(PAYLOAD_BYTES, 1 << (words * word_size(spec) - 1).bit_length())


def lacking(spec: EngineSpec, device: str, *, words: int) -> list[str]:
    """Say what a network that is made to fit a device still lacks there.

    Parameters
    ----------
    spec : EngineSpec
        What the network needs.
    device : str
    words : int
        Words of the longer of x and y.

    Returns
    -------
    list of str
        A phrase for each resource that is short. Of the LUTs a tenth is left free.

    Raises
    ------
    BadInputError
        If the device is unknown.

    Examples
    --------
    >>> from secateur.engine import EngineSpec
    >>> lacking(EngineSpec(pes=4, lanes=4), "ecp5-25k", words=16)
    []
    >>> lacking(EngineSpec(pes=32, lanes=4), "ecp5-25k", words=16)
    ['76 block RAMs of 56', '32 multipliers of 28']
    """
    target = find_device(device)
    needed = estimate(spec, target, payload=payload_bytes(spec, words))
    return _lacking(needed, replace(target, lut=target.lut * FILLED // 100))


def _lacking(needed: Resources, device: Device) -> list[str]:
    names = {"lut": "LUT4s", "bram": "block RAMs", "dsp": "multipliers", "spram": "SPRAMs"}
    return [
        f"{getattr(needed, kind)} {name} of {getattr(device, kind)}"
        for kind, name in names.items()
        if getattr(needed, kind) > getattr(device, kind)
    ]
