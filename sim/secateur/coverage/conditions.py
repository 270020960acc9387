"""When each point of coverage is seen: one bit of the engine's signals for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data

from secateur.coverage.beside import Beside, any_of
from secateur.coverage.inside import Inside
from secateur.coverage.points import FIELDS, MEMORIES, field_ends
from secateur.format import memories
from secateur.gateware.accumulate import Accumulator
from secateur.gateware.column import in_flight
from secateur.gateware.requant import Requantizer
from secateur.gateware.rows import drain_latencies
from secateur.gateware.walk import job_layout
from secateur.instrument import STATES
from secateur.technology import Memory

if TYPE_CHECKING:
    from amaranth.hdl import Fragment

    from secateur.gateware.engine import Engine

__all__ = ["Conditions"]

#: Products for the same accumulator as many cycles apart meet on their way.
AGAIN = range(1, Accumulator.LATENCY + 1)
#: Cycles from an entry's address until it is taken apart.
TO_ZEROS = Memory.LATENCY + 1


class Conditions(Beside):
    """The points of an engine without maps."""

    def __init__(self, m: Module, engine: Engine, whole: Fragment) -> None:
        super().__init__(m, engine, whole)
        requants, pes = range(engine.spec.drain_lanes), range(engine.spec.pes)
        self.requants = [Inside(whole, "drain", f"requant_{lane}") for lane in requants]
        self.accumulators = [Inside(whole, f"pe_{index}", "accumulator") for index in pes]

    def all(self) -> dict[str, Value]:
        """Give one bit for each point, by name."""
        return {
            **self._walk(),
            **self._columns(),
            **self._products(),
            **self._outputs(),
            **self._jobs(),
            **self._y(),
            **self._streams(),
            **self._programs(),
            **self._fields(),
            **self._reset(),
        }

    def _late(self, value: Value, cycles: int = 1) -> Value:
        """Delay a value."""
        for _ in range(cycles):
            late = Signal(len(value))
            self.m.d.sync += late.eq(value)
            value = late
        return value

    def _walk(self) -> dict[str, Value]:
        monitor, walker = self.monitor, self.walker.component
        hidden = data.View(job_layout(self.spec), self.walker["job"]).hidden
        no_room = Cat(~pe.component.room for pe in self.pes)
        alone = any_of(no_room == 1 << index for index in range(self.spec.pes))
        brim = self.spec.queue_depth + in_flight(self.spec)
        idle = [
            ~queue.component.o.valid & ~pe["active"]
            for queue, pe in zip(self.queues, self.pes, strict=True)
        ]
        return {
            "queue-full": no_room.any(),
            "queue-full-alone": alone if self.spec.pes > 1 else C(0),
            "queue-brim": any_of(queue["level"] == brim for queue in self.queues),
            "queue-empty": monitor.walking & any_of(idle),
            "walk-blocked": monitor.blocked,
            "walk-waits-x": monitor.waiting & ~hidden,
            "walk-waits-hidden": monitor.waiting & hidden,
            "walk-streams-x": walker.take_x & self.store["inside"],
            "walk-streams-hidden": walker.take_hidden & self.drain.component.hidden.valid,
        }

    def _columns(self) -> dict[str, Value]:
        walker, queues = self.walker.component, [queue.component for queue in self.queues]
        visit, columns = walker.visit, walker.o
        first, end = columns[0].first, columns[0].end
        active = Cat(column.active for column in columns)
        before = Signal()  # an earlier word of the job was not zero
        with self.m.If(visit):
            self.m.d.sync += before.eq((before & ~first) | active.any())
        lanes = range(self.spec.lanes)
        works = [Cat(queue.count != 0 for queue in queues[lane :: len(lanes)]) for lane in lanes]
        fullest = (1 << self.spec.count_width) - 1
        ends = [queue.o.valid & queue.o.ready & queue.o.payload.end for queue in queues]
        counts = [queue.o.payload.count != 0 for queue in queues]
        return {
            "word-zero": visit & ~active.any(),
            "word-dense": visit & active.all(),
            "job-one-word": visit & first & end,
            "job-zero": visit & end & ~active.any() & (first | ~before),
            "column-empty": visit & any_of(~work.any() for work in works),
            "column-missed": visit
            & any_of(active[lane] & works[lane].any() & ~works[lane].all() for lane in lanes),
            "column-fullest": visit
            & any_of(queue.i.active & (queue.count == fullest) for queue in queues),
            "end-idle": any_of(end & ~count for end, count in zip(ends, counts, strict=True)),
            "end-works": any_of(end & count for end, count in zip(ends, counts, strict=True)),
        }

    def _products(self) -> dict[str, Value]:
        each = [
            self._products_of(pe, accumulator)
            for pe, accumulator in zip(self.pes, self.accumulators, strict=True)
        ]
        return {name: any_of(seen[name] for seen in each) for name in each[0]}

    def _products_of(self, pe: Inside, accumulator: Inside) -> dict[str, Value]:
        """Look at the entries of one PE in the cycle in which their product begins."""
        spec, product = self.spec, accumulator.component
        valid, slot = product.valid, Value.cast(product.slot)
        weight, value, row = product.weight, product.value, product.slot.row
        zeros = self._late(pe["zeros"], pe.component.latency(spec) - TO_ZEROS)
        most = [(1 << (spec.entry_width - width)) - 1 for width in spec.code_widths]
        split = self.control.splits[product.slot.tag] if len(most) > 1 else C(0)
        padding = valid & (weight == 0)
        again = [self._late(Cat(valid, slot), cycles) for cycles in AGAIN]
        stored = self._late(valid, Accumulator.LATENCY)
        total, (lowest, highest) = accumulator["total"], _ends_of(spec.accumulator_width)
        low_weight, high_weight = _ends_of(spec.weight_width)
        low, high = -1 << (spec.activation_width - 1), (1 << spec.activation_width) - 1
        return {
            "padding": padding,
            "padding-chain": padding & self._late(padding),
            # Where none is skipped, only a column's first entry is that of row 0.
            "gap-none": valid & ~padding & (zeros == 0) & (row != 0),
            "gap-longest": valid & ~padding & (zeros == Array(most)[split]),
            "row-first": valid & (row == 0),
            "row-last": valid & (row == spec.row_depth - 1),
            **{
                f"row-again-{cycles}": valid & (again[cycles - 1] == Cat(C(1, 1), slot))
                for cycles in AGAIN
            },
            "product-lowest-lowest": valid & (weight == low_weight) & (value == low),
            "product-lowest-highest": valid & (weight == low_weight) & (value == high),
            "product-highest-lowest": valid & (weight == high_weight) & (value == low),
            "product-highest-highest": valid & (weight == high_weight) & (value == high),
            "sum-lowest": stored & (total == lowest),
            "sum-highest": stored & (total == highest),
        }

    def _outputs(self) -> dict[str, Value]:
        layer, added = self.control.drain_layer, drain_latencies(self.spec)["added"]
        # The cycle after the bias was added, and that in which the requantised row stands there.
        total_valid, chosen = (
            self.drain[f"rows_{added + 1}"],
            self.drain[f"rows_{added + Requantizer.LATENCY - 1}"],
        )
        lowest, highest = _ends_of(self.spec.accumulator_width)
        above = chosen & any_of(requant["is_above"] for requant in self.requants)
        below = chosen & any_of(requant["is_below"] for requant in self.requants)
        return {
            "total-lowest": total_valid & any_of(r["total"] == lowest for r in self.requants),
            "total-highest": total_valid & any_of(r["total"] == highest for r in self.requants),
            "saturate-highest-signed": above & layer.output_signed,
            "saturate-highest-unsigned": above & ~layer.output_signed,
            "saturate-lowest-signed": below & layer.output_signed & ~layer.relu,
            "saturate-zero-unsigned": below & ~layer.output_signed,
            "saturate-zero-relu": below & layer.output_signed & layer.relu,
        }

    def _jobs(self) -> dict[str, Value]:
        monitor, busy = self.monitor, self.monitor.tag_busy
        tags = range(self.spec.jobs)
        layers = [monitor.tag_layers[tag] for tag in tags]
        both = [(busy[a] & busy[b], layers[a] == layers[b]) for a in tags for b in range(a)]
        return {
            "jobs-all": busy.all(),
            "jobs-same-layer": any_of(two & same for two, same in both),
            "jobs-other-layers": any_of(two & ~same for two, same in both),
            "drain-stops": self._drain_stops(),
            "drain-holds": any_of(pe["active"] & pe["held"] for pe in self.pes),
            "drain-beside": any_of(
                pe["active"] & pe["holds"].any() & ~pe["held"] for pe in self.pes
            ),
            "drain-while-walking": monitor.walking & ~self.drain.component.done,
            "hidden-full": self.store["hidden_full"],
        }

    def _drain_stops(self) -> Value:
        return self.drain["under_way"] & ~self.drain["any_free"]

    def _y(self) -> dict[str, Value]:
        x, monitor, held = self.engine.i_x, self.monitor, self.held()
        return {
            **self.held_alike(),
            **{f"y-held-{state}": held & monitor[state] for state in STATES},
            "y-held-idle": held & ~monitor.occupied.any() & monitor.standing,
            "y-held-drain-stops": held & self._drain_stops(),
            "y-held-jobs-all": held & monitor.tag_busy.all(),
            "y-held-x-comes": held & x.valid & x.ready,
        }

    def _streams(self) -> dict[str, Value]:
        x, load, loader = self.engine.i_x, self.engine.i_load, self.loader
        waits = x.valid & ~x.ready
        inside = self.store["inside"]
        may = inside | self.control.x_open
        return {
            "x-pauses": inside & ~x.valid,
            "x-without-program": waits & ~self.control.loaded,
            "x-full": waits & self.store["x_full"],
            "x-behind-hidden": waits & self.store["put_hidden"] & ~self.store["x_full"] & may,
            "x-behind-program": waits & self.control.loaded & ~inside & loader.commit,
            "load-pauses": loader.loading & ~load.valid,
            "load-held": load.valid & ~load.ready,
            "load-walking": load.valid & load.ready & self.monitor.walking,
        }

    def _programs(self) -> dict[str, Value]:
        control, loader = self.control, self.loader
        exchanged = control.committed & control.loaded
        write = loader.write
        seen = {
            "load-waits": loader.begin & ~loader.begun,
            "commit-waits": loader.commit & self.engine.status.busy,
            "commit-inside-x": loader.commit & self.store["inside"],
            "commit-first": control.committed & ~control.loaded,
            "commit-bank-0": exchanged & (control.bank == 0),
            "commit-bank-1": exchanged & (control.bank == 1),
        }
        kinds = memories(self.spec)
        for section, name in MEMORIES.items():
            last = kinds[section].depth - 1 if section in kinds else 0
            here = loader.write_valid & (write.section == section) & (write.address == last)
            seen[f"fills-{name}"] = here if section in kinds else C(0)
        return seen

    def _fields(self) -> dict[str, Value]:
        control, ends = self.control, field_ends(self.spec)
        return {
            f"{field}-{end}": control.drain_start & (control.drain_layer[field] == ends[field][at])
            if field in ends
            else C(0)
            for field in FIELDS
            for at, end in enumerate(("lowest", "highest"))
        }

    def _reset(self) -> dict[str, Value]:
        engine, monitor = self.engine, self.monitor
        return {
            f"reset-{when}": ResetSignal() & now
            for when, now in {
                "loading": self.loader.loading,
                "committing": engine.status.committing,
                "x": self.store["inside"],
                "walking": monitor.walking,
                "multiplying": monitor.occupied.any(),
                "draining": ~self.drain.component.done,
                "y": engine.o_y.valid,
            }.items()
        }


def _ends_of(width: int) -> tuple[int, int]:
    """Give the lowest and highest number of so many bits, two's complement."""
    return -1 << (width - 1), (1 << (width - 1)) - 1
