"""From the bytes of a program image to writes into the engine's memories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import crc, data, stream, wiring  # pyright: ignore[reportAttributeAccessIssue]
from amaranth.lib.wiring import In, Out

from secateur.format import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    IMAGE_VERSION,
    SECTION_HEADER,
    LoadError,
    Section,
    memories,
)
from secateur.gateware.layout import struct

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Loader", "load_stream", "write_layout"]

#: Bytes of the CRC-32 that ends an image.
CRC_SIZE = 4


def load_stream() -> stream.Signature:
    """Bytes of images; ``first`` marks byte 0 of an image and restarts the loader."""
    return stream.Signature(data.StructLayout({"data": 8, "first": 1}))


def write_layout(spec: EngineSpec) -> data.StructLayout:
    """One word for one memory. ``word`` holds it in its low bits, ``address`` likewise."""
    kinds = memories(spec).values()
    return data.StructLayout({
        "section": Shape.cast(Section),
        "pe": 8,
        "address": max((memory.depth - 1).bit_length() for memory in kinds),
        "word": max(memory.record.width for memory in kinds),
    })


class Loader(wiring.Component):
    """Check an image as it arrives and hand its words on.

    Takes one byte a cycle, and stands still for two cycles after the image's header and for four
    after each section's. An image is refused at the first rule that it breaks; what follows is
    discarded up to the next ``first``. The words of a refused image may have been written: the
    engine keeps the program in use in another bank, or gave it up in ``begun``.

    Parameters
    ----------
    spec : EngineSpec
        The engine; its fingerprint must be that of the image.

    Members
    -------
    i : In(load_stream())
        Bytes of the image.
    write : Out(write_layout(spec))
        The word to write while ``write_valid``. Section and PE stand since the cycle before.
    write_valid : Out(1)
        Strobe.
    begin, begun : Out(1), In(1)
        The loader holds ``begin`` before an image's first word and goes on once ``begun``.
    commit, committed : Out(1), In(1)
        The image is complete and correct; the loader holds ``commit`` until a cycle after
        ``committed``, which is a strobe.
    id : Out(32)
        CRC-32 of the image while ``commit``.
    loading : Out(1)
        An image has begun and was neither refused nor committed.
    error : Out(LoadError)
        Why the last image was refused; ``NONE`` from its first byte on while it is fine.
    """

    i: stream.Interface
    write: data.View
    write_valid: Signal
    begin: Signal
    begun: Signal
    commit: Signal
    committed: Signal
    id: Signal
    loading: Signal
    error: Signal

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        super().__init__({
            "i": In(load_stream()),
            "write": Out(write_layout(spec)),
            "write_valid": Out(1),
            "begin": Out(1),
            "begun": In(1),
            "commit": Out(1),
            "committed": In(1),
            "id": Out(32),
            "loading": Out(1),
            "error": Out(Shape.cast(LoadError)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kinds = memories(self.spec)
        largest = max(
            IMAGE_HEADER.size, SECTION_HEADER.size, *(k.record.size for k in kinds.values())
        )
        # Bytes land at their place in the word, the first at the lowest bits; a shorter word
        # leaves older bytes above it, which nobody looks at.
        word = Signal(largest * 8)
        position = Signal(range(largest))
        ends = Signal()  # at a word's last byte
        before_last = Signal(range(largest))  # position of the one before
        single_byte = Signal()  # there is none
        left = Signal(range(max(kind.depth for kind in kinds.values()) + 1))
        last = Signal()  # left == 1
        header = data.View(struct(IMAGE_HEADER), word[: IMAGE_HEADER.width])
        section = data.View(struct(SECTION_HEADER), word[: SECTION_HEADER.width])

        m.submodules.crc = checksum = crc.Processor(crc.catalog.CRC32_ISO_HDLC(data_width=8))
        ready = Signal(init=1)
        goes_on = Signal()  # a byte may be taken in the next cycle
        take = Signal()
        first = Signal()
        place = Signal.like(position)
        m.d.sync += ready.eq(goes_on)
        m.d.comb += [
            self.i.ready.eq(ready),
            take.eq(self.i.valid & ready),
            first.eq(self.i.payload.first),
            place.eq(Mux(first, 0, position)),
        ]
        # The checksum goes a cycle behind.
        matches = Signal()
        m.d.sync += [
            matches.eq(checksum.match_detected),
            checksum.valid.eq(take),
            checksum.start.eq(take & first),
            checksum.data.eq(self.i.payload.data),
        ]
        word_complete = Signal()
        m.d.comb += word_complete.eq(take & ~first & ends)
        with m.If(take):
            m.d.sync += word.word_select(place, 8).eq(self.i.payload.data)
            m.d.sync += [
                position.eq(Mux(word_complete, 0, place + 1)),
                ends.eq(~first & Mux(ends, single_byte & ~last, position == before_last)),
            ]

        # The cycle after its last byte, a word stands in `word` and is written.
        address = Signal.like(self.write.address)
        m.d.sync += self.write_valid.eq(0)
        m.d.comb += [
            self.write.word.eq(word),
            self.write.address.eq(address),
            self.id.eq(word[: CRC_SIZE * 8]),
        ]
        with m.If(self.write_valid):
            m.d.sync += address.eq(address + 1)

        # What is wrong with a header is known a cycle after it stands in `word`.
        wrong = {
            LoadError.MAGIC: header.magic != IMAGE_MAGIC,
            LoadError.VERSION: header.version != IMAGE_VERSION,
            LoadError.ENGINE: header.fingerprint != self.spec.fingerprint,
        }
        wrongs = Signal(len(wrong))
        is_end = Signal()
        of_kinds = [(Signal(name=f"is_{kind.name.lower()}"), kinds[kind]) for kind in kinds]
        no_pe = Signal(2)  # of those of a memory that they share, of the engine's
        huge = Signal()
        m.d.sync += [
            wrongs.eq(Cat(wrong.values())),
            is_end.eq(section.section == Section.END),
            *(
                each.eq(section.section == kind)
                for kind, (each, _) in zip(kinds, of_kinds, strict=True)
            ),
            no_pe.eq(Cat(section.pe != 0, section.pe >= self.spec.pes)),
            huge.eq(section.count >= 1 << len(left)),
        ]
        # And three cycles after, what its count is worth. Depths are powers of two.
        less = Signal.like(left)
        fewer = Signal.like(left)
        empty = Signal()
        single = Signal()
        too_many = Signal()
        known = Signal()
        m.d.comb += less.eq(left - 1)
        m.d.sync += [
            known.eq(Cat(each & ~no_pe[memory.per_pe] for each, memory in of_kinds).any()),
            fewer.eq(less),
            empty.eq((left == 0) & ~huge),
            single.eq(left == 1),
            too_many.eq(
                huge | Cat(each & (fewer >= memory.depth) for each, memory in of_kinds).any()
            ),
        ]

        def expect(size: int) -> None:
            """Have the next words end after so many bytes."""
            m.d.sync += [before_last.eq(size - 2), single_byte.eq(size == 1)]

        def receive() -> None:
            """Take bytes; byte 0 of another image outranks whatever was going on."""
            m.d.comb += goes_on.eq(1)
            with m.If(take & first):
                expect(IMAGE_HEADER.size)
                m.d.sync += self.error.eq(LoadError.NONE)
                m.next = "image header"

        reason = Signal(Shape.cast(LoadError))

        def refuse(error: LoadError) -> None:
            """Discard the image; in a state that keeps the reason, whatever it is."""
            m.d.comb += [goes_on.eq(1), reason.eq(error)]
            m.next = "discard"

        def look(state: str) -> None:
            m.d.comb += goes_on.eq(0)
            m.next = state

        committed = Signal()  # a cycle late: who answers is far away
        m.d.sync += committed.eq(self.committed)
        m.d.comb += self.loading.eq(1)
        with m.FSM():
            with m.State("discard"):
                m.d.comb += self.loading.eq(0)
                receive()
            with m.State("image header"):
                receive()
                with m.If(word_complete):
                    look("look at image")
            with m.State("look at image"):
                m.next = "check image"
            with m.State("check image"):
                m.d.sync += self.error.eq(reason)
                with m.If(wrongs == 0):
                    m.d.comb += self.begin.eq(1)
                    with m.If(self.begun):
                        m.d.comb += goes_on.eq(1)
                        expect(SECTION_HEADER.size)
                        m.next = "section header"
                # The first of them counts: what is assigned last.
                for index, error in reversed([*enumerate(wrong)]):
                    with m.If(wrongs[index]):
                        refuse(error)
            with m.State("section header"):
                receive()
                with m.If(word_complete):
                    look("look at section")
            with m.State("look at section"):
                m.d.sync += left.eq(section.count)
                m.next = "count section"
            with m.State("count section"):
                m.next = "weigh section"
            with m.State("weigh section"):
                m.next = "check section"
            with m.State("check section"):
                # Whatever comes next, it takes bytes.
                m.d.comb += goes_on.eq(1)
                m.d.sync += [
                    self.error.eq(reason),
                    self.write.section.eq(section.section),
                    self.write.pe.eq(section.pe),
                    address.eq(0),
                ]
                with m.If(is_end):
                    expect(CRC_SIZE)
                    m.next = "crc"
                with m.Elif(~known):
                    refuse(LoadError.SECTION)
                with m.Elif(empty):
                    expect(SECTION_HEADER.size)
                    m.next = "section header"
                with m.Elif(too_many):
                    refuse(LoadError.SIZE)
                with m.Else():
                    m.d.sync += last.eq(single)
                    for each, memory in of_kinds:
                        with m.If(each):
                            expect(memory.record.size)
                            m.d.sync += ends.eq(memory.record.size == 1)
                    m.next = "words"
            with m.State("words"):
                receive()
                with m.If(word_complete):
                    m.d.sync += [self.write_valid.eq(1), left.eq(less), last.eq(left == 2)]
                    with m.If(last):
                        expect(SECTION_HEADER.size)
                        m.next = "section header"
            with m.State("crc"):
                receive()
                with m.If(word_complete):
                    look("sum crc")
            with m.State("sum crc"):
                m.next = "match crc"
            with m.State("match crc"):
                m.next = "check crc"
            with m.State("check crc"):
                m.d.sync += self.error.eq(reason)
                with m.If(matches):
                    m.next = "commit"
                with m.Else():
                    refuse(LoadError.CRC)
            with m.State("commit"):
                m.d.comb += [
                    self.loading.eq(0),
                    self.commit.eq(1),
                ]
                with m.If(committed):
                    m.d.comb += goes_on.eq(1)
                    m.next = "discard"

        return m
