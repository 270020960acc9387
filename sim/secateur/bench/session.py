"""An engine in the Amaranth simulator, driven step by step and compared with both references."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.networks import random_network
from secateur.bench.stream import Sink, Source, pauses
from secateur.encode import encode, fit
from secateur.engine import EngineSpec
from secateur.format import LoadError
from secateur.gateware.engine import Engine
from secateur.network import Network
from secateur.program import Program
from secateur.reference import Reference

__all__ = [
    "Pair",
    "Session",
    "answers",
    "check",
    "delivered",
    "load_payloads",
    "pairs",
    "session",
    "x_payloads",
]


class Pair(NamedTuple):
    """A network and the program that it became."""

    network: Network
    program: Program


def load_payloads(image: bytes) -> list[dict[str, int]]:
    """Turn an image into payloads of the load stream."""
    return [{"data": byte, "first": index == 0} for index, byte in enumerate(image)]


def x_payloads(program: Program, x: Any) -> list[list[int]]:
    """Turn int64[inferences, inputs] into payloads of the x stream."""
    return program.arrange(x).reshape(-1, program.spec.lanes).tolist()


def answers(pair: Pair, x: Any) -> Any:
    """Compute y with both references, which agree: int64[inferences, output_words, lanes]."""
    reference = Reference(pair.program.spec)
    assert reference.load(pair.program.image) == LoadError.NONE
    words = reference.infer(pair.program.arrange(x))
    np.testing.assert_array_equal(pair.program.restore(words), pair.network.compute(x))
    return words


def delivered(program: Program, got: list[dict[str, Any]]) -> Any:
    """Collect y: int64[inferences, output_words, lanes]. Checks `last` on the way."""
    words = program.output_words
    assert [word["last"] for word in got] == [
        index % words == words - 1 for index in range(len(got))
    ]
    data = np.array([word["data"] for word in got], dtype=np.int64)
    return data.reshape(-1, words, program.spec.lanes)


def check(pair: Pair, x: Any, got: list[dict[str, Any]]) -> None:
    """Compare y with the references, exactly."""
    np.testing.assert_array_equal(delivered(pair.program, got), answers(pair, x))


class Taker(Sink):
    """A sink that looks at a payload only where there is one, which takes a third of the time.

    That valid and payload do not depend on ready is seen in `test_random_networks`.
    """

    def before(self, ctx: Any) -> None:
        """Be ready or not, without a look at the stream."""
        self.ready = next(self.go)
        ctx.set(self.stream.ready, self.ready)

    def after(self, valid: int, payload: Any) -> bool:
        """Take the payload if there is one; tell whether it was transferred."""
        assert valid or self.held is None, "o_y.valid was taken back before the transfer"
        return bool(valid) and super().after(valid, payload)


class Session:
    """An engine that is driven step by step, with sources that get more to send at any time.

    ``stalls`` is one of :data:`secateur.bench.stream.STALLS`, or the name of a stream that alone
    pauses at random.
    """

    def __init__(self, ctx: Any, dut: Engine, reset: Signal, *, stalls: str = "none") -> None:
        self.ctx, self.dut, self.spec, self._reset = ctx, dut, dut.spec, reset
        self.stalls = stalls
        self.seed = 0
        self.cycle = 0
        self.hold_y = False
        self._connect()

    def _connect(self) -> None:
        def go(name: str, kind: str) -> Any:
            return pauses(self.stalls in (name, kind, "both"), name, self.seed)

        def y_go() -> Any:
            for on in go("o_y", "sink"):
                yield on and not self.hold_y

        self.load = Source("i_load", self.dut.i_load, [], go("i_load", "source"))
        self.x = Source("i_x", self.dut.i_x, [], go("i_x", "source"))
        self.y = Taker("o_y", self.dut.o_y, 0, y_go())

    def status(self, name: str) -> int:
        """Look at a field of the engine's status."""
        return self.ctx.get(self.dut.status[name])

    async def step(self, cycles: int = 1) -> None:
        """Pass cycles, in which the streams move."""
        ends = (self.load, self.x, self.y)
        for _ in range(cycles):
            for end in ends:
                end.before(self.ctx)
            sampled = [*await self.ctx.tick().sample(*(s for end in ends for s in end.signals))][2:]
            for end in ends:
                end.after(*(sampled.pop(0) for _ in end.signals))
            self.cycle += 1

    async def until(self, condition: Any, time_out: int = 6000) -> None:
        """Pass cycles until the condition holds."""
        for _ in range(time_out):
            if condition():
                return
            await self.step()
        raise AssertionError("nothing happens any more")

    async def reset(self, cycles: int = 1) -> None:
        """Reset; what was offered is forgotten on both sides."""
        self.ctx.set(self._reset, 1)
        for _ in range(cycles):
            await self.ctx.tick()
        self.ctx.set(self._reset, 0)
        self.ctx.set(self.dut.i_load.valid, 0)
        self.ctx.set(self.dut.i_x.valid, 0)
        self.seed += 1
        self._connect()

    def send(self, image: bytes) -> None:
        """Offer an image."""
        self._append(self.load, load_payloads(image))

    def ask(self, program: Program, x: Any) -> None:
        """Offer inputs."""
        self._append(self.x, x_payloads(program, x))

    @staticmethod
    def _append(source: Source, payloads: list[Any]) -> None:
        """Offer more; `taken` counts from what was not taken before."""
        source.payloads = [*source.payloads[source.taken :], *payloads]
        source.taken = 0

    async def settle(self) -> None:
        """Wait until nothing is under way, and then for something that should not come."""

        def settled() -> bool:
            sent = self.load.finished and self.x.finished
            return sent and not self.status("busy") and not self.status("committing")

        # An image is checked after its last byte, and only then waits to be in use.
        for _ in range(2):
            await self.until(settled)
            await self.step(30)

    def take(self) -> list[dict[str, Any]]:
        """Return what has been delivered, once."""
        got, self.y.got = self.y.got, []
        return got

    async def infer(self, pair: Pair, x: Any) -> None:
        """Ask for inferences and compare all that comes."""
        self.ask(pair.program, x)
        await self.settle()
        check(pair, x, self.take())


def session(dut: Engine, body: Any, *, stalls: str = "none") -> None:
    """Run ``body(session)``."""
    reset = Signal()

    async def testbench(ctx: Any) -> None:
        await body(Session(ctx, dut, reset, stalls=stalls))

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def pairs(
    count: int,
    lengths: tuple[int, ...],
    *,
    seed: int = 0,
    codebook: bool = False,
    code_widths: tuple[int, ...] = (),
    **fields: int,
) -> list[Pair]:
    """Make programs for one engine that take the same x and give y of the same length."""
    networks: list[Network] = []
    largest: dict[str, int] = {}
    while len(networks) < count:
        network = random_network(
            seed, lengths, density=0.7, codebook=codebook, code_widths=code_widths
        )
        seed += 1
        # Dead inputs would not be sent.
        used = (network.layers[0].weights != 0).any(axis=0).all()
        if not used or (networks and network.layers[0].input != networks[0].layers[0].input):
            continue
        networks.append(network)
        for name, value in fit(network, **fields).to_dict().items():  # pyright: ignore[reportArgumentType]
            largest[name] = max(value, largest.get(name, 0))
    spec = EngineSpec(**largest)
    made = [Pair(network, encode(network, spec)) for network in networks]
    assert len({pair.program.input_words for pair in made}) == 1
    return made
