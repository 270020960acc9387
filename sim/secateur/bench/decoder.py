"""What a processing element's circuit makes of the stream of a program, in Amaranth's simulator."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.sim import Simulator

from secateur.bench.lone_pe import with_codebooks
from secateur.errors import CheckFailedError
from secateur.format import Section
from secateur.gateware.pe import ProcessingElement
from secateur.gateware.walk import Walker
from secateur.image import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amaranth.hdl import Module

    from secateur.program import Program
    from secateur.technology import Codebooks

__all__ = ["Entry", "column_value", "decoded_by_circuit"]

#: Cycles from `room` to the column that it allows: the engine's register, and the walker.
ROOM_TO_VISIT = 1 + Walker.LATENCY
#: Cycles in which nothing more may come, and after which nothing will.
QUIET, PATIENCE = 40, 4000


class Entry(NamedTuple):
    """An entry, as the accumulator gets it."""

    slot: int
    weight: int
    value: int


class _Watched(ProcessingElement):
    """A PE that shows what its accumulator is given."""

    accumulator: Any

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        self.accumulator = m.submodules.accumulator
        return m


def column_value(word: int, activation_width: int) -> int:
    """Give the activation that column ``word`` is passed with: never zero, and telling it apart.

    Examples
    --------
    >>> [column_value(word, 4) for word in (0, 1, 14, 15)]
    [1, 2, 15, 1]
    """
    return 1 + word % ((1 << activation_width) - 1)


def decoded_by_circuit(program: Program, pe: int, *, words: int) -> list[list[Entry]]:
    """Pass the columns of every layer to a PE, and see what it multiplies.

    Parameters
    ----------
    program : Program
    pe : int
    words : int
        Words of columns of each layer, at most, from its first on.

    Returns
    -------
    list of list of Entry
        Of each layer: its entries in the order of the circuit, padding included, each with the
        :func:`column_value` of its column.

    Raises
    ------
    CheckFailedError
        If the circuit does not come to a layer's end.
    """
    spec = program.spec
    contents = read_image(spec, program.image)
    entries = contents[Section.WEIGHTS, pe]["entry"].tolist()
    dut = _Watched(spec, init=entries)
    table = {name: field.tolist() for name, field in contents[Section.LAYERS, 0].items()}
    counts = contents[Section.COLUMNS, 0][f"count{pe}"].tolist()
    layers: list[list[Entry]] = []

    async def fill(ctx: Any, codebooks: Codebooks) -> None:
        ctx.set(codebooks.write_enable, 1)
        for code, value in enumerate(contents[Section.CODEBOOKS, 0]["value"].tolist()):
            ctx.set(codebooks.write_address, code)
            ctx.set(codebooks.write_value, value)
            await ctx.tick()
        ctx.set(codebooks.write_enable, 0)

    def visits(index: int, tag: int) -> Iterator[tuple[dict[str, int], int]]:
        base = table["column_base"][index]
        last = min(words, table["source_words"][index]) - 1
        for word in range(last + 1):
            column = {
                "tag": tag,
                "first": word == 0,
                "base": table["weight_base"][index],
                "end": word == last,
                "active": 1,
                "value": column_value(word, spec.activation_width),
            }
            yield column, counts[base + word]

    async def layer(ctx: Any, index: int, tag: int) -> list[Entry]:
        found = []
        waiting = deque(visits(index, tag))
        room = deque([False] * ROOM_TO_VISIT)
        ended, rest = ctx.get(dut.ended), QUIET
        for _ in range(PATIENCE + 4 * sum(count + 1 for _, count in waiting)):
            goes = room.popleft() and bool(waiting)
            if goes:
                column, count = waiting.popleft()
                ctx.set(dut.i, column)
                ctx.set(dut.count, count)
            else:
                ctx.set(dut.i.first, 0)
            ctx.set(dut.visit, goes)
            room.append(bool(ctx.get(dut.room)))
            added = dut.accumulator
            if ctx.get(added.valid):
                found.append(Entry(*map(ctx.get, (added.slot.row, added.weight, added.value))))
            await ctx.tick()
            rest -= ctx.get(dut.ended) != ended
            if not rest:
                return found
        raise CheckFailedError(f"PE {pe} does not come to the end of layer {index}")

    beside, codebooks = with_codebooks(dut)

    async def bench(ctx: Any) -> None:
        if codebooks is not None:
            await fill(ctx, codebooks)
        for index in range(len(program.layers)):
            tag = index % spec.jobs
            if codebooks is not None:
                ctx.set(dut.layers[tag], index)
            if len(spec.code_widths) > 1:
                ctx.set(dut.splits[tag], table["code_extra"][index])
            layers.append(await layer(ctx, index, tag))

    simulator = Simulator(beside)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return layers
