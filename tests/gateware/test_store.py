"""ActivationStore against two lists of words, cycle by cycle."""

from __future__ import annotations

import pytest

from secateur.bench.store import Program, Stalls, run_store
from secateur.engine import EngineSpec

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
    run_store(EngineSpec(**fields), programs, hidden=120, stalls=stalls)


@pytest.mark.parametrize("fields", SPECS.values(), ids=SPECS)
def test_full(fields: dict[str, int]) -> None:
    """Each queue holds ``activation_depth`` words, whatever is in the other one."""
    spec = EngineSpec(**fields)
    depth = spec.activation_depth
    for one in (0.2, 1):
        stalls = Stalls(take_x=0.2, take_hidden=one)
        assert run_store(spec, [Program(3, depth)], hidden=depth, stalls=stalls)[1] == depth
        stalls = Stalls(take_x=one, take_hidden=0.2)
        assert run_store(spec, [Program(3, depth)], hidden=3 * depth, stalls=stalls)[2] == depth


@pytest.mark.parametrize("words", [1, 2, 5, 16])
def test_throughput(words: int) -> None:
    """A word a cycle in and one out, inputs one behind the other; each a cycle after it came."""
    spec = EngineSpec(**SPECS["four"])
    assert run_store(spec, [Program(words, 8)]) == (1 + 8 * words + 1, 1, 0)
    assert run_store(spec, [], hidden=40) == (41, 0, 1)


def test_layers_go_first() -> None:
    """A word of x waits for those of a layer that have room, and a cycle more for its turn."""
    spec = EngineSpec(**SPECS["one"])
    assert run_store(spec, [Program(3, 2)], hidden=50)[0] == 50 + 1 + 6 + 1
    # Where they have none, x fills its own queue.
    stalls = Stalls(take_x=0.02, take_hidden=0.02)
    assert run_store(spec, [Program(3, 2)], hidden=20, stalls=stalls)[1:] == (4, 4)


def test_no_words_are_taken_as_one() -> None:
    """A program that says so is a bad one, but must not take x for ever."""
    run_store(
        EngineSpec(**SPECS["one"]), [Program(0, 3), Program(2, 2), Program(0, 1), Program(1, 2)]
    )


@pytest.mark.parametrize("again", [1, 2])
def test_reset(again: int) -> None:
    """It empties both queues, and the next word of x is the first of one."""
    resets = {cycle + more for cycle in range(9, 2000, 17) for more in range(again)}
    stalls = Stalls(x=0.8, hidden=0.3, take_x=0.5, take_hidden=0.5)
    programs = [Program(5, 20), Program(3, 20), Program(1, 20), Program(9, 20)]
    run_store(EngineSpec(**SPECS["four"]), programs, hidden=150, stalls=stalls, resets=resets)
