"""ActivationStore against two lists of words, cycle by cycle, in Amaranth's simulator."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.compare import expect
from secateur.bench.hostile import HOSTILE
from secateur.errors import CheckFailedError
from secateur.gateware.store import ActivationStore
from secateur.technology import Memory

if TYPE_CHECKING:
    from collections.abc import Container

    from secateur.engine import EngineSpec

__all__ = ["Program", "Stalls", "run_store"]

#: Cycles from a strobe until the word is there.
TO_WORD = Memory.LATENCY


class Stalls(NamedTuple):
    """Shares of the time in which something may happen."""

    x: float = 1  # a word of x is offered
    hidden: float = 1  # a word of a layer is offered
    take_x: float = 1
    take_hidden: float = 1
    open: float = 1


class Program(NamedTuple):
    """``inputs`` of ``words`` words; the next program's begin when they were read."""

    words: int
    inputs: int


def run_store(
    spec: EngineSpec,
    programs: list[Program],
    *,
    hidden: int = 0,
    stalls: Stalls | None = None,
    resets: Container[int] = (),
    time_out: int = 6000,
) -> tuple[int, int, int]:
    """Pass the programs' x and ``hidden`` words of layers; compare every output in every cycle.

    A reset empties both queues and breaks off an x; the same program goes on. Returns the cycles
    until everything was read, and the most words that stood in each queue.

    Raises
    ------
    CheckFailedError
        On the first difference, or if it is not done after ``time_out`` cycles.
    """
    share = stalls or Stalls()
    rng = random.Random(hidden)
    dut = ActivationStore(spec, technology=HOSTILE)
    reset = Signal()
    result = [0, 0, 0]

    def draw() -> list[int]:
        return [rng.getrandbits(spec.activation_width) for _ in range(spec.lanes)]

    async def bench(ctx: Any) -> None:
        queues: dict[str, deque[list[int]]] = {"x": deque(), "hidden": deque()}
        left = {"x": 0, "hidden": hidden}
        offered: dict[str, list[int] | None] = {"x": None, "hidden": None}
        waiting = iter(programs)
        words, position = 1, 0
        was_open = turn = False  # of the cycle before; x's turn to be taken
        completed = False
        shown: dict[int, list[int]] = {}
        for cycle in range(time_out):
            begun = position > 0 or bool(queues["x"])
            done = not begun and not left["x"] and not offered["x"]
            if done and not was_open:
                program = next(waiting, None)
                if program:
                    words = program.words
                    left["x"], done = max(1, program.words) * program.inputs, False
                elif not (left["hidden"] or offered["hidden"] or queues["hidden"] or shown):
                    return
            for kind in ("x", "hidden"):
                # What is offered stays until it is taken.
                if not offered[kind] and left[kind] and rng.random() < getattr(share, kind):
                    offered[kind] = draw()
                    left[kind] -= 1
                stream = getattr(dut, f"i_{kind}")
                ctx.set(stream.valid, offered[kind] is not None)
                ctx.set(stream.payload, offered[kind] or draw())
            open_ = not done and rng.random() < share.open
            kinds = ["x", "hidden"]
            rng.shuffle(kinds)
            take = next(
                (k for k in kinds if queues[k] and rng.random() < getattr(share, f"take_{k}")), None
            )
            ctx.set(dut.words, words)
            ctx.set(dut.open, open_)
            ctx.set(dut.read_hidden, take == "hidden" if take else rng.randrange(2))
            ctx.set(dut.take_x, take == "x")
            ctx.set(dut.take_hidden, take == "hidden")
            ctx.set(reset, cycle in resets)

            full = {kind: len(queue) == spec.activation_depth for kind, queue in queues.items()}
            may_hidden = not full["hidden"] and not turn
            waiting_x = offered["x"] is not None
            has_room = len(queues["x"]) + (waiting_x and turn) < spec.activation_depth
            waiting_hidden = offered["hidden"] is not None and not full["hidden"]
            want = {
                "begun": begun,
                "complete": completed,
                "x_there": bool(queues["x"]),
                "hidden_there": bool(queues["hidden"]),
            }
            for name, value in want.items():
                expect(bool(ctx.get(getattr(dut, name))), value, f"cycle {cycle}: {name}")
            expect(bool(ctx.get(dut.i_hidden.ready)), may_hidden, f"cycle {cycle}: i_hidden.ready")
            expect(bool(ctx.get(dut.i_x.ready)), turn, f"cycle {cycle}: i_x.ready")
            if word := shown.pop(cycle, None):
                got = [ctx.get(dut.word)[lane] for lane in range(spec.lanes)]
                expect(got, word, f"cycle {cycle}: word")
            if take:
                result[0] = cycle + 1
                shown[cycle + TO_WORD] = queues[take].popleft()
            await ctx.tick()

            completed, was_open = False, open_
            if offered["hidden"] and may_hidden:
                queues["hidden"].append(offered["hidden"])
                offered["hidden"] = None
            elif offered["x"] and turn:
                queues["x"].append(offered["x"])
                offered["x"] = None
                position += 1
                completed = position >= words
                position = 0 if completed else position
            turn = waiting_x and has_room and (open_ or position > 0) and not waiting_hidden
            if cycle in resets:
                position, completed, was_open, turn = 0, False, False, False
                for queue in queues.values():
                    queue.clear()
                offered = {"x": None, "hidden": None}
                shown.clear()
                left["x"] -= left["x"] % max(1, words)
            for index, queue in enumerate(queues.values(), 1):
                result[index] = max(result[index], len(queue))
        raise CheckFailedError(f"the words are not read after {time_out} cycles")

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return result[0], result[1], result[2]
