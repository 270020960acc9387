"""When each point of coverage of an engine with maps is seen."""

from __future__ import annotations

from amaranth import *

from secateur.coverage.beside import Beside, any_of
from secateur.coverage.map_points import LEAST
from secateur.format import AVERAGE_BITS

__all__ = ["MapConditions"]


class MapConditions(Beside):
    """The points of an engine with maps."""

    def all(self) -> dict[str, Value]:
        """Give one bit for each point, by name."""
        return {
            **self._positions(),
            **self._rows(),
            **self._y(),
            **self._x(),
            **self._programs(),
            **self._fields(),
        }

    def _positions(self) -> dict[str, Value]:
        walker, spec = self.walker.component, self.spec
        free, begin, walking = self.walker["free"], self.walker["begin"], self.walker["walking"]
        visit, columns = walker.visit, walker.o
        first, end, tag = columns[0].first, columns[0].end, columns[0].tag
        active = Cat(column.active for column in columns)
        before = Signal()  # an earlier word of the position was not zero
        with self.m.If(visit):
            self.m.d.sync += before.eq((before & ~first) | active.any())
        lane = walker.patch[: (spec.lanes - 1).bit_length()]
        idle = [
            ~queue.component.o.valid & ~pe["active"]
            for queue, pe in zip(self.queues, self.pes, strict=True)
        ]
        return {
            "sets-all": free == 0,
            "sets-none": (free == spec.tags) & ~self.drain.component.done,
            "tag-first": visit & (tag == 0),
            "tag-last": visit & (tag == spec.tags - 1),
            "position-waits": walker.waiting,
            "position-follows": begin & walking,
            "position-unknown": ~walking & (self.walker["chooses"] | self.walker["chosen"]),
            "position-one-word": visit & first & end,
            "position-zero": visit & end & ~active.any() & (first | ~before),
            "patch-first-lane": walker.take & (lane == 0),
            "patch-last-lane": walker.take & (lane == spec.lanes - 1),
            "word-zero": visit & ~active.any(),
            "word-dense": visit & active.all(),
            "walk-blocked": walker.blocked,
            "queue-empty": walker.take & any_of(idle),
        }

    def _stops(self) -> Value:
        return self.drain["under_way"] & (self.drain["free"] == 0)

    def _rows(self) -> dict[str, Value]:
        drain, layer = self.drain, self.control.current
        under_way, popped = drain["under_way"], drain["popped"]
        windows = layer.count1 | layer.count2
        made = popped & drain["beside_0"][0]  # rows of a window's last position
        return {
            "drain-waits": ~drain.component.done & ~under_way & ~drain["stored"],
            "drain-follows": drain["begin"] & under_way,
            "drain-stops": self._stops(),
            "drain-holds": any_of(pe["active"] & pe["held"] for pe in self.pes),
            "drain-beside": any_of(
                pe["active"] & pe["holds"].any() & ~pe["held"] for pe in self.pes
            ),
            "drain-while-walking": under_way & self.walker.component.take,
            "drain-behind": under_way & self.walker.component.done,
            "pool-none": made & (windows == 0),
            "pool-max": made & (windows != 0) & ~layer.average,
            "pool-average": made & layer.average,
            "pool-most": made & layer.average & (layer.average_shift == AVERAGE_BITS),
            "pool-keeps": popped & ~drain["beside_0"][0],
            "pool-turns": popped & ~drain["beside_0"][0] & (layer.count0 != 0),
        }

    def _y(self) -> dict[str, Value]:
        held = self.held()
        return {
            **self.held_alike(),
            "y-held-walking": held & self.monitor.walking,
            "y-held-waiting": held & self.walker.component.waiting,
            "y-held-drain-stops": held & self._stops(),
        }

    def _x(self) -> dict[str, Value]:
        x, control = self.engine.i_x, self.control
        waits, inside = x.valid & ~x.ready, self.store["place"] != 0
        return {
            "x-pauses": inside & ~x.valid,
            "x-without-program": waits & ~control.loaded,
            "x-behind-layers": waits & control.running,
            "x-behind-program": waits & control.loaded & ~control.running & self.loader.commit,
        }

    def _programs(self) -> dict[str, Value]:
        control, loader = self.control, self.loader
        return {
            "commit-waits": loader.commit & control.running,
            "commit-inside-x": loader.commit & (self.store["place"] != 0),
            "commit-first": control.committed & (self.engine.status.program == 0),
            "commit-again": control.committed & (self.engine.status.program != 0),
            "clear": control.clear,
        }

    def _fields(self) -> dict[str, Value]:
        start, layer = self.control.start, self.control.current
        return {
            **{f"{name}-least": start & (layer[name] == at) for name, at in LEAST.items()},
            **{f"{name}-more": start & (layer[name] > at) for name, at in LEAST.items()},
        }
