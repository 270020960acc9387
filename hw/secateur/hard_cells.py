"""The hard cells that an engine takes, and its UART: known exactly before any tool runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.format import Section, memories
from secateur.gateware.column import in_flight, slice_layout
from secateur.gateware.lookup import number_shape
from secateur.gateware.maps.pool import kept_layout, pool_depth
from secateur.gateware.rows import drain_room
from secateur.protocol import word_size
from secateur.technology import PORTABLE
from secateur.technology.blocks import BlockRam
from secateur.technology.distributed import BITS, WORDS
from secateur.technology.ice40 import SPRAM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secateur.device import Device
    from secateur.engine import EngineSpec
    from secateur.technology.blocks import Tile

__all__ = [
    "DISTRIBUTED",
    "Memories",
    "engine_cells",
    "engine_memories",
    "hard_cells",
    "holds_program",
    "queue",
    "soft_multipliers",
]

#: Distributed RAM of the ECP5.
DISTRIBUTED = BlockRam(shapes=((WORDS, BITS),))
#: Bytes of the block that COBS holds back.
COBS_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class Memories:
    """Equal memories of an engine.

    Parameters
    ----------
    depth, banks, width : int
        Words per bank, banks, bits of a word.
    count : int
        How many of them.
    made_by : str
        The member of :class:`secateur.technology.Technology` that chooses their cells; empty where
        Yosys does.
    filled : bool
        They have initial contents.
    distributed : bool
        They ask Yosys for distributed RAM, and get it where there is any.
    """

    depth: int
    width: int
    banks: int = 1
    count: int = 1
    made_by: str = "memory"
    filled: bool = False
    distributed: bool = False

    @property
    def words(self) -> int:
        """Words of all banks."""
        return self.depth * self.banks

    @property
    def bits(self) -> int:
        """Bits of all of them."""
        return self.words * self.width * self.count

    def cells(self, device: Device) -> dict[str, int]:
        """Count the hard cells, by their kind, of one of them."""
        if self.made_by:
            make = getattr(device.technology, self.made_by)
            return make.cells(self.width, depth=self.depth, banks=self.banks, filled=self.filled)
        blocks = self._inferred(device)
        return {"bram": blocks} if blocks else {}

    def flip_flops(self, device: Device) -> int:
        """Count the flip-flops, beside its hard cells, of one that a technology makes."""
        if not self.made_by:
            return 0
        make = getattr(device.technology, self.made_by)
        return self.words * make.flip_flop_bits(self.width, words=self.words, filled=self.filled)

    def tile(self, device: Device) -> Tile:
        """Return how one of them is built; flip-flops count as distributed RAM."""
        kinds = {"bram": device.block_ram, "spram": SPRAM}
        kind = next((kinds[name] for name in self.cells(device)), DISTRIBUTED)
        return kind.tile(self.words, self.width)

    def _inferred(self, device: Device) -> int:
        """Count the block RAMs if Yosys chooses, which takes what it reckons to cost the least.

        Its pass ``memory_libmap`` adds 8 where reading needs a port of its own. A bit in a
        flip-flop costs 1, a distributed RAM 4, and an input of the multiplexers behind several rows
        of these a half, as does each row's write enable.
        """
        blocks = device.block_ram.needed(self.words, self.width)
        cost = device.family.block_cost * blocks + 8
        if device.family.flip_flop_memories:
            other = self.words * self.width
        elif self.distributed:
            return 0
        else:
            tile = DISTRIBUTED.tile(self.words, self.width)
            other = 4 * tile.rows * tile.columns + 8
            if tile.rows > 1:
                other += ((tile.rows - 1) * self.width + tile.rows) / 2
        return blocks if cost < other else 0


def queue(spec: EngineSpec) -> Memories:
    """Return where columns wait for the PEs."""
    return Memories(
        depth=spec.queue_depth + in_flight(spec) - 1,
        width=slice_layout(spec).size,
        count=spec.pes,
        made_by="",
    )


def holds_program(spec: EngineSpec, device: Device) -> bool:
    """Tell whether a bitstream fills the engine's memories: not those with weights in SPRAM."""
    weights = device.technology.large_memory.cells(
        spec.entry_width, depth=spec.weight_depth, banks=spec.banks
    )
    return "spram" not in weights


def engine_memories(spec: EngineSpec, device: Device | None = None) -> Iterator[Memories]:
    """Each kind of memory of an engine, on a device or, without one, anywhere."""
    filled = device is None or holds_program(spec, device)
    for section, kind in memories(spec).items():
        yield Memories(
            depth=kind.depth,
            width=kind.record.width,
            banks=spec.banks,
            count=spec.pes if kind.per_pe else 1,
            made_by="large_memory" if section is Section.WEIGHTS else "memory",
            filled=filled,
        )
    yield Memories(depth=2, width=32, banks=spec.banks, filled=filled)  # which program it is
    if spec.positions:
        yield Memories(depth=spec.activation_depth, width=spec.activation_width, count=spec.lanes)
        kept = kept_layout(spec).size
        yield Memories(depth=pool_depth(spec), width=kept, made_by="", distributed=True)
    else:
        yield Memories(depth=2 * spec.activation_depth, width=spec.lanes * spec.activation_width)
    yield Memories(
        depth=spec.row_depth * spec.jobs // spec.accumulator_memories,
        width=spec.accumulator_width,
        count=spec.pes * spec.accumulator_memories,
    )
    yield queue(spec)
    results = spec.drain_lanes * spec.activation_width
    yield Memories(depth=drain_room(spec) - 1, width=results, made_by="")
    if spec.codebook_bits:
        made = (device.technology if device else PORTABLE).codebooks
        yield Memories(
            depth=len(number_shape(spec)),
            width=spec.weight_width,
            count=-(-spec.pes // made.READERS),
            made_by="codebooks",
        )


def soft_multipliers(spec: EngineSpec, device: Device) -> int:
    """Bits of the partial products that an engine adds up without multipliers."""
    operands = spec.weight_width, spec.activation_width + 1
    hard = device.technology.multiplier.cells(*operands)
    return 0 if hard else spec.pes * operands[0] * operands[1]


def engine_cells(spec: EngineSpec, device: Device) -> dict[str, int]:
    """Count ``bram``, ``dsp`` and ``spram`` of an engine by itself."""
    found = {"bram": 0, "dsp": 0, "spram": 0}
    for kind in engine_memories(spec, device):
        _add(found, kind.cells(device), kind.count)
    product = device.technology.multiplier.cells(spec.weight_width, spec.activation_width + 1)
    _add(found, product, spec.pes)
    found["bram"] -= _unread(spec, device)
    return found


def hard_cells(spec: EngineSpec, device: Device, payload: int) -> dict[str, int]:
    """Count ``bram``, ``dsp`` and ``spram`` of an engine behind a UART.

    Parameters
    ----------
    spec : EngineSpec
    device : Device
    payload : int
        Largest payload of a frame, bytes.
    """
    found = engine_cells(spec, device)
    size = word_size(spec)
    for kind in (
        Memories(depth=payload // size, width=8 * size, count=2),  # requests and replies
        Memories(depth=COBS_BYTES, width=8),
    ):
        _add(found, kind.cells(device), kind.count)
    return found


def _add(found: dict[str, int], cells: dict[str, int], count: int) -> None:
    for name, number in cells.items():
        found[name] += number * count


def _unread(spec: EngineSpec, device: Device) -> int:
    """Count the layer table's blocks that hold but reserved bits: synthesis leaves them out."""
    table = memories(spec)[Section.LAYERS]
    kind = Memories(
        depth=table.depth,
        width=table.record.width,
        banks=spec.banks,
        filled=holds_program(spec, device),
    )
    if not kind.cells(device):
        return 0
    names = [field.name for field in table.record.fields]
    widths = [field.width for field in table.record.fields]
    at = names.index("multiplier")
    start = sum(widths[:at])
    block = kind.tile(device).bits
    inside = kind.width - kind.flip_flops(device) // kind.words
    return sum(start <= bit <= start + widths[at] - block for bit in range(0, inside, block))
