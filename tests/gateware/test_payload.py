"""The payload buffer: what is written comes out, as words or as bytes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.bench.stream import STALLS, run
from secateur.gateware.cobs import frame_stream
from secateur.gateware.payload import PayloadBuffer, read_layout

SIZE = 32
DATA = random.Random(1).randbytes(SIZE)


class Filled(wiring.Component):
    """A buffer that is filled word by word; what is written while it is read has no effect."""

    i_read: stream.Interface
    o_byte: stream.Interface
    o_word: stream.Interface

    def __init__(self, word_size: int) -> None:
        self.word_size = word_size
        super().__init__({
            "i_read": In(stream.Signature(read_layout(SIZE))),
            "o_byte": Out(frame_stream()),
            "o_word": Out(stream.Signature(8 * word_size)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = PayloadBuffer(SIZE, word_size=self.word_size)
        words = SIZE // self.word_size
        place = Signal(range(words + 1))
        full = Signal()
        other = Signal(range(words))
        text = C(int.from_bytes(DATA, "little"), 8 * SIZE)
        m.d.comb += [
            full.eq(place == words),
            buffer.write_address.eq(Mux(full, other, place)),
            buffer.write_data.eq(Mux(full, ~0, text.word_select(place, 8 * self.word_size))),
            buffer.write_enable.eq(~full | ~buffer.i_read.ready),
            buffer.i_read.valid.eq(self.i_read.valid & full),
            buffer.i_read.payload.eq(self.i_read.payload),
            self.i_read.ready.eq(buffer.i_read.ready & full),
        ]
        m.d.sync += [place.eq(place + ~full), other.eq(other + 1)]
        wiring.connect(m, buffer.o_byte, wiring.flipped(self.o_byte))
        wiring.connect(m, buffer.o_word, wiring.flipped(self.o_word))
        return m


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("word_size", [1, 4, 16])
def test_reads(word_size: int, stalls: str) -> None:
    rng = random.Random(2)
    reads: list[dict[str, int]] = []
    words: list[int] = []
    items: list[dict[str, Any]] = []
    whole = [DATA[k : k + word_size] for k in range(0, SIZE, word_size)]
    for kind in (0, 1, 1, 0, 0, 1, 0):
        length = rng.choice((1, 2, len(whole)))
        reads.append({"words": kind, "length": length})
        if kind:
            words += [int.from_bytes(word, "little") for word in whole[:length]]
        else:
            items += [{"data": DATA[k], "last": k == length - 1} for k in range(length)]
    reads.append({"words": 0, "length": SIZE})
    items += [{"data": byte, "last": k == SIZE - 1} for k, byte in enumerate(DATA)]
    counts = {"o_byte": len(items), "o_word": len(words)}
    got = run(Filled(word_size), {"i_read": reads}, counts, stalls=stalls)
    assert got == {"o_byte": items, "o_word": words}
