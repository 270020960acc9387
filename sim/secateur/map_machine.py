"""The cycle model of an engine with positions: one layer at a time around the units.

A layer begins when the one before has been written, so each is modelled by itself. Some engines run
side by side, an input each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secateur.gateware.maps.pool import Pool
from secateur.machine import NEVER, PATIENCE
from secateur.units import Drains, ProcessingElements, Visit, to_ended

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from secateur.units import Work

__all__ = ["run_layer"]


def run_layer(work: Work) -> NDArray[np.int64]:
    """Let some engines compute a layer.

    Parameters
    ----------
    work : Work
        Of one layer; positions stand for inputs.

    Returns
    -------
    int64[engines]
        Cycles from the start of its walk to the last word that it writes.

    Raises
    ------
    RuntimeError
        If an engine hangs.
    """
    machine = _Machine(work)
    positions, words = work.active.shape[1:3]
    most = PATIENCE * positions * (int(work.counts.sum()) + words + 1)
    while (machine.ended == NEVER).any():
        machine.step()
        if machine.cycle > most:
            raise RuntimeError(f"an engine has not ended after {most} cycles")
    return machine.ended


class _Machine:
    """Walker and drain, as :mod:`secateur.gateware.maps` has them, from a layer's start on."""

    def __init__(self, work: Work) -> None:
        engines, self.positions = work.active.shape[:2]
        self.work, self.tags = work, work.spec.tags
        self.words, self.rows_words = int(work.source_words[0]), int(work.rows_words[0])
        self.pes, self.drains = ProcessingElements(work), Drains(work)
        self.engine = np.arange(engines)
        self.cycle = 1

        def register(init: int = 0) -> NDArray[np.int64]:
            return np.full(engines, init)

        def flag(*, init: bool = False) -> NDArray[np.bool_]:
            return np.full(engines, init)

        # The walker: positions begun, words left of the one walked, sets that are free.
        self.begun, self.left, self.free = register(), register(), register(self.tags)
        self.known, self.chooses, self.chosen = flag(init=True), flag(), flag()
        self.freed = flag()
        # The drain: positions begun, and words that came out of its queue.
        self.drained, self.out = register(), register()
        self.products = np.full((engines, self.tags), NEVER)
        self.stored = flag()
        self.ended = register(NEVER)

    def step(self) -> None:
        """Go through one cycle: what it does depends on what the one before left."""
        hold = self.drains.hold
        visit = self._walk()
        self._drain()
        engine, tag = self.pes.step(visit, hold)
        self.products[engine, tag] = self.cycle + to_ended(self.work.spec)
        self.cycle += 1

    def _walk(self) -> Visit:
        take = (self.left > 0) & self.pes.room
        ends = take & (self.left == 1)
        begin = self.known & (self.free > 0) & ((self.left == 0) | ends)
        engine = np.flatnonzero(take)
        position = self.begun[engine] - 1
        visit = Visit(
            engine,
            position,
            self.words - self.left[engine],
            position % self.tags,
            self.left[engine] == 1,
        )
        self.left = np.where(begin, self.words, self.left - take)
        self.free += self.freed.astype(np.int64) - begin
        self.begun += begin
        self.known = (self.known | self.chosen) & ~begin
        self.chosen = self.chooses & (self.begun < self.positions)
        self.chooses = begin
        return visit

    def _drain(self) -> None:
        drains = self.drains
        tag = self.drained % self.tags
        stored = self.products[self.engine, tag] <= self.cycle
        last = (drains.rows_left == 1) & (drains.free > 0)
        begin = self.stored & ((drains.rows_left == 0) | last)
        self.freed = last
        self.stored = stored & ~begin
        word, _ = drains.step(np.ones_like(begin))
        self.out += word
        finished = word & (self.out == self.positions * self.rows_words)
        self.ended[finished] = self.cycle + Pool.LATENCY
        engine = np.flatnonzero(begin)
        self.products[engine, tag[engine]] = NEVER
        drains.rows_left[engine] = self.rows_words * drains.parts
        drains.round[engine] = 0
        drains.tag = np.where(begin, tag, drains.tag)  # a hold may have the old one
        self.drained += begin
