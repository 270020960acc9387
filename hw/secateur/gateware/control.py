"""Which layer of which inference comes next, and when programs change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from secateur.format import Section, memories
from secateur.gateware.layout import struct
from secateur.gateware.pe import layers_layout, split_layout
from secateur.gateware.programs import ProgramControl
from secateur.gateware.walk import job_layout

if TYPE_CHECKING:
    from secateur.engine import EngineSpec

__all__ = ["Control"]


class Control(ProgramControl):
    """Start the walker and the drain for every layer of every input; change programs in between.

    A job is one layer of one inference. Jobs are walked and drained in the same order; job n uses
    the accumulators and the split of tag ``n % jobs``, from when job ``n - jobs`` is
    drained. The outputs of hidden layers are consumed in the order in which they were made. The
    next job is

    1. that of the oldest hidden output, if it is complete;
    2. a new inference, if a whole x is there;
    3. else, once the walker has nothing to do, that of the oldest hidden output while it comes, or
       a new inference whose x is coming.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    loaded : bool
        Whether bank 0 holds a program from the start.
    checked : bool
        Whether the weights can be checked.

    Members
    -------
    begin, begun, and so on
        As in :class:`ProgramControl`.
    splits : Out(split_layout(spec))
        As in :class:`secateur.gateware.pe.ProcessingElement`.
    x_complete : In(1)
        As in :class:`secateur.gateware.store.ActivationStore`.
    walk_start, walk_job : Out(1), Out(job_layout(spec))
        To :class:`secateur.gateware.walk.Walker`.
    walk_done : In(1)
        From it.
    all_ones, all_zeros : In(spec.jobs)
        The bit of a tag of every PE is one, is zero: all products of its job are stored.
    drain_start, drain_tag, drain_layer : Out
        To :class:`secateur.gateware.drain.Drain`.
    drain_done : In(1)
        From it.
    tag_layers : Out(layers_layout(spec))
        The layer of each tag's job.
    tag_busy : Out(spec.jobs)
        Whether that is under way. For measurements.
    """

    splits: data.View
    x_complete: Signal
    walk_start: Signal
    walk_job: data.View
    walk_done: Signal
    all_ones: Signal
    all_zeros: Signal
    drain_start: Signal
    drain_tag: Signal
    drain_layer: data.View
    drain_done: Signal
    tag_layers: data.View
    tag_busy: Signal

    def __init__(self, spec: EngineSpec, *, loaded: bool, checked: bool = False) -> None:
        descriptor = memories(spec)[Section.LAYERS].record
        fields = {f.name: f.width for f in descriptor.fields}
        tags = range(spec.jobs)
        super().__init__(
            spec,
            loaded=loaded,
            checked=checked,
            clears=spec.row_depth * spec.jobs,
            input_words=fields["source_words"],
            output_words=fields["rows_words"],
            members={
                "splits": Out(split_layout(spec)),
                "x_complete": In(1),
                "walk_start": Out(1),
                "walk_job": Out(job_layout(spec)),
                "walk_done": In(1),
                "all_ones": In(spec.jobs),
                "all_zeros": In(spec.jobs),
                "drain_start": Out(1),
                "drain_tag": Out(tags),
                "drain_layer": Out(struct(descriptor)),
                "drain_done": In(1),
                "tag_layers": Out(layers_layout(spec)),
                "tag_busy": Out(spec.jobs),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        jobs = spec.jobs
        last_layer = spec.layer_depth - 1

        # Reset does not change the memories, so what they hold outlives it.
        loaded = Signal(init=self._loaded, reset_less=True)
        bank = Signal(reset_less=True)
        flying = Signal(range(jobs + 1))  # inferences under way
        undrained = Signal(range(jobs + 1))  # jobs under way
        quiet = Signal()
        self._wait_for_quiet(
            m, loaded=loaded, bank=bank, quiet=quiet, idle=flying == 0, running=flying != 0
        )

        # The next layers of inferences under way and what the layer before makes, the oldest of
        # them; how many outputs and inputs wait complete, less those that were begun before.
        follows = data.StructLayout({
            "layer": range(spec.layer_depth),
            "rows": self.layer.rows_words.shape(),
        })
        pending = Array(Signal(follows, name=f"pending_{n}") for n in range(jobs))
        oldest = Signal(range(jobs))
        next_pending = Signal(range(jobs))
        waiting = Signal(range(jobs + 1))
        outputs = Signal(signed(jobs.bit_length() + 1))
        inputs = Signal(signed(spec.activation_depth.bit_length() + 1))
        resume = Signal()  # choose the oldest that waits
        launch = Signal()  # choose a new inference
        hand_on = Signal()  # a chosen job's output will be another's input
        finished = Signal()  # a hidden layer's output was completed in the cycle before
        landed = Signal()  # a last layer's output was delivered then
        # What was chosen counts a cycle later, and what the counts say is known two later: before
        # the next choice.
        resumed = Signal()
        launched = Signal()
        none_waiting = Signal(init=1)
        any_output = Signal()
        any_input = Signal()
        # There is a program, and a tag for a job. Known late, too: programs change while no x is
        # there and no job is under way, so that none can begin.
        may_begin = Signal()
        free_inference = Signal()
        new = Signal()
        waiting_next = Signal.like(waiting)
        m.d.comb += waiting_next.eq(waiting + hand_on - resumed)
        m.d.sync += [
            resumed.eq(resume),
            launched.eq(launch),
            flying.eq(flying + launched - landed),
            undrained.eq(undrained + (resumed | launched) - (finished | landed)),
            waiting.eq(waiting_next),
            none_waiting.eq(waiting_next == 0),
            outputs.eq(outputs + finished - resumed),
            inputs.eq(inputs + self.x_complete - launched),
            oldest.eq(oldest + resumed),
            any_output.eq(outputs > 0),
            any_input.eq(inputs > 0),
            may_begin.eq(self.ready & (undrained != jobs)),
            free_inference.eq(flying != jobs),
            new.eq(free_inference & any_input),
        ]

        # The next job.
        layer_next = Signal(range(spec.layer_depth))
        resumed_from = Signal.like(oldest)  # which of those that wait it is
        tag = Signal(range(jobs))
        drain_reads = Signal()
        at_end = Signal()  # where the memory reads
        drains_end = Signal()
        last_next = Signal()
        m.d.comb += [
            self.walk_job.tag.eq(tag),
            self.walk_job.hidden.eq(layer_next != 0),
            last_next.eq(self.layer.last | at_end),
        ]
        # A table without a last layer ends where it ends, so that no program hangs the engine.
        m.d.sync += [
            at_end.eq(layer_next == last_layer),
            drains_end.eq(self.tag_layers[self.drain_tag] == last_layer),
        ]
        # Likewise, there is a word of everything, and hidden outputs fit.
        source_words = self.layer.source_words | (self.layer.source_words == 0)
        room = spec.activation_depth // jobs

        def rows_words(rows: Value, last: Value) -> Value:
            return Mux(~last & (rows >= room), room, rows | (rows == 0))

        # What was made is what is consumed, whatever the table says. Known before the table's word.
        made = Signal.like(self.walk_job.words)
        m.d.sync += made.eq(rows_words(pending[resumed_from].rows, C(0)))
        is_last = Signal()

        with m.FSM(name="jobs"):
            with m.State("choose"):
                with m.If(may_begin):
                    idle = self.walk_done
                    streams = idle & free_inference & self.x_begun & none_waiting
                    with m.If(~none_waiting & (any_output | (idle & ~new))):
                        m.d.comb += resume.eq(1)
                        m.d.sync += [
                            layer_next.eq(pending[oldest].layer),
                            resumed_from.eq(oldest),
                        ]
                        m.next = "read layer"
                    with m.Elif(new | streams):
                        m.d.comb += launch.eq(1)
                        m.d.sync += layer_next.eq(0)
                        m.next = "read layer"
            with m.State("read layer"):
                with m.If(~drain_reads):
                    m.next = "wait layer"
            with m.State("wait layer"):
                m.next = "keep layer"
            with m.State("keep layer"):
                m.d.sync += [
                    self.walk_job.words.eq(Mux(self.walk_job.hidden, made, source_words)),
                    # In the place that it takes if its output is another's input: it is free.
                    pending[next_pending].rows.eq(self.layer.rows_words),
                    self.walk_job.column.eq(self.layer.column_base),
                    self.walk_job.weight.eq(self.layer.weight_base),
                    self.walk_job.signed.eq(self.layer.input_signed),
                    self.tag_layers[tag].eq(layer_next),
                    is_last.eq(last_next),
                ]
                if len(spec.code_widths) > 1:
                    m.d.sync += self.splits[tag].eq(self.layer.code_extra)
                m.next = "start"
            with m.State("start"):
                with m.If(self.walk_done):
                    m.d.comb += [self.walk_start.eq(1), hand_on.eq(~is_last)]
                    m.d.sync += [self.tag_busy.bit_select(tag, 1).eq(1), tag.eq(tag + 1)]
                    with m.If(~is_last):
                        m.d.sync += [
                            pending[next_pending].layer.eq(layer_next + 1),
                            next_pending.eq(next_pending + 1),
                        ]
                    m.next = "choose"

        # Draining, in the same order.
        phase = Signal(jobs, init=(1 << jobs) - 1)  # what a tag's bit of every PE will be
        ended = (phase & self.all_ones) | (~phase & self.all_zeros)
        stored = Signal()  # a cycle late, all of the next job's products
        m.d.sync += stored.eq((ended & self.tag_busy).bit_select(self.drain_tag, 1))
        m.d.sync += [finished.eq(0), landed.eq(0)]
        with m.FSM(name="drain"):
            with m.State("wait"):
                with m.If(stored):
                    m.d.comb += drain_reads.eq(1)
                    m.d.sync += phase.eq(phase ^ (1 << self.drain_tag))
                    m.next = "wait layer"
            with m.State("wait layer"):
                m.next = "keep layer"
            with m.State("keep layer"):
                last = self.layer.last | drains_end
                m.d.sync += [
                    self.drain_layer.eq(self.layer),
                    self.drain_layer.last.eq(last),
                    self.drain_layer.rows_words.eq(rows_words(self.layer.rows_words, last)),
                ]
                m.next = "start"
            with m.State("start"):
                m.d.comb += self.drain_start.eq(1)
                m.next = "draining"
            with m.State("draining"):
                with m.If(self.drain_done):
                    m.d.sync += [
                        landed.eq(self.drain_layer.last),
                        finished.eq(~self.drain_layer.last),
                        self.tag_busy.bit_select(self.drain_tag, 1).eq(0),
                        self.drain_tag.eq(self.drain_tag + 1),
                    ]
                    m.next = "wait"

        # Programs.
        shape_layer = Signal(range(spec.layer_depth))
        shaping = Signal()
        m.d.comb += self.layer_address.eq(
            Mux(drain_reads, self.tag_layers[self.drain_tag], Mux(shaping, shape_layer, layer_next))
        )
        self._change_programs(
            m,
            loaded=loaded,
            bank=bank,
            quiet=quiet,
            shaping=shaping,
            shape_layer=shape_layer,
            input_words=source_words,
            output_words=rows_words(self.layer.rows_words, C(1)),
        )
        return m
