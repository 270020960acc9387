"""Programs change, and weights are checked, while nothing else runs."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Array, Mux, Signal, Value

from secateur.bench.fault import Fault
from secateur.bench.formal import Claim
from secateur.bench.harness import Harness
from secateur.gateware.control import Control
from secateur.gateware.maps.control import MapControl
from secateur.proofs.sizes import MAPS, SPEC

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["CLAIMS"]


def requests(h: Harness) -> tuple[Signal, Signal]:
    """Let images and checks come at any time, and wait.

    Returns
    -------
    tuple of Signal
        Whether the first word of an x comes, at any time at which it may; whether an image is
        written.
    """
    control = h.component
    held = (
        ("an image waits until it is committed", control.commit, control.committed),
        ("an image waits until it may begin", control.begin, control.begun),
        ("a check waits until it is done", control.check, control.checking & control.checked),
    )
    for rule, wants, granted in held:
        h.assume(rule, wants | ~h.late(wants) | h.late(granted))
    begun = Signal()
    with h.m.If(control.begin & control.begun):
        h.m.d.sync += begun.eq(1)
    with h.m.Elif(control.committed):
        h.m.d.sync += begun.eq(0)
    h.assume("an image is written before it is complete", ~control.commit | begun | h.late(begun))
    h.assume("one image after the other", ~(control.commit & control.begin))
    begins = h.free("x_begins")
    h.assume("x begins when it may", ~begins | h.late(control.x_open))
    return begins, begun


def claims(h: Harness, busy: Value, begun: Signal) -> None:
    """Claim what holds while an x is there, or may be, or an inference is under way."""
    control = h.component
    idle = ~(busy | h.late(control.x_open))
    h.show("idle", idle)
    h.claim("committed while nothing runs", ~control.committed | idle)
    h.claim("cleared while nothing runs", ~control.clear | idle)
    h.claim("checked while nothing runs", ~control.checking | idle)
    if control.spec.banks == 1:
        h.claim("written while nothing runs", ~begun | idle)


def layers(h: Harness, begun: Signal) -> None:
    """Let a layer's end be the same whenever it is read, in each of the banks, until written."""
    control = h.component
    spec = control.spec
    ends = h.free("ends", spec.layer_depth * 2)
    in_use = Mux(control.bank, ~0 << spec.layer_depth, (1 << spec.layer_depth) - 1)
    written = begun if spec.banks == 1 else 0
    changes = h.after_first() & (((ends ^ h.late(ends)) & in_use) != 0)
    h.assume("the program in use stays", ~changes | written)
    read = h.late(Value.cast(control.layer_address), 2)
    bank = h.late(control.bank, 2)
    last = Array(ends)[read + bank * spec.layer_depth]
    h.assume("layers end where they end", control.layer.last == last)


def of_control(spec: EngineSpec) -> Harness:
    """Let the walker and the drain take as long as they like."""
    control = Control(spec, loaded=True, checked=True)
    h = Harness(control)
    begins, begun = requests(h)
    layers(h, begun)
    # Every x of which a word is there, and whether the last of them is incomplete.
    there = Signal(range(spec.activation_depth + 1))
    coming = Signal()
    completes, taken = h.free("x_completes"), h.free("x_taken")
    h.assume("one x after the other", ~begins | ~coming)
    h.assume("x that has begun", ~completes | coming | begins)
    h.assume("there is room", ~begins | (there != spec.activation_depth))
    # What the walker walks.
    walks, walks_x = Signal(), Signal()
    walked = h.free("walked")
    h.assume("walks what it walks", ~walked | walks)
    h.assume("x is taken when it is walked", taken == (walked & walks_x))
    h.assume("x is taken when it is complete", ~taken | (there > coming))
    h.m.d.sync += [
        coming.eq((coming | begins) & ~completes),
        there.eq(there + begins - taken),
    ]
    h.m.d.comb += [
        control.x_begun.eq(there != 0),
        control.x_complete.eq(h.late(completes)),
        control.walk_done.eq(~walks),
    ]
    with h.m.If(control.walk_start):
        h.m.d.sync += [walks.eq(1), walks_x.eq(~control.walk_job.hidden)]
    with h.m.Elif(walked):
        h.m.d.sync += walks.eq(0)
    h.show("x_there", there)
    # Inferences from their first walk to the end of their last drain.
    drained = Signal(init=1)
    drain_ends = h.free("drain_ends")
    with h.m.If(control.drain_start):
        h.m.d.sync += drained.eq(0)
    with h.m.Elif(drain_ends):
        h.m.d.sync += drained.eq(1)
    h.m.d.comb += control.drain_done.eq(drained)
    under_way = Signal(range(spec.jobs + 2))
    launched = control.walk_start & ~control.walk_job.hidden
    landed = ~drained & drain_ends & control.drain_layer.last
    h.m.d.sync += under_way.eq(under_way + launched - landed)
    h.show("under_way", under_way)
    h.claim("as many inferences as jobs", under_way <= spec.jobs)
    # Products are stored once they are walked.
    bits, open_ = Signal(spec.jobs), Signal(spec.jobs)
    stored = h.free("stored", spec.jobs)
    tag = Signal.like(control.walk_job.tag)
    with h.m.If(control.walk_start):
        h.m.d.sync += tag.eq(control.walk_job.tag)
    h.assume("jobs that were walked are stored", (stored & ~open_) == 0)
    h.m.d.sync += [
        bits.eq(bits ^ stored),
        open_.eq((open_ | ((walked & walks) << tag)[: spec.jobs]) & ~stored),
    ]
    h.m.d.comb += [control.all_ones.eq(bits), control.all_zeros.eq(~bits)]
    claims(h, (there != 0) | walks | (under_way != 0), begun)
    return h


def of_map_control(spec: EngineSpec) -> Harness:
    """Let a layer take as long as it likes."""
    control = MapControl(spec, loaded=True, checked=True)
    h = Harness(control)
    begins, begun = requests(h)
    coming = Signal()
    completes = h.free("x_completes")
    complete = h.late(completes)
    h.assume("one x after the other", ~begins | ~(coming | complete | h.late(complete)))
    h.assume("x that has begun", ~completes | coming | begins)
    h.m.d.sync += coming.eq((coming | begins) & ~completes)
    h.m.d.comb += [control.x_begun.eq(coming | complete), control.x_complete.eq(complete)]

    done = Signal(init=1)
    ends = h.free("layer_ends")
    with h.m.If(control.start):
        h.m.d.sync += done.eq(0)
    with h.m.Elif(ends):
        h.m.d.sync += done.eq(1)
    h.m.d.comb += control.done.eq(done)

    # From the end of its x to that of its last layer.
    runs = Signal()
    last = Signal()
    started = h.late(control.start)
    with h.m.If(complete):
        h.m.d.sync += runs.eq(1)
    with h.m.Elif(started):
        h.m.d.sync += last.eq(control.current.last)
    with h.m.Elif(runs & last & done):
        h.m.d.sync += [runs.eq(0), last.eq(0)]
    h.show("runs", runs)
    h.claim("a layer starts when the one before is done", ~control.start | (done & runs & ~last))
    number = Signal.like(control.number)
    h.m.d.sync += number.eq(number + control.start)
    with h.m.If(~runs):
        h.m.d.sync += number.eq(0)
    h.claim("layers in turn", ~control.start | (control.number == number))
    h.claim("no x while it runs", ~(runs & control.x_open))
    claims(h, coming | complete | runs, begun)
    return h


COMMITTED, CHECKED = "committed while nothing runs", "checked while nothing runs"
#: A change that comes in the cycles in which an x may still begin.
TOO_EARLY = (
    Fault("programs", "closed & shut)", "closed)", COMMITTED),
    Fault("programs", 'm.next = "opened"', 'm.next = "run"', COMMITTED),
)


def claim(
    kind: str, build: Any, spec: EngineSpec, *, cycles: int | None, faults: tuple[Fault, ...]
) -> Claim:
    """Make the claim of a control."""
    return Claim(
        name=f"programs of {kind}, {spec.banks} bank{'s' * (spec.banks > 1)}",
        size=f"{spec.layer_depth} layers, {spec.jobs} job{'s' * (spec.jobs > 1)}",
        make=partial(build, spec),
        cycles=cycles,
        faults=faults,
    )


#: Two jobs have so many states that programs change behind an inference of one layer only in the
#: cycles that can be looked at; one job, behind one of two layers.
TWO_JOBS = dataclasses.replace(SPEC, row_depth=2, banks=2)
ONE_JOB = dataclasses.replace(TWO_JOBS, banks=1, jobs=1)
TWO_BANKS = dataclasses.replace(MAPS, banks=2)
CLAIMS = (
    claim(
        "Control",
        of_control,
        ONE_JOB,
        cycles=40,
        faults=(
            Fault("programs", "idle & ~self.x_begun &", "idle &", CHECKED),
            Fault("control", "landed.eq(self.drain_layer.last)", "landed.eq(1)", CHECKED),
        ),
    ),
    claim(
        "Control",
        of_control,
        TWO_JOBS,
        cycles=30,
        faults=TOO_EARLY,
    ),
    claim(
        "MapControl",
        of_map_control,
        MAPS,
        cycles=None,
        faults=(
            Fault(
                "programs",
                "self.check & quiet & self.ready & ~waits",
                "self.check & self.ready & ~waits",
                CHECKED,
            ),
            Fault(
                "maps.control", "[self.number.eq(0), takes.eq(1)]", "takes.eq(1)", "layers in turn"
            ),
        ),
    ),
    claim(
        "MapControl",
        of_map_control,
        TWO_BANKS,
        cycles=None,
        faults=TOO_EARLY,
    ),
)
