"""ActivationStore against two lists of words, cycle by cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from secateur.bench.hostile import HOSTILE
from secateur.engine import EngineSpec
from secateur.gateware.store import ActivationStore
from secateur.technology import Memory

if TYPE_CHECKING:
    from collections.abc import Container

#: Cycles from a strobe until the word is there.
TO_WORD = Memory.LATENCY
#: Cycles from new `words` until an x of so many may begin.
TO_OPEN = 2


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


def run(
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
                assert ctx.get(getattr(dut, name)) == value, f"cycle {cycle}: {name}"
            assert ctx.get(dut.i_hidden.ready) == may_hidden, f"cycle {cycle}: i_hidden"
            assert ctx.get(dut.i_x.ready) == turn, f"cycle {cycle}: i_x"
            if word := shown.pop(cycle, None):
                got = [ctx.get(dut.word)[lane] for lane in range(spec.lanes)]
                assert got == word, f"cycle {cycle}: {got}, not {word}"
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
        raise AssertionError(f"not done after {time_out} cycles")

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return result[0], result[1], result[2]


SPECS = {
    "one": {"pes": 1, "lanes": 1, "activation_depth": 4},
    "four": {"pes": 4, "lanes": 4, "activation_depth": 8},
    "large": {"pes": 2, "lanes": 2, "activation_depth": 64, "activation_width": 12},
}


@pytest.mark.parametrize(
    "stalls",
    [
        Stalls(),
        Stalls(x=0.5, hidden=0.3),
        Stalls(hidden=0.4, take_x=0.4, take_hidden=0.5),
        Stalls(x=0.7, hidden=0.2, take_x=0.6, take_hidden=0.6),
        Stalls(hidden=0.3, open=0.1),
    ],
    ids=["none", "source", "sink", "both", "open"],
)
@pytest.mark.parametrize("fields", SPECS.values(), ids=SPECS)
def test_order_is_kept_and_nothing_lost(fields: dict[str, int], stalls: Stalls) -> None:
    """Inputs of several programs, shorter and longer than the queue, beside words of layers."""
    programs = [Program(7, 6), Program(1, 5), Program(20, 2), Program(2, 6), Program(1, 1)]
    run(EngineSpec(**fields), programs, hidden=120, stalls=stalls)


@pytest.mark.parametrize("fields", SPECS.values(), ids=SPECS)
def test_full(fields: dict[str, int]) -> None:
    """Each queue holds ``activation_depth`` words, whatever is in the other one."""
    spec = EngineSpec(**fields)
    depth = spec.activation_depth
    for one in (0.2, 1):
        stalls = Stalls(take_x=0.2, take_hidden=one)
        assert run(spec, [Program(3, depth)], hidden=depth, stalls=stalls)[1] == depth
        stalls = Stalls(take_x=one, take_hidden=0.2)
        assert run(spec, [Program(3, depth)], hidden=3 * depth, stalls=stalls)[2] == depth


@pytest.mark.parametrize("words", [1, 2, 5, 16])
def test_throughput(words: int) -> None:
    """A word a cycle in and one out, inputs one behind the other; each a cycle after it came."""
    spec = EngineSpec(**SPECS["four"])
    assert run(spec, [Program(words, 8)]) == (1 + 8 * words + 1, 1, 0)
    assert run(spec, [], hidden=40) == (41, 0, 1)


def test_layers_go_first() -> None:
    """A word of x waits for those of a layer that have room, and a cycle more for its turn."""
    spec = EngineSpec(**SPECS["one"])
    assert run(spec, [Program(3, 2)], hidden=50)[0] == 50 + 1 + 6 + 1
    # Where they have none, x fills its own queue.
    stalls = Stalls(take_x=0.02, take_hidden=0.02)
    assert run(spec, [Program(3, 2)], hidden=20, stalls=stalls)[1:] == (4, 4)


def test_no_words_are_taken_as_one() -> None:
    """A program that says so is a bad one, but must not take x for ever."""
    run(EngineSpec(**SPECS["one"]), [Program(0, 3), Program(2, 2), Program(0, 1), Program(1, 2)])


@pytest.mark.parametrize("again", [1, 2])
def test_reset(again: int) -> None:
    """It empties both queues, and the next word of x is the first of one."""
    resets = {cycle + more for cycle in range(9, 2000, 17) for more in range(again)}
    stalls = Stalls(x=0.8, hidden=0.3, take_x=0.5, take_hidden=0.5)
    programs = [Program(5, 20), Program(3, 20), Program(1, 20), Program(9, 20)]
    run(EngineSpec(**SPECS["four"]), programs, hidden=150, stalls=stalls, resets=resets)
