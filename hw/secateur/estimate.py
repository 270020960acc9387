"""What an engine will take of a device, known before any tool runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secateur.device import DEVICES, find_device
from secateur.errors import BadInputError
from secateur.format import memories
from secateur.gateware.column import IN_FLIGHT
from secateur.protocol import word_size
from secateur.technology.portable import DISTRIBUTED_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secateur.device import Device
    from secateur.engine import EngineSpec

__all__ = [
    "LUT_MODEL",
    "Resources",
    "estimate",
    "features",
    "lacking",
    "payload_bytes",
    "require",
    "require_possible",
]

#: Bytes of a payload if nothing else is asked for, and of the block that COBS holds back.
PAYLOAD_BYTES, COBS_BYTES = 1024, 256

#: LUT4s by feature: least squares of relative errors over 16 engines of 1 to 16 PEs on the ECP5,
#: none of which it misses by more than 4.3 % (``python benchmarks/fit_estimate.py``).
LUT_MODEL = {
    "one": 1894.67,
    "lane": 14.12,
    "pe": 36.59,
    "sum": 2.18,
    "product": 6.7,
    "ram": 10.83,
    "block": 3.85,
}


#: Percent of a device's LUTs that a network may be made to fill: the rest is for what the estimate
#: may be off, and for place and route, which a fuller device makes slow.
FILLED = 90


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Pieces of a device.

    Parameters
    ----------
    lut : int
        4-input look-up tables; estimated.
    bram, dsp : int
        Block RAMs and multipliers; exact.
    """

    lut: int
    bram: int
    dsp: int


#: How many times the bits of the largest device's block RAMs are still generated: enough for 256
#: PEs of usual depths, which take a minute.
GENERATED = 8


def _memories(spec: EngineSpec) -> Iterator[tuple[int, int, int]]:
    """Depth in words, width in bits and number of each kind of memory of an engine."""
    for kind in memories(spec).values():
        yield kind.depth * spec.banks, kind.record.width, spec.pes if kind.per_pe else 1
    yield 2 * spec.activation_depth, spec.lanes * spec.activation_width, 1
    sums = spec.row_depth * spec.jobs // spec.accumulator_memories
    yield sums, spec.accumulator_width, spec.pes * spec.accumulator_memories


def require_possible(spec: EngineSpec) -> None:
    """Refuse engines whose memories no device comes near to, before anything is made for them.

    Raises
    ------
    BadInputError
        If they have more bits than :data:`GENERATED` of the largest devices.
    """
    bits = sum(depth * width * count for depth, width, count in _memories(spec))
    largest = GENERATED * max(device.memory_bits for device in DEVICES.values())
    if bits > largest:
        raise BadInputError(
            f"the engine's memories would have {bits} bits and {largest} is the most, {GENERATED} "
            f"times what the largest known device has; reduce pes or the depths"
        )


def _blocks(spec: EngineSpec, device: Device, payload: int) -> int:
    """Block RAMs of the engine, of the UART's two payload buffers and of COBS."""
    size = word_size(spec)
    engine = sum(
        device.block_ram.needed(depth, width) * count
        for depth, width, count in _memories(spec)
        if depth > DISTRIBUTED_WORDS
    )
    # Written in single bytes, each of which takes nine bits of a block.
    buffer = device.block_ram.needed(payload // size, 9 * size)
    return engine + 2 * buffer + device.block_ram.needed(COBS_BYTES, 8)


def features(spec: EngineSpec) -> dict[str, int]:
    """Measure what the LUTs of an engine grow with.

    ``one`` is the UART and control, ``lane`` the drain's bits, ``pe`` the PEs, ``sum`` and
    ``second`` the bits of their adders, and again of those with two memories, ``ram`` distributed
    RAMs of 16 x 4 bits, ``pointer`` the bits of the addresses in flight.
    """
    address = (spec.weight_depth - 1).bit_length()
    queued = address + spec.count_width + spec.activation_width + 2 + spec.jobs.bit_length() - 1
    queue = -(-(spec.queue_depth + IN_FLIGHT - 1) // 16) * -(-queued // 4)
    codes = spec.jobs << spec.codebook_bits if spec.codebook_bits else 0
    codebook = -(-codes // 16) * -(-spec.weight_width // 4)
    small = sum(
        -(-depth // 16) * -(-width // 4) * count
        for depth, width, count in _memories(spec)
        if depth <= DISTRIBUTED_WORDS
    )
    sums = spec.pes * spec.accumulator_width
    return {
        "one": 1,
        "lane": spec.drain_lanes * spec.accumulator_width,
        "pe": spec.pes,
        "sum": sums,
        "second": sums * (spec.accumulator_memories - 1),
        "ram": spec.pes * (queue + codebook) + small,
        "pointer": spec.pes * spec.jobs * address,
    }


def estimate(spec: EngineSpec, device: Device, *, payload: int = PAYLOAD_BYTES) -> Resources:
    """Estimate what ``spec`` takes of ``device`` behind a UART with payloads of ``payload`` bytes.

    Examples
    --------
    >>> from secateur.device import find_device
    >>> from secateur.engine import EngineSpec
    >>> found = estimate(EngineSpec(pes=4, lanes=4), find_device("ecp5-25k"))
    >>> found.bram, found.dsp
    (23, 4)
    """
    lut = sum(LUT_MODEL[name] * value for name, value in features(spec).items())
    return Resources(lut=round(lut), bram=_blocks(spec, device, payload), dsp=spec.pes)


def require(spec: EngineSpec, device: Device, *, payload: int = PAYLOAD_BYTES) -> Resources:
    """Estimate, and refuse what does not fit.

    Raises
    ------
    BadInputError
        If the device is too small: the sentence names everything that does not fit, and the
        smallest device that would hold it.
    """
    needed = estimate(spec, device, payload=payload)
    lacking = _lacking(needed, device)
    if not lacking:
        return needed
    larger = next(
        (d.name for d in DEVICES.values() if not _lacking(estimate(spec, d, payload=payload), d)),
        None,
    )
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
    ['135 block RAMs of 56', '32 multipliers of 28']
    """
    target = find_device(device)
    needed = estimate(spec, target, payload=payload_bytes(spec, words))
    return _lacking(needed, replace(target, lut=target.lut * FILLED // 100))


def _lacking(needed: Resources, device: Device) -> list[str]:
    names = {"lut": "LUT4s", "bram": "block RAMs", "dsp": "multipliers"}
    return [
        f"{getattr(needed, kind)} {name} of {getattr(device, kind)}"
        for kind, name in names.items()
        if getattr(needed, kind) > getattr(device, kind)
    ]
