"""Pool against ``secateur.convolution.Pool``, in Amaranth's simulator."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.gateware.maps.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secateur.convolution import Pool as PoolSpec
    from secateur.engine import EngineSpec

__all__ = ["run_map_pool"]


def run_map_pool(
    spec: EngineSpec,
    cases: Sequence[tuple[PoolSpec, bool, int]],
    *,
    windows: int = 3,
    source: float = 1,
    move: float = 1,
    seed: int = 1,
) -> int:
    """Pool ``windows`` windows of each case; return how many activations were compared.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    cases : sequence of (secateur.convolution.Pool, bool, int)
        Pooling, whether activations are two's complement, and cycles that a position's rows take.
    windows : int
        One behind the other.
    source, move : float
        Shares of the cycles in which rows come, and in which everything goes on.
    seed : int
        Of activations and pauses.

    Raises
    ------
    CheckFailedError
        On the first difference.
    """
    dut = Pool(spec)
    rng, values = random.Random(seed), np.random.default_rng(seed)
    compared = 0

    def drawn(signed: bool, shape: tuple[int, ...]) -> Any:
        """Draw activations, in half of the windows the lowest, the highest or both."""
        low = -1 << (spec.activation_width - 1) if signed else 0
        high = low + (1 << spec.activation_width) - 1
        ends = np.where(values.random(shape) < rng.choice((0, 0.5, 1)), low, high)
        return np.where(rng.random() < 0.5, ends, values.integers(low, high + 1, shape))

    async def pool(ctx: Any, kind: PoolSpec, signed: bool, rows: int) -> None:
        nonlocal compared
        lanes, mask = spec.drain_lanes, (1 << spec.activation_width) - 1
        count = math.prod(kind.size)
        ctx.set(dut.average, kind.kind == "average")
        ctx.set(dut.shift, count.bit_length() - 1 if kind.kind == "average" else 0)
        ctx.set(dut.output_signed, signed)
        parts = [drawn(signed, (rows, lanes, *kind.size)) for _ in range(windows)]
        want = [kind.compute(part)[:, :, 0, 0] & mask for part in parts]
        sent = deque(
            ((part[row].reshape(lanes, -1)[:, at] & mask).tolist(), row, at == 0, window)
            for window, part in enumerate(parts)
            for at in range(count)
            for row in range(rows)
        )
        # What stands in the pipeline: the window whose row is on its way, or nothing.
        inside: deque[tuple[int, int] | None] = deque([None] * Pool.LATENCY)
        last = (count - 1) * rows
        passed = 0
        for cycle in range(100 * len(sent) + 100):
            if not sent and not any(inside):
                return
            moves, comes = rng.random() < move, bool(sent) and rng.random() < source
            # Without `move` nothing counts, and nothing else where it is not valid.
            garbage = [rng.randrange(mask + 1) for _ in range(lanes)], rng.randrange(rows), 1, 0
            activations, row, first, window = sent[0] if comes else garbage
            ctx.set(dut.i, activations)
            ctx.set(dut.index, row)
            ctx.set(dut.first, first)
            ctx.set(dut.valid, comes)
            ctx.set(dut.move, moves)
            if out := inside[0]:
                got = [ctx.get(dut.o)[lane] for lane in range(lanes)]
                expect(got, want[out[0]][out[1]].tolist(), f"cycle {cycle}: window {out[0]}")
                compared += lanes * moves
            await ctx.tick()
            if moves:
                inside.popleft()
                ends = comes and passed % (count * rows) >= last
                inside.append((window, row) if ends else None)
                passed += comes
                if comes:
                    sent.popleft()
        raise AssertionError("the rows are never passed")

    async def bench(ctx: Any) -> None:
        for kind, signed, rows in cases:
            await pool(ctx, kind, signed, rows)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return compared
