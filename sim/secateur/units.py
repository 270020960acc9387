# amaranth: UnusedElaboratable=no
"""The units of the cycle model: processing elements and drain, counts for values.

Every unit holds its registers as arrays, one row for each of some engines that run side by side,
and ``step`` takes them from one cycle to the next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from secateur.gateware.accumulate import Accumulator
from secateur.gateware.column import in_flight
from secateur.gateware.maps.walk import MapWalker
from secateur.gateware.pe import ProcessingElement
from secateur.gateware.rows import drain_latencies, drain_room, drain_rounds
from secateur.gateware.walk import Walker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.engine import EngineSpec

__all__ = ["Drains", "Hold", "ProcessingElements", "Visit", "Work", "to_ended"]

#: An element of a queue: the entries of a column in the low bits, then the job's end and its tag.
COUNT, END, TAG = (1 << 13) - 1, 1 << 13, 14
#: Cycles from a column's entering a queue to the earliest in which a sequencer takes it: the queue,
#: and its output register.
IN_QUEUE = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What a program and inputs give some engines to do.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    source_words, rows_words, bases : int64[layers]
        As in the layer table; where a layer's columns begin.
    counts : int32[words, groups, lanes]
        Entries of every PE in the columns of each word.
    active : bool[engines, inputs, words, lanes]
        Whether an activation is not zero.
    """

    spec: EngineSpec
    source_words: NDArray[np.int64]
    rows_words: NDArray[np.int64]
    bases: NDArray[np.int64]
    counts: NDArray[np.int32]
    active: NDArray[np.bool_]


class Visit(NamedTuple):
    """Words read in one cycle, by some of the engines: one element of each array for each."""

    engine: NDArray[np.int64]
    input: NDArray[np.int64]
    word: NDArray[np.int64]  # of the columns
    tag: NDArray[np.int64]
    end: NDArray[np.bool_]


class Hold(NamedTuple):
    """Which accumulators are left alone: bool[engines], and the tag of the job drained."""

    valid: NDArray[np.bool_]
    tag: NDArray[np.int64]


def to_ended(spec: EngineSpec) -> int:
    """Cycles from the last address of a job in a PE to that in which the control knows of it.

    They are those of the pipeline, the PE's bit, and the register in which those of all PEs meet.
    """
    return ProcessingElement.latency(spec) + Accumulator.LATENCY + 2


def _memory_of(spec: EngineSpec, tag: NDArray[np.int64]) -> NDArray[np.int64]:
    """Say in which memory a tag's accumulators lie, as ``secateur.gateware.accumulate`` has it."""
    pairs = spec.positions > 2 and spec.accumulator_memories == 2
    return (tag >> pairs) % spec.accumulator_memories


class ProcessingElements:
    """Queues and sequencers.

    Attributes
    ----------
    room : bool[engines]
        No queue was fuller than it should be two cycles before.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.to_queue = (MapWalker if work.spec.positions else Walker).LATENCY + 1
        engines, pes = len(work.active), work.spec.pes
        size = 1 << (work.spec.queue_depth + in_flight(work.spec)).bit_length()
        self.ring = np.zeros(engines * pes * size, dtype=np.int32)
        self.first = np.arange(engines * pes).reshape(engines, pes) * size
        self.mask = size - 1
        self.head = self.counted = np.zeros((engines, pes), dtype=np.int64)
        self.tail = np.zeros((engines, pes), dtype=np.int64)
        self.ready_tail = self.tail.copy()  # what is old enough to be taken
        self.current = np.zeros((engines, pes), dtype=np.int32)
        self.room = self.filled = np.ones(engines, dtype=bool)
        none = np.zeros(engines, dtype=bool)
        self.hold = Hold(none, none)  # of the cycle before, which is when it counts
        self.flight: deque[Visit] = deque()
        self.left = np.full((engines, work.spec.tags), pes)  # PEs that have not ended the tag's job

    def step(self, visit: Visit, hold: Hold) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Move on; return the engines, and their tags, of which the last PE ended its job."""
        spec, current = self.work.spec, self.current
        single = (current & COUNT) <= 1  # nothing of the column is left after this cycle
        go = np.broadcast_to(True, current.shape)
        hold, self.hold = self.hold, hold
        if hold.valid.any():
            held, mine = (_memory_of(spec, tag) for tag in (hold.tag[:, None], current >> TAG))
            go = ~(hold.valid[:, None] & (held == mine))
        free = single & (go | (current == 0))
        ending = single & go & ((current & END) != 0)

        take = free & (self.ready_tail > self.head)
        queued = self.ring.take(self.first + (self.head & self.mask))
        self.current = np.where(free, queued * take, current - go).astype(np.int32)
        counted, self.counted = self.counted, self.head  # of what left, what `room` knows of
        self.head = self.head + take
        self.ready_tail = self.tail.copy()
        self.flight.append(visit)
        if len(self.flight) > self.to_queue:
            self._queue(self.flight.popleft())
        self.room = self.filled
        self.filled = (self.tail - counted <= spec.queue_depth).all(axis=1)

        if not ending.any():
            none = np.empty(0, dtype=np.int64)
            return none, none
        engine, _ = np.nonzero(ending)
        tag = current[ending] >> TAG
        np.subtract.at(self.left, (engine, tag), 1)
        engine, tag = np.nonzero(self.left == 0)
        self.left[engine, tag] = spec.pes
        return engine, tag

    def _queue(self, visit: Visit) -> None:
        """Put the columns of words into the queues of the PEs that have entries in them."""
        work, engine = self.work, visit.engine
        if not engine.size:
            return
        active = work.active[engine, visit.input, visit.word]
        counts = (work.counts[visit.word] * active[:, None, :]).reshape(engine.size, -1)
        counts += (END * visit.end)[:, None].astype(np.int32)
        place = self.first[engine] + (self.tail[engine] & self.mask)
        self.ring[place] = counts | (visit.tag << TAG)[:, None]
        self.tail[engine] += counts != 0


class Drains:
    """Rows on their way from the accumulators to the next layer or to y.

    Attributes
    ----------
    words_left : int64[engines]
        Words of the job drained that were not delivered.
    offers_hidden : bool[engines]
        A word for the next layer waits to be delivered in this cycle.
    hold : Hold
        For the processing elements, in this cycle.
    """

    def __init__(self, work: Work) -> None:
        spec, engines = work.spec, len(work.active)
        self.parts, self.rounds = spec.lanes // spec.drain_lanes, drain_rounds(spec)
        self.free = np.full(engines, drain_room(spec))
        self.rows_left, self.round, self.part, self.rows = np.zeros((4, engines), dtype=np.int64)
        self.words_left = np.zeros(engines, dtype=np.int64)
        self.returned = np.zeros(engines, dtype=bool)
        self.tag = np.zeros(engines, dtype=np.int64)
        self.last = np.zeros(engines, dtype=bool)
        self.hold = Hold(np.zeros(engines, dtype=bool), self.tag)
        # Rows read in each of the cycles before; the queue at the end has an output register.
        none = np.zeros(engines, dtype=bool)
        self.flight = deque([none] * (drain_latencies(spec)["o"] + IN_QUEUE))

    def start(
        self,
        engine: NDArray[np.int64],
        words: NDArray[np.int64],
        tag: NDArray[np.int64],
        last: NDArray[np.bool_],
    ) -> None:
        """Begin a job in some engines, from the next cycle on."""
        self.rows_left[engine] = words * self.parts
        self.words_left[engine] = words
        self.round[engine] = 0
        self.tag[engine] = tag
        self.last[engine] = last

    def step(self, hidden_ready: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Move on; return whether a hidden word, and whether a word of y, was delivered."""
        self.rows += self.flight.popleft()
        complete = self.part == self.parts - 1
        self.offers_hidden = (self.rows > 0) & complete & ~self.last
        popped = (self.rows > 0) & (~complete | self.last | hidden_ready)
        taken = popped & complete
        read = (self.rows_left > 0) & (self.free > 0)
        self.flight.append(read)
        self.hold = Hold(read & (self.round == 0), self.tag)
        self.rows_left -= read
        self.round = (self.round + read) % self.rounds
        self.rows -= popped
        self.free += self.returned
        self.free -= read
        self.returned = popped
        self.part = (self.part + popped) % self.parts
        self.words_left -= taken
        return taken & ~self.last, taken & self.last
