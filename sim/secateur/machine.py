"""The cycle model's engine: walker, queues of activations and control around the units.

Some engines run side by side, each with a sequence of inputs that are offered without a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from secateur.units import Drains, ProcessingElements, Visit, Work, to_ended

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["SETUP", "Times", "run"]

#: Cycles from the choice of a job to the first in which its walk can start: the layer table.
SETUP = 4
#: Cycles from the end of a job's products to the start of its drain: the layer table.
DRAIN_SETUP = 3
#: Cycles that an entry, or a word, takes at most, with all that belongs to it.
PATIENCE = 1000
#: A cycle that never comes.
NEVER = np.iinfo(np.int64).max


class Times(NamedTuple):
    """When what happened, in cycles.

    Attributes
    ----------
    begun, ended : int64[engines, inputs]
        The first word of x was taken; the last of y was given.
    jobs : int64[layers, engines, inputs]
        From the start of the layer's walk to the end of its drain.
    """

    begun: NDArray[np.int64]
    ended: NDArray[np.int64]
    jobs: NDArray[np.int64]


def run(work: Work) -> Times:
    """Let some engines do their work, each on its own.

    Parameters
    ----------
    work : Work

    Returns
    -------
    Times

    Raises
    ------
    RuntimeError
        If an engine hangs.
    """
    machine = _Machine(work)
    # However slow every entry and every word: no engine takes as long as this.
    most = PATIENCE * work.active.shape[1] * (int(work.counts.sum()) + work.active.shape[2] + 1)
    while not machine.finished:
        machine.step()
        if machine.cycle > most:
            raise RuntimeError(f"an engine has not ended after {most} cycles")
    return machine.times


class _Machine:
    """Every register but those of the units."""

    def __init__(self, work: Work) -> None:
        engines, inputs = work.active.shape[:2]
        spec = work.spec
        self.work, self.inputs = work, inputs
        self.pes, self.drains = ProcessingElements(work), Drains(work)
        self.cycle = 0
        self.last = len(work.bases) - 1
        self.times = Times(
            begun=np.zeros((engines, inputs), dtype=np.int64),
            ended=np.zeros((engines, inputs), dtype=np.int64),
            jobs=np.zeros((len(work.bases), engines, inputs), dtype=np.int64),
        )

        def register(count: int, init: int = 0) -> NDArray[np.int64]:
            return np.full((count, engines), init)

        # Words of x that were taken; words that wait; inferences landed.
        self.sent, self.x_level, self.hidden_level, self.landed = register(4)
        self.walk_left, self.walk_word, self.walk_layer, self.walk_input = register(4)
        (self.walk_tag,) = register(1)
        # As in `Control`. `launched` and `resumed` count; the k-th job whose output is another's
        # input is `pending[:, k % jobs]`, its input and layer.
        self.flying, self.undrained, self.waiting, self.outputs, self.complete = register(5)
        self.launched, self.resumed, self.handed_on, self.completed = register(4)
        self.pending = np.zeros((engines, spec.jobs, 2), dtype=np.int64)
        self.known = self._known()
        self.new = np.zeros(engines, dtype=bool)
        self.next_layer, self.next_input, self.next_tag = register(3)
        (self.chosen,) = register(1, NEVER)  # the cycle from which on it can start
        # The jobs under way, by tag: when the walk started and the products
        # ended, which layer and which input.
        self.started, self.products, self.layers, self.which = np.zeros(
            (4, engines, spec.jobs), dtype=np.int64
        )
        self.products[:] = NEVER
        (self.drain_tag,) = register(1)
        (self.drain_start,) = register(1, NEVER)
        self.draining = np.zeros(engines, dtype=bool)
        self.landing, self.finishing = np.zeros((2, engines), dtype=bool)  # a job drained
        self.turn_x = np.zeros(engines, dtype=bool)  # to be taken
        self.stored = np.zeros(engines, dtype=bool)  # all products of the next job, a cycle late

    @property
    def finished(self) -> bool:
        """Whether every y was given."""
        return bool((self.landed == self.inputs).all())

    def step(self) -> None:
        """Go through one cycle: what it does depends on what the one before left."""
        standing = self.walk_left == 0
        x_begun = (self.x_level > 0) | (self.sent % self.work.source_words[0] > 0)
        delivered = self.draining & (self.drains.words_left == 0)
        hold = self.drains.hold
        hidden_room = self.hidden_level < self.work.spec.activation_depth

        visit, take = self._walk()
        put_hidden, put_y = self.drains.step(hidden_room & ~self.turn_x)
        engine, tag = self.pes.step(visit, hold)
        self.products[engine, tag] = self.cycle + to_ended(self.work.spec)
        engine = np.flatnonzero(put_y & (self.drains.words_left == 0))
        self.times.ended[engine, self.which[engine, self.drain_tag[engine]]] = self.cycle

        chosen = self._choose(standing, x_begun)
        self._start(standing)
        self._drain(delivered)
        self._store(take, put_hidden, self.drains.offers_hidden & hidden_room)
        self.chosen[chosen] = self.cycle + SETUP
        self.cycle += 1

    def _walk(self) -> tuple[Visit, NDArray[np.bool_]]:
        """Read a word, where there is one and the queues have room."""
        hidden = self.walk_layer > 0
        there = np.where(hidden, self.hidden_level, self.x_level) > 0
        take = (self.walk_left > 0) & there & self.pes.room
        engine = np.flatnonzero(take)
        visit = Visit(
            engine,
            self.walk_input[engine],
            self.walk_word[engine],
            self.walk_tag[engine],
            self.walk_left[engine] == 1,
        )
        self.walk_left -= take
        self.walk_word += take
        return visit, take

    def _choose(self, standing: NDArray[np.bool_], x_begun: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Choose the next job of engines that have none; return which did."""
        may_begin, free, any_input, any_output = self.known
        may = (self.chosen == NEVER) & may_begin
        new, self.new = self.new, free & any_input
        stream = standing & free & x_begun & (self.waiting == 0)
        resume = may & (self.waiting > 0) & (any_output | (standing & ~new))
        launch = may & ~resume & (new | stream)
        self.known = self._known()
        self.flying += launch
        self.complete -= launch
        self.waiting -= resume
        self.outputs -= resume
        self.undrained += resume | launch

        engine = np.flatnonzero(launch)
        self.next_layer[engine] = 0
        self.next_input[engine] = self.launched[engine]
        self.launched += launch
        engine = np.flatnonzero(resume)
        oldest = self.pending[engine, self.resumed[engine] % self.work.spec.jobs]
        self.next_input[engine], self.next_layer[engine] = oldest.T
        self.resumed += resume
        return np.flatnonzero(resume | launch)

    def _known(self) -> tuple[NDArray[np.bool_], ...]:
        """Tell choices of the next cycle: room for a job, for an inference; any x, any output."""
        jobs = self.work.spec.jobs
        return self.undrained != jobs, self.flying != jobs, self.complete > 0, self.outputs > 0

    def _start(self, standing: NDArray[np.bool_]) -> None:
        """Start the walk of the job chosen, once the walker stands and the job is prepared."""
        engine = np.flatnonzero(standing & (self.chosen <= self.cycle))
        if not engine.size:
            return
        layer, tag = self.next_layer[engine], self.next_tag[engine]
        self.chosen[engine] = NEVER
        self.walk_left[engine] = self.work.source_words[layer]
        self.walk_word[engine] = self.work.bases[layer]
        self.walk_layer[engine] = layer
        self.walk_input[engine] = self.which[engine, tag] = self.next_input[engine]
        self.walk_tag[engine] = tag
        self.layers[engine, tag] = layer
        self.started[engine, tag] = self.cycle
        self.next_tag[engine] = (tag + 1) % self.work.spec.jobs
        hidden = engine[layer < self.last]
        self.pending[hidden, self.handed_on[hidden] % self.work.spec.jobs] = np.stack(
            [self.next_input[hidden], self.next_layer[hidden] + 1], axis=1
        )
        self.handed_on[hidden] += 1
        self.waiting[hidden] += 1

    def _drain(self, delivered: NDArray[np.bool_]) -> None:
        """End the drain of a job, or begin that of the next one."""
        products = np.take_along_axis(self.products, self.drain_tag[:, None], axis=1)[:, 0]
        stored = products <= self.cycle
        # It counts a cycle later.
        self.undrained -= self.landing | self.finishing
        self.flying -= self.landing
        self.landed += self.landing
        self.outputs += self.finishing
        self.landing, self.finishing = landing, finishing = np.zeros((2, len(stored)), dtype=bool)
        engine = np.flatnonzero(delivered)
        if engine.size:
            tag = self.drain_tag[engine]
            layer = self.layers[engine, tag]
            self.times.jobs[layer, engine, self.which[engine, tag]] = (
                self.cycle - self.started[engine, tag]
            )
            self.draining[engine] = False
            self.drain_tag[engine] = (tag + 1) % self.work.spec.jobs
            landing[engine] = layer == self.last
            finishing[engine] = layer != self.last

        idle = ~self.draining & ~delivered & (self.drain_start == NEVER)
        engine = np.flatnonzero(idle & self.stored)
        self.stored = stored
        self.products[engine, self.drain_tag[engine]] = NEVER
        self.drain_start[engine] = self.cycle + DRAIN_SETUP
        # It reads the layer table, which another job's preparation may have been about to read.
        self.chosen[engine] += self.chosen[engine] == self.cycle - 1 + SETUP

        engine = np.flatnonzero(self.drain_start == self.cycle)
        if engine.size:
            tag = self.drain_tag[engine]
            layer = self.layers[engine, tag]
            self.drains.start(engine, self.work.rows_words[layer], tag, layer == self.last)
            self.drain_start[engine] = NEVER
            self.draining[engine] = True

    def _store(
        self,
        take: NDArray[np.bool_],
        put_hidden: NDArray[np.bool_],
        hidden_waits: NDArray[np.bool_],
    ) -> None:
        """Take words of x and of hidden layers; at most one in a cycle."""
        words = self.work.source_words[0]
        offered = self.sent < self.inputs * words
        put_x = offered & self.turn_x
        first = np.flatnonzero(put_x & (self.sent % words == 0))
        self.times.begun[first, self.sent[first] // words] = self.cycle
        room = self.x_level + put_x < self.work.spec.activation_depth
        self.turn_x = offered & room & ~hidden_waits
        self.sent += put_x
        self.complete += self.completed
        self.completed = put_x & (self.sent % words == 0)
        # The walker's layer is that of the word taken, unless a new walk has just started, when no
        # word was.
        hidden = self.walk_layer > 0
        self.x_level += put_x.astype(np.int64) - (take & ~hidden)
        self.hidden_level += put_hidden.astype(np.int64) - (take & hidden)
