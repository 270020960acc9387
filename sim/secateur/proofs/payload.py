"""The buffer of one payload."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.bench.hostile import HOSTILE
from secateur.gateware.payload import PayloadBuffer

__all__ = ["CLAIMS"]

SIZE, WORD = 4, 2


def build() -> Harness:
    """Write anywhere, read any length, as words or bytes, taken at any time.

    One byte of the buffer is followed, which an input chooses.
    """
    buffer = PayloadBuffer(SIZE, word_size=WORD, technology=HOSTILE)
    h = Harness(buffer)
    place = h.constant("place", range(SIZE))
    i = buffer.i_read
    length, words = i.payload.length, i.payload.words
    h.assume("what is read is there", (length != 0) & (length <= Mux(words, SIZE // WORD, SIZE)))

    held = Signal(8)
    left = Signal(range(SIZE + 1))
    index = Signal(range(SIZE + 1))
    as_words = Signal()
    with h.m.If(buffer.write_enable & (left == 0) & (buffer.write_address == place // WORD)):
        h.m.d.sync += held.eq(buffer.write_data.word_select(place % WORD, 8))
    with h.m.If(i.valid & i.ready):
        h.m.d.sync += [left.eq(length), index.eq(0), as_words.eq(words)]
    byte = buffer.o_byte.valid & buffer.o_byte.ready
    word = buffer.o_word.valid & buffer.o_word.ready
    with h.m.If(byte | word):
        h.m.d.sync += [left.eq(left - 1), index.eq(index + 1)]

    h.show("held", held)
    h.show("left", left)
    h.claim("one reading at a time", i.ready == (left == 0))
    h.claim("no more than the length", ~(byte | word) | (left != 0))
    h.claim("as asked for", ~(byte & as_words) & ~(word & ~as_words))
    h.claim(
        "bytes as written",
        ~(byte & (index == place)) | (buffer.o_byte.payload.data == held),
    )
    h.claim(
        "words as written",
        ~(word & (index == place // WORD))
        | (buffer.o_word.payload.word_select(place % WORD, 8) == held),
    )
    h.claim("last is the last", ~byte | (buffer.o_byte.payload.last == (left == 1)))
    # Three cycles after it was asked for, and from then on.
    silent = Signal(range(PayloadBuffer.LATENCY + 2))
    offered = buffer.o_byte.valid | buffer.o_word.valid
    with h.m.If((left == 0) | offered):
        h.m.d.sync += silent.eq(0)
    with h.m.Elif(silent <= PayloadBuffer.LATENCY):
        h.m.d.sync += silent.eq(silent + 1)
    h.claim("it comes", silent < PayloadBuffer.LATENCY)
    return h


CLAIMS = (
    Claim(
        name="payload buffer",
        size=f"{SIZE} bytes, words of {WORD}",
        make=build,
        faults=(
            Fault(
                "payload", "ram.read_enable.eq(move)", "ram.read_enable.eq(1)", "bytes as written"
            ),
            Fault(
                "payload", "self.write_enable & ~active", "self.write_enable", "bytes as written"
            ),
            Fault("payload", "last.eq(left == 2)", "last.eq(left == 3)", "last is the last"),
            Fault(
                "payload",
                "move.eq(~valid | word_taken)",
                "move.eq(~valid | taken)",
                "bytes as written",
            ),
        ),
    ),
)
