"""Do what requests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.gateware.check import check_stream, crc_stream
from secateur.gateware.cobs import frame_stream
from secateur.gateware.drain import y_stream
from secateur.gateware.engine import status_layout
from secateur.gateware.frame import request_layout
from secateur.gateware.loader import load_stream
from secateur.gateware.payload import PayloadBuffer, read_layout
from secateur.gateware.respond import Body, Responder
from secateur.gateware.store import x_stream
from secateur.protocol import (
    CHECK,
    LOAD,
    PROTOCOL_VERSION,
    RESPONSE_MARK,
    Code,
    Command,
    activation_size,
    word_size,
)
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.technology import Technology

__all__ = ["Terminal"]

#: log2 of the cycles that a LOAD or an INFER may take: many times what the largest engine needs.
LIMIT_BITS = 24
#: Bits of the count of an image's bytes, more than any FPGA stores.
TAKEN_BITS = 24


class Terminal(wiring.Component):
    """Serve one request after the other between the frames and the engine.

    Every wait ends: the engine's after ``2**limit_bits`` cycles, with ``TIMEOUT``. A stream towards
    the engine then goes on offering, as its rules demand, and requests that need it are answered
    with ``BUSY`` until the engine has taken all; STATUS always works. A check begins where nothing
    else does, and ends by itself.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    size : int
        Largest payload of a request, and largest y, bytes; a power of two.
    clock : int
        What STATUS tells, Hz.
    limit_bits : int
        See above; at most 31.
    technology : Technology
        Its cells.
    checked : bool
        Whether the engine's weights can be checked.

    Members
    -------
    i : In(stream.Signature(request_layout(size)))
        Requests; taken after the last byte of the response.
    o_read, i_byte, i_word
        The request's payload, see :class:`secateur.gateware.payload.PayloadBuffer`.
    o : Out(frame_stream())
        Responses.
    o_load, o_x, i_y, status
        The engine. ``i_y`` is always ready.
    o_check, i_crc
        Likewise; absent if its weights cannot be checked.
    """

    i: stream.Interface
    o_read: stream.Interface
    i_byte: stream.Interface
    i_word: stream.Interface
    o: stream.Interface
    o_load: stream.Interface
    o_x: stream.Interface
    i_y: stream.Interface
    o_check: stream.Interface
    i_crc: stream.Interface
    status: data.View

    def __init__(
        self,
        spec: EngineSpec,
        *,
        size: int,
        clock: int,
        limit_bits: int = LIMIT_BITS,
        technology: Technology = PORTABLE,
        checked: bool = False,
    ) -> None:
        self.spec, self.size, self.clock, self.limit_bits = spec, size, clock, limit_bits
        self.technology, self.checked = technology, checked
        super().__init__({
            "i": In(stream.Signature(request_layout(size))),
            "o_read": Out(stream.Signature(read_layout(size))),
            "i_byte": In(frame_stream()),
            "i_word": In(stream.Signature(8 * word_size(spec))),
            "o": Out(frame_stream()),
            "o_load": Out(load_stream()),
            "o_x": Out(x_stream(spec)),
            "i_y": In(y_stream(spec)),
            **({"o_check": Out(check_stream()), "i_crc": In(crc_stream())} if checked else {}),
            "status": In(status_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec, request, status = self.spec, self.i.payload, self.status
        word_bits = word_size(spec).bit_length() - 1
        lane_width = 8 * activation_size(spec)
        m.submodules.reply = reply = PayloadBuffer(
            self.size, word_size=word_size(spec), technology=self.technology
        )
        m.submodules.responder = responder = Responder(checked=self.checked)
        wiring.connect(m, reply.o_byte, responder.i_y)
        wiring.connect(m, responder.o, wiring.flipped(self.o))

        # x goes to the engine as it is read, an image while `feeding`. An offset goes nowhere,
        # and a payload out of order is discarded.
        feeding = Signal()
        discard = Signal()  # by the states that take bytes themselves, from a register
        first = Signal()
        taken = Signal(TAKEN_BITS)
        m.d.comb += [
            self.o_x.valid.eq(self.i_word.valid),
            self.i_word.ready.eq(self.o_x.ready),
            self.o_load.valid.eq(self.i_byte.valid & feeding),
            self.o_load.payload.data.eq(self.i_byte.payload.data),
            self.o_load.payload.first.eq(first),
            self.i_byte.ready.eq(Mux(feeding, self.o_load.ready, discard)),
        ]
        with m.If(self.o_load.valid & self.o_load.ready):
            m.d.sync += [
                feeding.eq(~self.i_byte.payload.last),
                first.eq(0),
                taken.eq(taken + 1),
            ]

        # y goes into the reply buffer; words that nobody waits for end up behind the last result.
        waiting = Signal()
        y_words = Signal(range(self.size // word_size(spec) + 1))
        y_fits = ~y_words[-1]
        m.d.comb += [
            self.i_y.ready.eq(1),
            reply.i_read.payload.words.eq(0),
            reply.i_read.payload.length.eq(y_words << word_bits),
            reply.write_address.eq(y_words),
            reply.write_enable.eq(self.i_y.valid & y_fits),
        ]
        fitted = Signal()  # all of y
        with m.If(self.i_y.valid & waiting & y_fits):
            m.d.sync += y_words.eq(y_words + 1)
        with m.If(self.i_y.valid & self.i_y.payload.last):
            m.d.sync += [waiting.eq(0), fitted.eq(y_fits)]
        for lane in range(spec.lanes):
            m.d.comb += [
                self.o_x.payload[lane].eq(self.i_word.payload.word_select(lane, lane_width)),
                reply.write_data.word_select(lane, lane_width).eq(self.i_y.payload.data[lane]),
            ]

        # Cycles of the inference, both those of the first word of x and of the last of y included:
        # counting begins a cycle after that of x, and goes on for one after that of y. Until then,
        # and during a LOAD, only the limit counts.
        timer = Signal(self.limit_bits + 1)
        late = timer[-1]
        too_late = Signal()
        unmeasured = Signal()
        has_result = Signal()  # for READ; until a cycle after `restart`
        sequence = Signal(8)
        restart = Signal()  # a LOAD or an INFER was accepted a cycle before
        counting = Signal()
        begins = Signal()  # the first word of x moved a cycle before
        m.d.sync += [
            counting.eq(waiting | feeding),
            begins.eq(unmeasured & self.o_x.valid & self.o_x.ready),
            restart.eq(0),
            too_late.eq(late & counting),  # of what is waited for: else the timer is an older one
        ]
        with m.If(restart):
            m.d.sync += [timer.eq(0), has_result.eq(0)]
        with m.Elif(begins):
            m.d.sync += timer.eq(1)
        with m.Elif(counting & ~late):
            m.d.sync += timer.eq(timer + 1)
        with m.If(self.o_x.valid & self.o_x.ready):
            m.d.sync += unmeasured.eq(0)
        # A request for an inference was accepted a cycle before: its x has not begun, no y is due.
        begun = Signal()
        m.d.sync += begun.eq(0)
        with m.If(begun):
            m.d.sync += [unmeasured.eq(1), y_words.eq(0)]
        m.d.comb += [
            responder.result.sequence.eq(sequence),
            responder.result.program.eq(status.program),
            responder.result.cycles.eq(timer),
            responder.status.version.eq(PROTOCOL_VERSION),
            responder.status.fingerprint.eq(spec.fingerprint),
            responder.status.taken.eq(taken),
            responder.status.max_payload.eq(self.size),
            responder.status.clock.eq(self.clock),
        ]
        # The engine is far away: what it decides late in a cycle is looked at a cycle later.
        for name in ("loaded", "busy", "loading", "committing"):
            m.d.sync += responder.status[name].eq(status[name])
        for name in ("error", "program"):
            m.d.comb += responder.status[name].eq(status[name])

        # What decides about a request, a cycle before the verdicts of the commands do.
        sound = Signal()
        commands = [Command.STATUS, Command.LOAD, Command.INFER, Command.READ]
        if self.checked:
            commands.append(Command.CHECK)
        wanted = {command: Signal(name=f"is_{command.name.lower()}") for command in commands}
        nothing = Signal()
        whole_x = Signal()
        image = Signal()
        occupied = Signal()
        readable = Signal()  # only this component begins to read
        m.d.sync += [
            sound.eq(request.code == Code.OK),
            *(signal.eq(request.command == command) for command, signal in wanted.items()),
            nothing.eq(request.length == 0),
            whole_x.eq(request.length == status.input_words << word_bits),
            image.eq(request.length > LOAD.size),
            # Also while an x that was given up is still being offered.
            occupied.eq(status.busy | status.committing | self.o_x.valid),
            readable.eq(self.o_read.ready),
        ]
        blocked = occupied | ~readable

        def ready_for(whole: Value) -> Value:
            right = Mux(whole, Code.OK, Code.LENGTH)
            return Mux(status.loaded, Mux(blocked, Code.BUSY, right), Code.PROGRAM)

        chosen = {
            Command.STATUS: Mux(nothing, Code.OK, Code.LENGTH),
            Command.LOAD: Mux(image, Mux(readable, Code.OK, Code.BUSY), Code.LENGTH),
            Command.INFER: ready_for(whole_x & ~nothing),
            Command.READ: Mux(nothing, Mux(has_result, Code.OK, Code.RESULT), Code.LENGTH),
        }
        if self.checked:
            chosen[Command.CHECK] = ready_for(request.length == CHECK.size)
        verdicts = {
            command: Signal(Code, name=f"verdict_{command.name.lower()}") for command in chosen
        }
        m.d.sync += [verdict.eq(chosen[command]) for command, verdict in verdicts.items()]
        refused = Signal()
        byte = Signal(8)  # of the offset
        place = Signal(2)
        follows = Signal()
        fresh = Signal()  # the offset is `taken`; it is 0

        response = responder.i.payload
        m.d.comb += [
            response.head.command.eq(request.command | RESPONSE_MARK),
            response.head.sequence.eq(request.sequence),
        ]

        # A cycle after the code, the body: a state that sets the code is not the last one before
        # "respond".
        m.d.sync += response.body.eq(Body.RESULT)
        with m.If(wanted[Command.STATUS] | wanted[Command.LOAD]):
            m.d.sync += response.body.eq(Body.STATUS)
        if self.checked:
            with m.If(wanted[Command.CHECK]):
                m.d.sync += response.body.eq(Body.CRC)
        with m.If(response.head.code != Code.OK):
            m.d.sync += response.body.eq(Body.NONE)

        def refuse(code: Code | Value) -> None:
            m.d.sync += response.head.code.eq(code)

        def read(*, words: int, length: Value) -> None:
            """Read the payload, which is known to be idle."""
            m.d.sync += [
                self.o_read.payload.words.eq(words),
                self.o_read.payload.length.eq(length),
            ]
            m.next = "read"

        asked = Signal(CHECK.width)
        if self.checked:
            m.d.comb += [
                Value.cast(self.o_check.payload).eq(asked),
                responder.crc.crc.eq(self.i_crc.payload),
            ]

        with m.FSM():
            with m.State("idle"):
                with m.If(self.i.valid):
                    m.next = "weigh"
            with m.State("weigh"):  # the verdicts become those of what is known of this request
                m.next = "judge"
            with m.State("judge"):
                refuse(Code.COMMAND)
                for command, verdict in verdicts.items():
                    with m.If(wanted[command]):
                        refuse(verdict)
                with m.If(~sound):
                    refuse(request.code)
                m.next = "judged"
            with m.State("judged"):
                m.d.sync += refused.eq(response.head.code != Code.OK)
                m.next = "decide"
            with m.State("decide"):
                with m.If(refused | wanted[Command.STATUS]):
                    m.next = "respond"
                with m.Elif(wanted[Command.LOAD]):
                    m.d.sync += [follows.eq(1), fresh.eq(1), place.eq(0)]
                    read(words=0, length=request.length)
                with m.Elif(wanted[Command.INFER]):
                    m.d.sync += [
                        sequence.eq(request.sequence),
                        waiting.eq(1),
                        *(begun.eq(1), restart.eq(1)),
                    ]
                    read(words=1, length=status.input_words)
                with m.Elif(wanted[Command.READ]):
                    m.next = "read reply"
                if self.checked:
                    with m.Elif(wanted[Command.CHECK]):
                        read(words=0, length=request.length)
            with m.State("read"):
                m.d.comb += self.o_read.valid.eq(1)
                with m.If(self.o_read.ready):
                    m.next = "infer"
                    with m.If(~self.o_read.payload.words):
                        m.d.sync += discard.eq(1)
                        m.next = "offset"
                    if self.checked:
                        with m.If(wanted[Command.CHECK]):
                            m.next = "ask"
            with m.State("offset"):
                m.d.sync += byte.eq(self.i_byte.payload.data)
                with m.If(self.i_byte.valid):
                    m.d.sync += discard.eq(0)
                    m.next = "compare"
            with m.State("compare"):
                expected = Cat(taken, C(0, 32 - TAKEN_BITS)).word_select(place, 8)
                m.d.sync += [
                    follows.eq(follows & (byte == expected)),
                    fresh.eq(fresh & (byte == 0)),
                    place.eq(place + 1),
                ]
                with m.If(place == LOAD.size - 1):
                    m.next = "order"
                with m.Else():
                    m.d.sync += discard.eq(1)
                    m.next = "offset"
            with m.State("order"):
                m.next = "load"
                with m.If(fresh):
                    m.d.sync += [first.eq(1), taken.eq(0)]
                with m.If(fresh | (follows & responder.status.loading)):
                    m.d.sync += [feeding.eq(1), restart.eq(1)]
                with m.Else():
                    m.d.sync += discard.eq(1)
                    m.next = "discard"
            with m.State("discard"):
                with m.If(self.i_byte.valid & self.i_byte.payload.last):
                    m.d.sync += discard.eq(0)
                    refuse(Code.ORDER)
                    m.next = "ended"
            with m.State("load"):
                with m.If(~feeding):
                    m.next = "ended"
                with m.Elif(too_late):
                    refuse(Code.TIMEOUT)
                    m.next = "ended"
            with m.State("infer"):
                with m.If(~waiting):
                    m.d.sync += has_result.eq(fitted)
                    m.next = "read reply"
                    with m.If(~fitted):
                        refuse(Code.LARGE)
                        m.next = "ended"
                with m.Elif(too_late):
                    m.d.sync += [waiting.eq(0), unmeasured.eq(0)]
                    refuse(Code.TIMEOUT)
                    m.next = "ended"
            with m.State("read reply"):
                m.d.comb += reply.i_read.valid.eq(1)
                m.next = "respond"
            with m.State("ended"):  # the body becomes that of the code, which may be new
                m.next = "respond"
            if self.checked:
                with m.State("ask"):
                    with m.If(self.i_byte.valid):
                        m.d.sync += asked.eq(Cat(asked[8:], self.i_byte.payload.data))
                        with m.If(self.i_byte.payload.last):
                            m.d.sync += discard.eq(0)
                            m.next = "check"
                with m.State("check"):
                    m.d.comb += self.o_check.valid.eq(1)
                    with m.If(self.o_check.ready):
                        m.next = "crc"
                with m.State("crc"):
                    with m.If(self.i_crc.valid):
                        m.next = "respond"
            with m.State("respond"):
                m.d.comb += responder.i.valid.eq(1)
                with m.If(responder.i.ready):
                    m.d.comb += self.i.ready.eq(1)
                    if self.checked:
                        m.d.comb += self.i_crc.ready.eq(1)
                    m.next = "idle"

        return m
