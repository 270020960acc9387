"""A look at an engine of either kind, for simulation only."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from amaranth import *

from secateur.coverage.inside import Inside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amaranth.hdl import Fragment

    from secateur.gateware.engine import Engine

__all__ = ["Beside", "any_of"]


class Beside:
    """Look at an engine from beside it.

    Parameters
    ----------
    m : Module
        The one beside it, which gets what registers this takes.
    engine : Engine
    whole : Fragment
        What it was elaborated to.
    """

    def __init__(self, m: Module, engine: Engine, whole: Fragment) -> None:
        self.m, self.engine, self.spec, self.monitor = m, engine, engine.spec, engine.monitor
        self.control = Inside(whole, "control").component
        self.loader = Inside(whole, "loader").component
        self.store = Inside(whole, "store")
        self.walker = Inside(whole, "walker")
        self.drain = Inside(whole, "drain")
        names = [f"pe_{index}" for index in range(engine.spec.pes)]
        self.pes = [Inside(whole, name) for name in names]
        self.queues = [Inside(whole, name, "queue") for name in names]

    def held(self) -> Value:
        """Tell whether y is held up."""
        return self.engine.o_y.valid & ~self.engine.o_y.ready

    def held_alike(self) -> dict[str, Value]:
        """Give the points of y that is held up which engines of both kinds have."""
        engine, loader, held = self.engine, self.loader, self.held()
        return {
            "y-held-multiplying": held & self.monitor.occupied.any(),
            "y-held-last": held & engine.o_y.payload.last,
            "y-held-more": held & ~engine.o_y.payload.last,
            "y-held-loading": held & loader.loading & loader.i.valid & loader.i.ready,
            "y-held-committing": held & loader.commit,
            "y-held-x-held": held & engine.i_x.valid & ~engine.i_x.ready,
        }


def any_of(bits: Iterable[Value]) -> Value:
    """Tell whether one of the bits is set."""
    return reduce(or_, bits, C(0))
