# amaranth: UnusedElaboratable=no
"""The cycle model and the counters against the engine in the Amaranth simulator, and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.bench.networks import random_inputs, random_network
from secateur.cycles import followed, model
from secateur.encode import encode, fit
from secateur.fixed import NumberFormat, Requant
from secateur.format import Section
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.column import ColumnQueue
from secateur.gateware.pe import ProcessingElement
from secateur.gateware.rows import drain_latencies
from secateur.gateware.walk import Walker
from secateur.image import read_image
from secateur.instrument import STATES, InstrumentedEngine
from secateur.network import Layer, Network
from secateur.words import streams_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.program import Program

#: Cycles after which an engine that gives no y is stuck.
PATIENCE = 20_000
#: Cycles between the last y and the next x, where inputs run alone.
PAUSE = 7


class Measured(NamedTuple):
    """What an engine did."""

    begun: NDArray[np.int64]  # [inferences], cycle of the first word of x
    ended: NDArray[np.int64]  # [inferences], cycle of the last word of y
    # What was counted for each inference, or for all of them where they follow each other.
    layers: NDArray[np.int64]  # [inferences, layers, 5]: cycles, three states, broadcasts
    multiplications: NDArray[np.int64]  # [inferences, layers, pes]
    padding: NDArray[np.int64]  # likewise
    busy: NDArray[np.int64]  # [inferences]
    idle: NDArray[np.int64]  # [inferences, states]


def measure(program: Program, x: NDArray[np.int64], *, together: bool = False) -> Measured:
    """Run inferences alone or, with ``together``, without a gap."""
    layers = len(program.layers)
    dut = InstrumentedEngine(program.spec, layers=layers, program=program)
    words = program.arrange(x).reshape(-1, program.spec.lanes).tolist()
    begun: list[int] = []
    ended: list[int] = []
    counts: list[Any] = []

    async def settle(ctx: Any) -> None:
        for _ in range(PATIENCE):
            if not (ctx.get(dut.status.busy) or ctx.get(dut.status.committing)):
                return
            await ctx.tick()
        raise AssertionError("the engine never rests")

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o_y.ready, 1)
        await ctx.tick()
        await settle(ctx)
        counts.append(ctx.get(dut.counters))
        taken = 0
        cycle = 0
        while len(ended) < len(x):
            most = len(words) if together else (len(ended) + 1) * program.input_words
            offered = taken < most
            ctx.set(dut.i_x.valid, offered)
            ctx.set(dut.i_x.payload, words[taken if offered else 0])
            sampled = await ctx.tick().sample(dut.i_x.ready, dut.o_y.valid, dut.o_y.payload.last)
            ready, valid, last = sampled[2:]
            if offered and ready:
                begun.extend([cycle] * (taken % program.input_words == 0))
                taken += 1
            cycle += 1
            assert cycle < PATIENCE
            if valid and last:
                ended.append(cycle - 1)
                if not together or len(ended) == len(x):
                    ctx.set(dut.i_x.valid, 0)
                    await settle(ctx)
                    await ctx.tick().repeat(PAUSE)
                    cycle += PAUSE
                    counts.append(ctx.get(dut.counters))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    def since(get: Any) -> NDArray[np.int64]:
        return np.diff(np.array([get(count) for count in counts], dtype=np.int64), axis=0)

    names = ("cycles", *STATES[:-1], "broadcasts")
    return Measured(
        begun=np.array(begun),
        ended=np.array(ended),
        layers=since(lambda c: [[c.layers[n][name] for name in names] for n in range(layers)]),
        multiplications=since(lambda c: [[*c.layers[n].multiplications] for n in range(layers)]),
        padding=since(lambda c: [[*c.layers[n].padding] for n in range(layers)]),
        busy=since(lambda c: c.busy),
        idle=since(lambda c: [c.idle[state] for state in STATES]),
    )


def counted(network: Network, program: Program, x: NDArray[np.int64]) -> tuple[Any, Any, Any]:
    """Broadcasts [inputs, layers], products and padding [inputs, layers, pes]: sums by hand."""
    spec = program.spec
    streams = streams_in(spec, read_image(spec, program.image))
    orders = [program.input_order, *(layer.order for layer in program.layers)]
    broadcasts, products, padding = [], [], []
    for index, activations in enumerate(network.activations(x)[:-1]):
        active = activations[:, orders[index]] != 0
        broadcasts.append(active.sum(axis=1))
        useful = np.zeros((len(x), spec.pes), dtype=np.int64)
        matrix = network.layers[index].weights[orders[index + 1], :][:, orders[index]]
        for row, weights in enumerate(matrix):
            for column in np.flatnonzero(weights):
                pe = row % spec.groups * spec.lanes + column % spec.lanes
                useful[:, pe] += active[:, column]
        products.append(useful)
        entries = np.zeros_like(useful)
        for pe, counts in enumerate(streams[index].counts):
            lane = active[:, pe % spec.lanes :: spec.lanes]
            entries[:, pe] = lane @ counts[: lane.shape[1]]
        padding.append(entries - useful)
    return np.stack(broadcasts, 1), np.stack(products, 1), np.stack(padding, 1)


def program_for(
    seed: int, lengths: tuple[int, ...], density: float, **fields: int
) -> tuple[Network, Program]:
    network = random_network(seed, lengths, density=density, codebook=bool(fields.pop("book", 0)))
    return network, encode(network, fit(network, **fields))  # pyright: ignore[reportArgumentType]


ONE, TWO = {"accumulator_memories": 1}, {"accumulator_memories": 2}
CASES = [
    pytest.param((20, 17, 9, 5), 0.3, {"pes": 1, **ONE}, id="one PE"),
    pytest.param((20, 17, 9, 5), 0.3, {"pes": 2, "lanes": 2, **TWO}, id="two lanes"),
    pytest.param((20, 17, 9, 5), 0.3, {"pes": 2, "lanes": 1, "book": 1, **TWO}, id="codebook"),
    pytest.param((20, 40, 9, 5), 0.1, {"pes": 3, "index_width": 1, "jobs": 4}, id="padding"),
    pytest.param((90, 28, 6), 0.8, {"pes": 4, "queue_depth": 4, "jobs": 4, **ONE}, id="full"),
    pytest.param((90, 28, 6), 1, {"pes": 8, "lanes": 4, "queue_depth": 4, **TWO}, id="dense"),
    pytest.param((40, 60, 20), 0.1, {"pes": 8, "lanes": 8, "jobs": 4, **ONE}, id="eight lanes"),
    pytest.param((40, 60, 20), 0.1, {"pes": 12, "lanes": 4, "jobs": 2, **ONE}, id="12 PEs"),
    pytest.param((60, 90, 20, 30), 0.2, {"pes": 16, "jobs": 4, "book": 1, **ONE}, id="16 PEs"),
    pytest.param((60, 90, 20, 30), 0.2, {"pes": 16, "lanes": 8, "jobs": 8, **TWO}, id="16 by 8"),
    pytest.param((9, 3, 1), 0.5, {"pes": 8, "lanes": 1, "jobs": 2}, id="more PEs than rows"),
    pytest.param((25, 2, 25), 0.4, {"pes": 4, "lanes": 2, "banks": 1, **ONE}, id="one bank"),
    pytest.param((40, 60, 20), 0.3, {"pes": 4, "jobs": 1, **ONE}, id="one job"),
    pytest.param((60, 9), 0.3, {"pes": 2, "jobs": 4, "activation_depth": 4}, id="x waits"),
    pytest.param((1, 1), 1, {"pes": 1}, id="smallest"),
    pytest.param((1, 1, 1, 1, 1), 1, {"pes": 1, "jobs": 8}, id="deep"),
]


@pytest.mark.parametrize(("lengths", "density", "fields"), CASES)
def test_measured_equals_modelled(
    lengths: tuple[int, ...], density: float, fields: dict[str, int]
) -> None:
    """Every latency, every layer's cycles, every y of inputs that follow each other, exactly."""
    network, program = program_for(len(lengths) + fields["pes"], lengths, density, **fields)
    x = random_inputs(1, network, 7)
    x[-1] = network.layers[0].input.highest
    broadcasts, products, padding = counted(network, program, x)
    words = [-(-count // program.spec.lanes) for count in map(len, _orders(program)[:-1])]

    latency, layers = model(program, network, x)
    alone = measure(program, x)
    assert (alone.ended - alone.begun + 1).tolist() == latency.tolist()
    assert alone.layers[:, :, 0].T.tolist() == [layer.cycles.tolist() for layer in layers]
    for index, layer in enumerate(layers):
        assert layer.multiplications.tolist() == products[:, index].tolist()
        np.testing.assert_array_equal(layer.ideal, products[:, index].mean(axis=1))
    # A walk begins when the one before has ended, and every word is passed once.
    assert (alone.layers[:, :, 1] == words).all()
    assert (alone.layers[:, :, 1:4].sum(axis=2) < alone.layers[:, :, 0]).all()
    # The engine knows of x a cycle after it has come, of the last y two cycles after it has gone.
    assert alone.busy.tolist() == (latency + 1).tolist()

    together = measure(program, x, together=True)
    ended = followed(program, network, x)
    assert (together.ended - together.begun[0] + 1).tolist() == ended.tolist()
    assert together.layers[0, :, 1].tolist() == [len(x) * count for count in words]

    for got, axis in ((alone, False), (together, True)):
        want = [
            each.sum(axis=0)[None] if axis else each for each in (broadcasts, products, padding)
        ]
        np.testing.assert_array_equal(got.layers[:, :, 4], want[0])
        np.testing.assert_array_equal(got.multiplications, want[1])
        np.testing.assert_array_equal(got.padding, want[2])
        # Every cycle of every PE is one of these.
        pe_cycles = sum(each.sum(axis=(1, 2)) for each in want[1:]) + got.idle.sum(axis=1)
        np.testing.assert_array_equal(pe_cycles, got.busy * program.spec.pes)

    # Otherwise the cases named after it would not reach what they are for.
    if fields.get("queue_depth") == 4:
        assert alone.layers[:, :, 2].sum() > 0
    if fields.get("index_width") == 1:
        assert padding.sum() > 0
    if fields["pes"] > 1 and len(lengths) > 2 and program.spec.jobs > 1:
        assert ended[-1] < latency.sum()


def _orders(program: Program) -> list[tuple[int, ...]]:
    return [program.input_order, *(layer.order for layer in program.layers)]


def column(
    rows: int, columns: int, *, book: bool = False, **fields: int
) -> tuple[Network, Program]:
    """A layer of ones, on one PE with one lane."""
    kind = NumberFormat(width=8, signed=False)
    layer = Layer(
        name="ones",
        weights=np.ones((rows, columns), dtype=np.int64),
        bias=np.zeros(rows, dtype=np.int64),
        weight_width=8,
        input=kind,
        requant=Requant(shift=0, output=kind, relu=False),
        codebook=np.array([0, 1, 2, 3]) if book else None,
    )
    network = Network(name="ones", layers=(layer,))
    return network, encode(network, fit(network, pes=1, **fields))


def shortest(program: Program) -> int:
    """Cycles of one layer of one word, one entry and one row."""
    return (
        # x is there; its job is chosen and read from the table; it is walked.
        (1 + 4 + 1)
        # Its columns are queued and taken; its products are stored, and all know.
        + (Walker.LATENCY + ColumnQueue.LATENCY)
        + (1 + ProcessingElement.latency(program.spec) + Accumulator.LATENCY + 3)
        # The drain reads the table; the rows are read, added and requantised.
        + (3 + 1 + drain_latencies(program.spec)["o"])
        # They wait; both ends count.
        + (2 + 1)
    )


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_by_hand(count: int) -> None:
    """One layer's cycles, where nothing waits for anything."""
    # Entries that follow each other, and as many rows to drain.
    network, program = column(count, 1)
    x = np.ones((1, 1), dtype=np.int64)
    assert model(program, network, x)[0].tolist() == [shortest(program) + 2 * (count - 1)]
    # Columns that follow each other, whatever is in them.
    network, program = column(1, count)
    x = np.ones((1, count), dtype=np.int64)
    assert model(program, network, x)[0].tolist() == [shortest(program) + count - 1]
    assert model(program, network, 0 * x)[0].tolist() == [shortest(program) + count - 1]
    # With a codebook, a cycle more for a weight, and for a row that is drained.
    network, coded = column(1, count, book=True)
    assert shortest(coded) == shortest(program) + 2
    assert model(coded, network, x)[0].tolist() == [shortest(coded) + count - 1]


@pytest.mark.parametrize(("memories", "drain"), [(2, 0), (1, 30)])
def test_steady_state_by_hand(memories: int, drain: int) -> None:
    """Where a layer has many entries for each word, only they and the slots drained count."""
    network, program = column(30, 20, accumulator_memories=memories)
    x = np.ones((6, 20), dtype=np.int64)
    assert np.diff(followed(program, network, x)).tolist() == [600 + drain] * 5


def test_inputs_beside_each_other_do_not_matter() -> None:
    """The model of an input is the same whichever others are modelled at once."""
    network, program = program_for(3, (30, 40, 10), 0.3, pes=4)
    x = random_inputs(2, network, 9)
    latency, layers = model(program, network, x)
    for index in range(len(x)):
        alone, its_layers = model(program, network, x[index : index + 1])
        assert alone[0] == latency[index]
        assert [layer.cycles[0] for layer in its_layers] == [
            layer.cycles[index] for layer in layers
        ]
    assert followed(program, network, x[:1])[0] == latency[0]
    assert read_image(program.spec, program.image)[Section.LAYERS, 0]["last"].tolist() == [0, 1]
