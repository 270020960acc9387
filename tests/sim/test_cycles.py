"""The cycle model against the engine in the Amaranth simulator, and against sums by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from amaranth.sim import Simulator

from secateur.bench.networks import random_inputs, random_network
from secateur.cycles import START, model, scan_cycles
from secateur.encode import encode, fit
from secateur.instrument import InstrumentedEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.network import Network
    from secateur.program import Program


class Measured(NamedTuple):
    """What the counters say after each inference."""

    latency: list[int]
    cycles: NDArray[np.int64]  # [inferences, layers]
    draining: NDArray[np.int64]
    blocked: NDArray[np.int64]
    broadcasts: NDArray[np.int64]
    multiplications: NDArray[np.int64]  # [inferences, layers, pes]


def measure(program: Program, x: NDArray[np.int64], *, together: bool = False) -> Measured:
    """Load a program and run inferences, one by one or, with ``together``, without a gap.

    The latency counts from the first word of x, or from the last y before it, to the last of y.
    """
    layers, pes = len(program.layers), program.spec.pes
    dut = InstrumentedEngine(program.spec, layers=layers)
    latency: list[int] = []
    counts: list[Any] = []

    def count(ctx: Any) -> list[list[int]]:
        return [
            [
                *(ctx.get(dut.counters[n][name]) for name in Measured._fields[1:5]),
                *(ctx.get(dut.counters[n].multiplications[pe]) for pe in range(pes)),
            ]
            for n in range(layers)
        ]

    async def bench(ctx: Any) -> None:
        ctx.set(dut.o_y.ready, 1)
        for index, byte in enumerate(program.image):
            ctx.set(dut.i_load.payload, {"data": byte, "first": index == 0})
            ctx.set(dut.i_load.valid, 1)
            ready = 0
            while not ready:
                (ready,) = (await ctx.tick().sample(dut.i_load.ready))[2:]
        ctx.set(dut.i_load.valid, 0)
        while not ctx.get(dut.status.loaded):
            assert not ctx.get(dut.status.error)
            await ctx.tick()
        await ctx.tick().repeat(4 * layers)
        counts.append(count(ctx))
        words = program.arrange(x).reshape(-1, program.spec.lanes).tolist()
        begun: int | None = None
        taken = 0
        for cycle in range(100_000):
            # One input after the other: the next begins some cycles after the last y.
            most = len(words) if together else (len(latency) + 1) * program.input_words
            offered = taken < most
            ctx.set(dut.i_x.valid, offered)
            ctx.set(dut.i_x.payload, words[taken] if offered else words[0])
            sampled = await ctx.tick().sample(dut.i_x.ready, dut.o_y.valid, dut.o_y.payload.last)
            ready, valid, last = sampled[2:]
            if offered and ready:
                begun = cycle if begun is None else begun
                taken += 1
            if valid and last:
                assert begun is not None
                latency.append(cycle + 1 - begun)
                begun = cycle + 1 if together else None
                if not together:
                    ctx.set(dut.i_x.valid, 0)
                    await ctx.tick().repeat(3)
                    counts.append(count(ctx))
                if len(latency) == len(x):
                    return
        raise AssertionError("the engine never ends")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    # [inferences, layers, counters]; empty with `together`.
    differences = np.diff(np.array(counts, dtype=np.int64), axis=0)
    cycles, draining, blocked, broadcasts = np.moveaxis(differences[..., :4], -1, 0)
    return Measured(latency, cycles, draining, blocked, broadcasts, differences[..., 4:])


def program_for(
    seed: int, lengths: tuple[int, ...], density: float, **fields: int
) -> tuple[Network, Program]:
    network = random_network(seed, lengths, density=density, codebook=bool(fields.pop("book", 0)))
    spec = fit(network, **fields)  # pyright: ignore[reportArgumentType]
    return network, encode(network, spec)


CASES = [
    pytest.param((20, 17, 9, 5), 0.3, {"pes": 1}, id="one PE"),
    pytest.param((20, 17, 9, 5), 0.3, {"pes": 2, "book": 1}, id="codebook"),
    pytest.param((20, 17, 9, 5), 0.1, {"pes": 3, "index_width": 1}, id="padding"),
    pytest.param((30, 28, 6), 0.8, {"pes": 4, "queue_depth": 4}, id="full queues"),
    pytest.param((30, 28, 6), 1, {"pes": 8, "queue_depth": 4}, id="dense"),
    pytest.param((9, 3, 1), 0.5, {"pes": 8, "lanes": 1}, id="more PEs than rows"),
    pytest.param((1, 1), 1, {"pes": 1}, id="smallest"),
    pytest.param((25, 2, 25), 0.4, {"pes": 4, "lanes": 2, "banks": 1}, id="one bank"),
]


@pytest.mark.parametrize(("lengths", "density", "fields"), CASES)
def test_measured_equals_modelled(
    lengths: tuple[int, ...], density: float, fields: dict[str, int]
) -> None:
    """Every latency, every layer's cycles and every PE's multiplications, exactly."""
    network, program = program_for(len(lengths) + fields["pes"], lengths, density, **fields)
    x = random_inputs(1, network, 5)
    x[-1] = network.layers[0].input.highest
    latency, layers = model(program, network, x)
    got = measure(program, x)
    assert got.latency == latency.tolist()
    assert got.cycles.T.tolist() == [layer.cycles.tolist() for layer in layers]
    for index, layer in enumerate(layers):
        assert got.multiplications[:, index].tolist() == layer.multiplications.tolist()
        np.testing.assert_array_equal(layer.ideal, got.multiplications[:, index].mean(axis=1))

    # What the counters say beside it, from the network alone.
    orders = [program.input_order, *(layer.order for layer in program.layers)]
    for index, activations in enumerate(network.activations(x)[:-1]):
        active = activations[:, orders[index]] != 0
        assert got.broadcasts[:, index].tolist() == active.sum(axis=1).tolist()
        useful = active.astype(int) @ (
            network.layers[index].weights[orders[index + 1], :][:, orders[index]] != 0
        ).T.astype(int)
        assert got.multiplications[:, index].sum(axis=1).tolist() == useful.sum(axis=1).tolist()
        words = -(-len(orders[index + 1]) // program.spec.lanes)
        assert set(got.draining[:, index].tolist()) == {6 + words}
    # Otherwise the cases named after it would not reach what they are for.
    if fields.get("queue_depth") == 4:
        assert got.blocked.sum() > 0


@pytest.mark.parametrize("pes", [1, 4])
def test_inputs_without_a_gap(pes: int) -> None:
    """The next input is taken in meanwhile: from y to y only the layers count, and the start."""
    network, program = program_for(3, (10, 12, 6), 0.6, pes=pes)
    x = random_inputs(2, network, 6)
    _, layers = model(program, network, x)
    sums = np.sum([layer.cycles for layer in layers], axis=0)
    got = measure(program, x, together=True)
    assert got.latency[1:] == (sums[1:] + START).tolist()


def test_scan_by_hand() -> None:
    """One layer's cycles, where no queue is involved: as the table in `docs/engine.md` says."""
    on, off = np.ones((1, 1, 1), dtype=bool), np.zeros((1, 7, 2), dtype=bool)
    ones = np.ones((14, 1), dtype=np.int64)
    # 3 to the first broadcast, 4 to the first address, 6 from it on.
    assert scan_cycles(ones[:1], on, 8).tolist() == [3 + 4 + 6]
    assert scan_cycles(9 * ones[:1], on, 8).tolist() == [3 + 4 + 8 + 6]
    # Not an entry anywhere.
    assert scan_cycles(0 * ones[:1], on, 8).tolist() == [3 + 5]
    # Seven words of zeros: the last one is passed, and that is known in the next cycle.
    assert scan_cycles(ones, off, 8).tolist() == [3 + 6 + 2]
    # A word with one activation, six without.
    off[0, 0, 1] = True
    assert scan_cycles(ones, off, 8).tolist() == [max(3 + 4 + 6, 3 + 6 + 2)]
