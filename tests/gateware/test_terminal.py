"""The terminal between frames and a stand-in for the engine, which the tests play by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from cobs import cobs

from secateur.engine import EngineSpec
from secateur.format import LoadError
from secateur.framing import frame, pack, unpack
from secateur.gateware import terminal as terminal_module
from secateur.gateware.check import check_stream, crc_stream
from secateur.gateware.cobs import decoded_stream, frame_stream
from secateur.gateware.drain import y_stream
from secateur.gateware.engine import status_layout
from secateur.gateware.frame import FrameReceiver
from secateur.gateware.loader import load_stream
from secateur.gateware.respond import Responder
from secateur.gateware.store import x_stream
from secateur.gateware.terminal import Terminal
from secateur.protocol import (
    CHECK,
    CRC,
    LOAD,
    PROTOCOL_VERSION,
    RESPONSE,
    RESPONSE_MARK,
    RESULT,
    Code,
    Command,
    Status,
    pack_words,
    unpack_words,
    word_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SIZE, LIMIT_BITS, CLOCK = 256, 9, 25_000_000
#: Cycles after which a response is not late but missing.
PATIENCE = 3000

SPECS = [
    EngineSpec(pes=4, lanes=4),
    EngineSpec(pes=2, lanes=2, activation_width=12),
    EngineSpec(pes=1, lanes=1, activation_width=5),
]


class Desk(wiring.Component):
    """Receiver and terminal."""

    i: stream.Interface
    o: stream.Interface
    o_load: stream.Interface
    o_x: stream.Interface
    i_y: stream.Interface
    o_check: stream.Interface
    i_crc: stream.Interface
    status: data.View

    def __init__(self, spec: EngineSpec, *, checked: bool = False) -> None:
        self.spec, self.checked = spec, checked
        super().__init__({
            "i": In(decoded_stream()),
            "o": Out(frame_stream()),
            "o_load": Out(load_stream()),
            "o_x": Out(x_stream(spec)),
            "i_y": In(y_stream(spec)),
            **({"o_check": Out(check_stream()), "i_crc": In(crc_stream())} if checked else {}),
            "status": In(status_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.frames = frames = FrameReceiver(SIZE, word_size=word_size(self.spec))
        m.submodules.terminal = terminal = Terminal(
            self.spec, size=SIZE, clock=CLOCK, limit_bits=LIMIT_BITS, checked=self.checked
        )
        wiring.connect(m, wiring.flipped(self.i), frames.i)
        # What is not valid yet is something else.
        said = Value.cast(frames.o.payload)
        m.d.comb += [
            terminal.i.valid.eq(frames.o.valid),
            frames.o.ready.eq(terminal.i.ready),
            Value.cast(terminal.i.payload).eq(Mux(frames.o.valid, said, ~said)),
        ]
        wiring.connect(m, frames.i_read, terminal.o_read)
        wiring.connect(m, frames.o_byte, terminal.i_byte)
        wiring.connect(m, frames.o_word, terminal.i_word)
        for name in ("o", "o_load", "o_x"):
            wiring.connect(m, getattr(terminal, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.i_y), terminal.i_y)
        if self.checked:
            wiring.connect(m, terminal.o_check, wiring.flipped(self.o_check))
            wiring.connect(m, wiring.flipped(self.i_crc), terminal.i_crc)
        m.d.comb += terminal.status.eq(self.status)
        return m


class Watched(Responder):
    """Lets the tests see what the terminal says to its responder."""

    latest: ClassVar[Responder]

    def __init__(self, *, checked: bool = False) -> None:
        super().__init__(checked=checked)
        Watched.latest = self


@pytest.fixture(autouse=True)
def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_module, "Responder", Watched)


class Bench:
    """The other side of a desk: what a host sends, and what an engine does."""

    def __init__(self, ctx: Any, desk: Desk) -> None:
        self.ctx, self.desk, self.spec = ctx, desk, desk.spec
        self.cycle = 0
        self.x: list[tuple[int, list[int]]] = []  # cycle and word
        self.image: list[tuple[int, int]] = []  # byte and whether it was the first
        self.y: list[list[int]] = []  # words to be given
        self.y_cycle = 0
        self.answer: bytearray = bytearray()
        self.said: Any = None  # to the responder, which has not taken it
        # What the engine does in the next cycle.
        self.x_ready: Callable[[], bool] = lambda: True
        self.load_ready: Callable[[], bool] = lambda: True
        self.y_go: Callable[[], bool] = lambda: True
        self.check_ready: Callable[[], bool] = lambda: True
        self.checks: list[tuple[int, int]] = []
        self.crcs: list[int] = []  # to be given
        self.state(loaded=1)

    def state(self, **fields: int) -> None:
        for name, value in fields.items():
            self.ctx.set(self.desk.status[name], value)

    async def tick(self) -> bool:
        """Play one cycle; tell whether a response ended in it."""
        ctx, desk = self.ctx, self.desk
        ctx.set(desk.o.ready, self.cycle % 3 != 0)
        ctx.set(desk.o_x.ready, self.x_ready())
        ctx.set(desk.o_load.ready, self.load_ready())
        offered = bool(self.y) and self.y_go()
        ctx.set(desk.i_y.valid, offered)
        if offered:
            ctx.set(desk.i_y.payload, {"data": self.y[0], "last": len(self.y) == 1})
        if desk.checked:
            self.check()
        streams = (desk.o, desk.o_x, desk.o_load, Watched.latest.i)
        signals = [s for stream in streams for s in (stream.valid, stream.ready, stream.payload)]
        _, _, *seen, taken = await ctx.tick().sample(*signals, desk.i_y.ready)
        assert taken, "i_y is not ready"
        said, said_taken, response = seen[9:]
        if self.said is not None:
            assert said, "a response is not offered any more"
            assert response == self.said, "a response changes"
        self.said = response if said and not said_taken else None
        if offered:
            self.y.pop(0)
            self.y_cycle = self.cycle
        if seen[3] and seen[4]:
            self.x.append((self.cycle, [int(value) for value in seen[5]]))
        if seen[6] and seen[7]:
            self.image.append((int(seen[8].data), int(seen[8].first)))
        self.cycle += 1
        if seen[0] and seen[1]:
            self.answer.append(int(seen[2].data))
            return bool(seen[2].last)
        return False

    def check(self) -> None:
        """Take what is to be checked, and give an answer that stays until it is taken."""
        ctx, asked, crc = self.ctx, self.desk.o_check, self.desk.i_crc
        ctx.set(asked.ready, self.check_ready())
        if ctx.get(asked.valid) and ctx.get(asked.ready):
            payload = ctx.get(asked.payload)
            self.checks.append((int(payload.pe), int(payload.count)))
        ctx.set(crc.valid, bool(self.crcs))
        if self.crcs:
            ctx.set(crc.payload, self.crcs[0])
            if ctx.get(crc.ready):
                self.crcs.pop(0)

    async def offer(self, raw: bytes, *, error: bool = False) -> None:
        """Send a decoded frame."""
        for item in [(byte, 0) for byte in raw] + [(0, 1)]:
            payload = {"data": item[0], "end": item[1], "error": item[1] and error}
            self.ctx.set(self.desk.i.payload, payload)
            self.ctx.set(self.desk.i.valid, 1)
            while not self.ctx.get(self.desk.i.ready):
                await self.tick()
            await self.tick()
            self.ctx.set(self.desk.i.valid, 0)

    async def response(self) -> tuple[int, int, Code, bytes]:
        """Wait for a response: command, sequence, code and payload."""
        self.answer.clear()
        for _ in range(PATIENCE):
            if await self.tick():
                head = unpack(RESPONSE, bytes(self.answer))
                assert len(self.answer) < SIZE + 64
                body = bytes(self.answer[RESPONSE.size :])
                return head["command"], head["sequence"], Code(head["code"]), body
        raise AssertionError("no response")

    async def ask(
        self, command: int, payload: bytes = b"", sequence: int = 9
    ) -> tuple[Code, bytes]:
        """Send a request and check that the response is its own."""
        line = frame(bytes([command, sequence]) + payload)
        await self.offer(cobs.decode(line[:-1]))
        got, number, code, body = await self.response()
        assert (got, number) == (command | RESPONSE_MARK, sequence)
        assert code is Code.OK or not body
        return code, body


def play(
    spec: EngineSpec,
    script: Callable[[Bench], Coroutine[Any, Any, None]],
    *,
    checked: bool = False,
) -> None:
    """Run a script; at its end nothing more may come."""
    desk = Desk(spec, checked=checked)

    async def bench(ctx: Any) -> None:
        b = Bench(ctx, desk)
        await script(b)
        x, image = len(b.x), len(b.image)
        for _ in range(50):
            b.answer.clear()
            await b.tick()
            assert not b.answer
        assert (x, image) == (len(b.x), len(b.image))

    simulator = Simulator(desk)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def words(spec: EngineSpec, count: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << spec.activation_width, (count, spec.lanes)).tolist()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.lanes}x{spec.activation_width}")
@pytest.mark.parametrize("slow", [False, True])
def test_infer_and_read(spec: EngineSpec, slow: bool) -> None:
    async def script(b: Bench) -> None:
        b.x_ready = lambda: not slow or b.cycle % 3 == 0
        for number, (inputs, outputs) in enumerate([(1, 1), (3, 5), (20, 1), (7, 60)]):
            x, y = words(spec, inputs, 1), words(spec, outputs, 2)
            b.state(input_words=inputs, output_words=outputs, program=0x1234_5678 + number)
            b.x.clear()
            b.y = [*y]
            b.y_go = lambda count=inputs: len(b.x) == count and not (slow and b.cycle % 5)
            payload = pack_words(np.array(x), spec)
            code, body = await b.ask(Command.INFER, payload, sequence=40 + number)
            assert code is Code.OK
            assert [word for _, word in b.x] == x
            if not slow:
                assert b.x[-1][0] - b.x[0][0] == inputs - 1, "x must go one word a cycle"
            result = unpack(RESULT, body)
            assert result["cycles"] == b.y_cycle - b.x[0][0] + 1
            assert result["program"] == 0x1234_5678 + number
            assert result["sequence"] == 40 + number
            assert unpack_words(body[RESULT.size :], spec).tolist() == y
            assert await b.ask(Command.READ, sequence=3) == (Code.OK, body)
            assert await b.ask(Command.READ, sequence=4) == (Code.OK, body)

    play(spec, script)


def test_refused_requests_change_nothing() -> None:
    spec = SPECS[0]

    async def script(b: Bench) -> None:
        b.state(input_words=2, output_words=1, loaded=0)
        x = bytes(8)
        assert await b.ask(Command.INFER, x) == (Code.PROGRAM, b"")
        b.state(loaded=1)
        assert await b.ask(Command.READ) == (Code.RESULT, b"")
        assert await b.ask(Command.INFER, x[1:]) == (Code.LENGTH, b"")
        assert await b.ask(Command.INFER, x + b"\0") == (Code.LENGTH, b"")
        assert await b.ask(Command.INFER, bytes(4)) == (Code.LENGTH, b"")
        assert await b.ask(Command.INFER) == (Code.LENGTH, b"")
        assert await b.ask(Command.STATUS, b"?") == (Code.LENGTH, b"")
        assert await b.ask(Command.READ, b"?") == (Code.LENGTH, b"")
        assert await b.ask(Command.LOAD, bytes(LOAD.size)) == (Code.LENGTH, b"")
        assert await b.ask(Command.LOAD) == (Code.LENGTH, b"")
        for command in (0, 5, 0x43, 0x7F):
            assert await b.ask(command) == (Code.COMMAND, b"")
        assert await b.ask(Command.INFER, bytes(SIZE + 1)) == (Code.OVERSIZED, b"")
        assert await b.ask(Command.LOAD, pack(LOAD, offset=7) + b"abc") == (Code.ORDER, b"")
        b.state(busy=1)
        assert await b.ask(Command.INFER, x) == (Code.BUSY, b"")
        b.state(busy=0, committing=1)
        assert await b.ask(Command.INFER, x) == (Code.BUSY, b"")
        b.state(committing=0)
        await b.offer(b"\x03\x09" + x + b"??")
        assert await b.response() == (RESPONSE_MARK, 0, Code.DAMAGED, b"")
        line = frame(b"\x01\x09")
        await b.offer(cobs.decode(line[:-1]), error=True)
        assert await b.response() == (RESPONSE_MARK, 0, Code.DAMAGED, b"")
        assert not b.x
        assert not b.image

    play(spec, script)


def test_load() -> None:
    async def script(b: Bench) -> None:
        b.load_ready = lambda: b.cycle % 4 != 1
        image = bytes(range(200)) * 2

        async def load(offset: int, end: int) -> tuple[Code, bytes]:
            return await b.ask(Command.LOAD, pack(LOAD, offset=offset) + image[offset:end])

        assert (await load(0, 100))[0] is Code.OK
        b.state(loading=1)
        code, body = await load(100, 300)
        assert code is Code.OK
        assert Status.from_bytes(body).taken == 300
        want = [(byte, int(place == 0)) for place, byte in enumerate(image[:300])]
        assert b.image == want
        # The same again, a gap, and an offset that differs in its highest byte only.
        for offset in (100, 299, 301, 300 + (1 << 24), 1 << 31):
            payload = pack(LOAD, offset=offset) + b"abc"
            assert await b.ask(Command.LOAD, payload) == (Code.ORDER, b"")
        assert b.image == want
        assert (await load(300, 400))[0] is Code.OK
        b.state(loading=0, error=LoadError.CRC, loaded=0, program=0)
        assert await b.ask(Command.LOAD, pack(LOAD, offset=400) + b"a") == (Code.ORDER, b"")
        assert (await load(0, 1))[0] is Code.OK
        assert b.image[-1] == (image[0], 1)
        assert len(b.image) == 401
        b.state(loading=1, committing=1, busy=1, program=0xDEADBEEF)
        code, body = await b.ask(Command.STATUS)
        assert code is Code.OK
        assert Status.from_bytes(body) == Status(
            version=PROTOCOL_VERSION,
            loaded=False,
            busy=True,
            loading=True,
            committing=True,
            error=LoadError.CRC,
            fingerprint=b.spec.fingerprint,
            max_payload=SIZE,
            clock=CLOCK,
            taken=1,
            program=0xDEADBEEF,
        )

    play(SPECS[1], script)


def test_load_discards_the_result() -> None:
    spec = SPECS[0]

    async def script(b: Bench) -> None:
        b.state(input_words=1, output_words=1)
        b.y = words(spec, 1, 3)
        b.y_go = lambda: bool(b.x)
        assert (await b.ask(Command.INFER, bytes(4)))[0] is Code.OK
        before = await b.ask(Command.READ)
        assert await b.ask(Command.LOAD, pack(LOAD, offset=9) + b"abc") == (Code.ORDER, b"")
        assert await b.ask(Command.READ) == before
        assert (await b.ask(Command.LOAD, pack(LOAD, offset=0) + b"abc"))[0] is Code.OK
        assert await b.ask(Command.READ) == (Code.RESULT, b"")

    play(spec, script)


def test_engine_that_gives_no_y() -> None:
    spec = SPECS[0]

    async def script(b: Bench) -> None:
        b.state(input_words=1, output_words=1)
        b.y = words(spec, 1, 3)
        b.y_go = lambda: bool(b.x)
        assert (await b.ask(Command.INFER, bytes(4)))[0] is Code.OK
        b.x.clear()
        assert await b.ask(Command.INFER, bytes(4)) == (Code.TIMEOUT, b"")
        # From x on; the bytes of the response follow.
        assert 0 < b.cycle - b.x[0][0] - (1 << LIMIT_BITS) <= 5 * RESPONSE.size
        assert len(b.x) == 1
        b.state(busy=1)
        assert await b.ask(Command.INFER, bytes(4)) == (Code.BUSY, b"")
        assert await b.ask(Command.READ) == (Code.RESULT, b"")
        b.y = words(spec, 1, 1)  # late: it belongs to nobody
        assert (await b.ask(Command.STATUS))[0] is Code.OK
        b.state(busy=0)
        y = words(spec, 1, 2)
        b.y = [*y]
        b.y_go = lambda: len(b.x) == 2
        code, body = await b.ask(Command.INFER, bytes(4))
        assert code is Code.OK
        assert unpack_words(body[RESULT.size :], spec).tolist() == y

    play(spec, script)


@pytest.mark.parametrize("command", [Command.INFER, Command.LOAD])
def test_engine_that_takes_nothing(command: Command) -> None:
    spec = SPECS[0]

    async def script(b: Bench) -> None:
        b.state(input_words=20, output_words=1)
        b.x_ready = b.load_ready = lambda: False
        request = bytes(LOAD.size) + bytes(range(LOAD.size, 80))  # 20 words, or 76 bytes from 0 on
        assert await b.ask(command, request) == (Code.TIMEOUT, b"")
        assert await b.ask(Command.INFER, bytes(80)) == (Code.BUSY, b"")
        assert await b.ask(Command.LOAD, bytes(80)) == (Code.BUSY, b"")
        assert (await b.ask(Command.STATUS))[0] is Code.OK
        b.x_ready = b.load_ready = lambda: True
        for _ in range(100):
            await b.tick()
        # What was given up arrives as it was sent, whatever came since.
        if command is Command.INFER:
            assert [word for _, word in b.x] == [[*request[at : at + 4]] for at in range(0, 80, 4)]
        else:
            assert bytes(byte for byte, _ in b.image) == request[LOAD.size :]
        assert (await b.ask(Command.LOAD, bytes(8)))[0] is Code.OK

    play(spec, script)


@pytest.mark.parametrize("command", [Command.INFER, Command.LOAD])
def test_what_was_given_up_ends_while_a_request_comes(command: Command) -> None:
    """The part of the request that came before is lost, and not answered with what was there."""
    spec = SPECS[0]
    old, new = bytes(LOAD.size) + bytes(range(LOAD.size, 80)), bytes(range(100, 180))
    want = [[*new[at : at + 4]] for at in range(0, 80, 4)]

    async def script(b: Bench) -> None:
        b.state(input_words=20, output_words=1)
        b.y_go = lambda: [word for _, word in b.x[-20:]] == want
        for cycles in range(0, 250, 30):  # a frame takes some 180
            b.x_ready = b.load_ready = lambda: False
            assert await b.ask(command, old) == (Code.TIMEOUT, b"")
            until = b.cycle + cycles
            b.x_ready = b.load_ready = lambda until=until: b.cycle >= until
            y = words(spec, 1, cycles)
            b.y = [*y]
            assert await b.ask(Command.INFER, new) == (Code.BUSY, b"")
            for _ in range(150):
                await b.tick()
            code, body = await b.ask(Command.INFER, new)
            assert code is Code.OK
            assert unpack_words(body[RESULT.size :], spec).tolist() == y
            b.x.clear()

    play(spec, script)


def test_y_larger_than_the_buffer() -> None:
    spec = SPECS[0]

    async def script(b: Bench) -> None:
        for count, code in ((64, Code.OK), (65, Code.LARGE), (129, Code.LARGE), (1, Code.OK)):
            b.state(input_words=1, output_words=count)
            b.x.clear()
            b.y = words(spec, count, 1)
            b.y_go = lambda: bool(b.x)
            got, body = await b.ask(Command.INFER, bytes(4))
            assert got is code
            assert (await b.ask(Command.READ))[0] is (Code.OK if code is Code.OK else Code.RESULT)
            if code is Code.OK:
                assert unpack_words(body[RESULT.size :], spec).tolist() == words(spec, count, 1)

    play(spec, script)


def test_check() -> None:
    """What is asked arrives once, the answer goes out, and READ still has its result."""
    spec = SPECS[0]

    async def script(b: Bench) -> None:
        b.state(input_words=1, output_words=1, program=0xCAFE)
        b.y = words(spec, 1, 3)
        b.y_go = lambda: bool(b.x)
        assert (await b.ask(Command.INFER, bytes(4)))[0] is Code.OK
        result = await b.ask(Command.READ)
        for number, (pe, count) in enumerate([(3, 0x123456), (255, 1), (0, 0)]):
            b.crcs = []
            since, wait = b.cycle, 40 * number
            b.check_ready = lambda since=since, wait=wait: b.cycle > since + 80 + wait
            crc = 0x89ABCDEF - number

            async def later(crc: int = crc, number: int = number) -> None:
                while len(b.checks) == number:
                    await b.tick()
                for _ in range(20):
                    await b.tick()
                    assert not b.answer
                b.crcs = [crc]

            line = frame(bytes([Command.CHECK, 70 + number]) + pack(CHECK, pe=pe, count=count))
            await b.offer(cobs.decode(line[:-1]))
            b.answer.clear()
            await later()
            got = await b.response()
            assert got == (Command.CHECK | RESPONSE_MARK, 70 + number, Code.OK, pack(CRC, crc=crc))
            assert b.checks[number:] == [(pe, count)]
            assert await b.ask(Command.READ, sequence=5) == result
            assert not b.crcs, "the answer was not taken"
            assert (await b.ask(Command.STATUS))[0] is Code.OK
        assert (await b.ask(Command.LOAD, pack(LOAD, offset=0) + b"abc"))[0] is Code.OK

    play(spec, script, checked=True)


def test_checks_that_are_refused() -> None:
    spec = SPECS[0]
    request = pack(CHECK, pe=1, count=2)

    async def script(b: Bench) -> None:
        b.check_ready = lambda: False
        b.state(input_words=1, output_words=1, loaded=0)
        assert await b.ask(Command.CHECK, request) == (Code.PROGRAM, b"")
        b.state(loaded=1)
        for flag in ("busy", "committing"):
            b.state(**{flag: 1})
            assert await b.ask(Command.CHECK, request) == (Code.BUSY, b"")
            b.state(**{flag: 0})
        for wrong in (b"", request[1:], request + b"?", bytes(SIZE)):
            assert await b.ask(Command.CHECK, wrong) == (Code.LENGTH, b"")
        for command in (0, 6, 0x45, 0x7F):
            assert await b.ask(command, request) == (Code.COMMAND, b"")
        assert not b.checks

    play(spec, script, checked=True)
