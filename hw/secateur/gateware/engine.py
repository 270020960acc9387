"""The engine: a whole network from x to y, on one chip."""

from __future__ import annotations

import itertools
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, NamedTuple

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.errors import BadInputError
from secateur.format import LoadError, Section, memories
from secateur.gateware.check import Checker, check_stream, crc_stream
from secateur.gateware.control import Control
from secateur.gateware.drain import Drain, y_stream
from secateur.gateware.layout import struct, words
from secateur.gateware.loader import Loader, load_stream
from secateur.gateware.lookup import Lookup, number_shape
from secateur.gateware.maps.control import MapControl
from secateur.gateware.maps.drain import MapDrain
from secateur.gateware.maps.store import MapStore
from secateur.gateware.maps.walk import MapWalker
from secateur.gateware.pe import ProcessingElement, layers_layout
from secateur.gateware.store import ActivationStore, x_stream
from secateur.gateware.walk import Walker
from secateur.image import read_image
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.gateware.programs import ProgramControl
    from secateur.program import Program
    from secateur.technology import Technology, portable

__all__ = ["Engine", "monitor_layout", "status_layout"]


def status_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out what the outside may want to know at any time."""
    layer = {f.name: f.width for f in memories(spec)[Section.LAYERS].record.fields}
    return data.StructLayout({
        "loaded": 1,  # a program is in use
        "busy": 1,  # an inference is under way, or an x has begun
        "loading": 1,  # an image has begun and is neither complete nor refused
        # An image waits for running inferences to end, or the program in use is being prepared.
        "committing": 1,
        "error": Shape.cast(LoadError),  # of the last image
        # CRC-32 of the image of the program in use, once it is in use for two cycles; 0 without.
        "program": 32,
        "input_words": layer["source_words"],  # words of x
        "output_words": layer["rows_words"],  # words of y
    })


def monitor_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out what a simulation measures; unconnected, it costs nothing."""
    tags = range(spec.jobs)
    return data.StructLayout({
        # What the walker does: it passes a word, or is held up by a full queue, or waits for the
        # next word of its job, or has no job.
        "walking": 1,
        "blocked": 1,
        "waiting": 1,
        "standing": 1,
        "tag": tags,  # of the columns that the PEs see
        "active": spec.lanes,  # those whose activation is not zero
        "tag_layers": layers_layout(spec),
        "tag_busy": spec.jobs,  # the tag's job is walked or drained
        "occupied": spec.pes,  # PEs that multiply an entry
        "multiply": spec.pes,  # PEs that multiply a weight other than zero
        "working": data.ArrayLayout(tags, spec.pes),  # for which tag
    })


class Scheduled(NamedTuple):
    """What decides which columns are passed, and takes the sums; the PEs are the same."""

    control: Control | MapControl
    store: ActivationStore | MapStore
    walker: Walker | MapWalker
    drain: Drain | MapDrain
    #: Inputs of one of them: the bit of a tag of every PE is one, is zero.
    all_ones: Signal
    all_zeros: Signal
    #: The walker passes a word.
    walking: Value


class Engine(wiring.Component):
    """Run any program that fits, inference after inference, on its own.

    An x may be taken in while the one before is computed; y comes in the order of x. Every
    stream may be held up at any time and for any time. Reset forgets inputs and a program that is
    being loaded; the program in use stays.

    Parameters
    ----------
    spec : EngineSpec
        The engine.
    program : Program, optional
        Initial contents: the program is in use from the start.
    technology : Technology
        Its cells.
    checked : bool
        Whether its weights can be checked while it runs. Nothing else changes with it.

    Raises
    ------
    BadInputError
        If ``program`` was encoded for another engine.

    Members
    -------
    i_load : In(load_stream())
        Program images, a byte at a time.
    i_x : In(x_stream(spec))
        Inputs. Held up while no program is in use or one waits to be, or a check of weights.
    o_y : Out(y_stream(spec))
        Outputs.
    i_check : In(check_stream())
        Which weights to check. Waits until no inference is under way, holds x up meanwhile, and is
        held up while no program is in use; absent if they cannot be checked.
    o_crc : Out(crc_stream())
        What was found, one for each check; likewise.
    status : Out(status_layout(spec))
        State.
    monitor : Out(monitor_layout(spec))
        For measurements.
    """

    i_load: stream.Interface
    i_x: stream.Interface
    o_y: stream.Interface
    i_check: stream.Interface
    o_crc: stream.Interface
    status: data.View
    monitor: data.View

    def __init__(
        self,
        spec: EngineSpec,
        *,
        program: Program | None = None,
        technology: Technology = PORTABLE,
        checked: bool = False,
    ) -> None:
        self.spec, self.technology, self.checked = spec, technology, checked
        self.program = program
        if program and program.spec != spec:
            raise BadInputError(
                "the program was encoded for another engine; encode it for this one"
            )
        # Initial words of bank 0 by section and PE.
        self._words = {
            (kind, pe): words(memories(spec)[kind].record, fields)
            for (kind, pe), fields in (read_image(spec, program.image) if program else {}).items()
        }
        super().__init__({
            "i_load": In(load_stream()),
            "i_x": In(x_stream(spec)),
            "o_y": Out(y_stream(spec)),
            **({"i_check": In(check_stream()), "o_crc": Out(crc_stream())} if checked else {}),
            "status": Out(status_layout(spec)),
            "monitor": Out(monitor_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.loader = loader = Loader(spec)
        scheduled = self._mapped(m, loader) if spec.positions else self._queued(m)
        control, store, walker, drain = scheduled[:4]
        m.submodules.layers = layers = self._program_memory(m, Section.LAYERS, loader, control)
        m.submodules.columns = columns = self._program_memory(m, Section.COLUMNS, loader, control)
        m.submodules.biases = biases = self._program_memory(m, Section.BIASES, loader, control)
        pes = [
            ProcessingElement(
                spec,
                init=self._words.get((Section.WEIGHTS, index), ()),
                technology=self.technology,
                checked=self.checked,
            )
            for index in range(spec.pes)
        ]
        wiring.connect(m, wiring.flipped(self.i_load), loader.i)
        wiring.connect(m, wiring.flipped(self.i_x), store.i_x)
        wiring.connect(m, drain.o, wiring.flipped(self.o_y))

        # Programs. In a memory as everything that differs between them, so that a bitstream gets
        # another one by initial contents alone.
        m.submodules.identity = identity = self.technology.memory(
            unsigned(32),
            depth=2,
            banks=spec.banks,
            init=[self.program.id] if self.program else (),
        )
        m.d.comb += [
            identity.read_bank.eq(control.bank),
            identity.write_bank.eq(control.write_bank),
            identity.write_word.eq(loader.id),
            identity.write_enable.eq(control.committed),
            control.begin.eq(loader.begin),
            loader.begun.eq(control.begun),
            control.commit.eq(loader.commit),
            loader.committed.eq(control.committed),
            layers.read_address.eq(control.layer_address),
            control.layer.eq(layers.read_word),
        ]

        # What the queues and the PEs report is registered, since it comes from all of them.
        room = Signal()
        m.d.sync += [
            room.eq(Cat(pe.room for pe in pes).all()),
            scheduled.all_ones.eq(reduce(and_, (pe.ended for pe in pes))),
            scheduled.all_zeros.eq(~reduce(or_, (pe.ended for pe in pes))),
        ]
        m.d.comb += [
            store.words.eq(control.input_words),
            store.open.eq(control.x_open),
            control.x_begun.eq(store.begun),
            control.x_complete.eq(store.complete),
            walker.room.eq(room),
            walker.word.eq(store.word),
            columns.read_address.eq(walker.column),
            drain.clear.eq(control.clear),
            Value.cast(drain.clear_address).eq(control.clear_address),
            drain.biases.eq(biases.read_word),
            biases.read_address.eq(drain.bias_address),
        ]

        # Weights have a long way, too.
        write = Signal.like(loader.write)
        of_weights = Signal()  # the section; it stands since the cycle before its first word
        m.d.sync += [
            write.eq(loader.write),
            of_weights.eq(loader.write.section == Section.WEIGHTS),
        ]
        for index, pe in enumerate(pes):
            m.submodules[f"pe_{index}"] = pe
            chosen = Signal(name=f"chosen_{index}")  # the section's PE
            m.d.sync += [
                # The counts wait a cycle for what the walker makes of the activations.
                pe.count.eq(columns.read_word[f"count{index}"]),
                chosen.eq(loader.write.pe == index),
                pe.write_enable.eq(loader.write_valid & of_weights & chosen),
            ]
            m.d.comb += [
                pe.visit.eq(walker.visit),
                pe.i.eq(walker.o[index % spec.lanes]),
                pe.bank.eq(control.bank),
                pe.write_bank.eq(control.write_bank),
                pe.write_address.eq(write.address),
                pe.write_word.eq(write.word),
                pe.hold.eq(drain.hold),
                pe.drained.eq(drain.drained[index]),
                drain.sums[index].eq(pe.sum),
            ]
            if len(spec.code_widths) > 1:
                m.d.comb += pe.splits.eq(control.splits)
        if spec.codebook_bits:
            self._connect_codebooks(m, loader, control, pes)
        if self.checked:
            self._connect_checker(m, control, walker, pes)

        m.d.comb += [
            self.status.loaded.eq(control.loaded),
            self.status.busy.eq(store.begun | control.running),
            self.status.loading.eq(loader.loading),
            self.status.committing.eq(loader.commit | (control.loaded & ~control.ready)),
            self.status.error.eq(loader.error),
            self.status.program.eq(Mux(control.loaded, identity.read_word, 0)),
            self.status.input_words.eq(control.input_words),
            self.status.output_words.eq(control.output_words),
            self.monitor.walking.eq(scheduled.walking),
            self.monitor.blocked.eq(walker.blocked),
            self.monitor.waiting.eq(~(scheduled.walking | walker.blocked | walker.done)),
            self.monitor.standing.eq(walker.done),
            self.monitor.tag.eq(walker.o[0].tag),
            self.monitor.active.eq(Cat(walker.visit & visit.active for visit in walker.o)),
        ]
        for index, pe in enumerate(pes):
            m.d.comb += [
                self.monitor.occupied[index].eq(pe.occupied),
                self.monitor.multiply[index].eq(pe.multiply),
                self.monitor.working[index].eq(pe.working),
            ]
        return m

    def _queued(self, m: Module) -> Scheduled:
        """Let layers of several inferences follow each other through queues."""
        m.submodules.control = control = Control(
            self.spec, loaded=self.program is not None, checked=self.checked
        )
        m.submodules.store = store = ActivationStore(self.spec, technology=self.technology)
        m.submodules.walker = walker = Walker(self.spec, checked=self.checked)
        m.submodules.drain = drain = Drain(self.spec)
        wiring.connect(m, drain.hidden, store.i_hidden)
        m.d.comb += [
            walker.start.eq(control.walk_start),
            walker.job.eq(control.walk_job),
            control.walk_done.eq(walker.done),
            walker.x_there.eq(store.x_there),
            walker.hidden_there.eq(store.hidden_there),
            store.read_hidden.eq(walker.read_hidden),
            store.take_x.eq(walker.take_x),
            store.take_hidden.eq(walker.take_hidden),
            drain.start.eq(control.drain_start),
            drain.tag.eq(control.drain_tag),
            drain.layer.eq(control.drain_layer),
            control.drain_done.eq(drain.done),
            self.monitor.tag_layers.eq(control.tag_layers),
            self.monitor.tag_busy.eq(control.tag_busy),
        ]
        return Scheduled(
            *(control, store, walker, drain),
            all_ones=control.all_ones,
            all_zeros=control.all_zeros,
            walking=walker.take_x | walker.take_hidden,
        )

    def _mapped(self, m: Module, loader: Loader) -> Scheduled:
        """Let layers follow each other through maps, position by position."""
        m.submodules.control = control = MapControl(
            self.spec, loaded=self.program is not None, checked=self.checked
        )
        m.submodules.store = store = MapStore(self.spec, technology=self.technology)
        m.submodules.walker = walker = MapWalker(self.spec, checked=self.checked)
        m.submodules.drain = drain = MapDrain(self.spec)
        m.submodules.offsets = offsets = self._program_memory(m, Section.OFFSETS, loader, control)
        m.d.comb += [
            walker.start.eq(control.start),
            walker.layer.eq(control.current),
            walker.freed.eq(drain.freed),
            store.patch.eq(walker.patch),
            offsets.read_address.eq(walker.offset),
            store.offsets.eq(offsets.read_word),
            drain.start.eq(control.start),
            drain.layer.eq(control.current),
            control.done.eq(drain.done),
            store.write.eq(drain.write | control.clear),
            store.address.eq(Mux(control.clear, control.clear_address, drain.address)),
            store.written.eq(Mux(control.clear, 0, Value.cast(drain.written))),
            self.monitor.tag_layers[0].eq(control.number),
            self.monitor.tag_busy.eq(~drain.done),
        ]
        return Scheduled(
            *(control, store, walker, drain),
            all_ones=drain.all_ones,
            all_zeros=drain.all_zeros,
            walking=walker.take,
        )

    def _program_memory(
        self, m: Module, kind: Section, loader: Loader, control: ProgramControl
    ) -> portable.Memory:
        """Make a memory of the program that the PEs share, connected to the loader."""
        described = memories(self.spec)[kind]
        ram = self.technology.memory(
            struct(described.record),
            depth=described.depth,
            banks=self.spec.banks,
            init=self._words.get((kind, 0), ()),
        )
        m.d.comb += [
            ram.read_bank.eq(control.bank),
            ram.write_bank.eq(control.write_bank),
            ram.write_address.eq(loader.write.address),
            ram.write_word.eq(loader.write.word),
            ram.write_enable.eq(loader.write_valid & (loader.write.section == kind)),
        ]
        return ram

    def _connect_codebooks(
        self,
        m: Module,
        loader: Loader,
        control: Control | MapControl,
        pes: list[ProcessingElement],
    ) -> None:
        """Copy all codebooks before a program is used, and let the PEs look codes up there."""
        m.submodules.codebooks = codebooks = self._program_memory(
            m, Section.CODEBOOKS, loader, control
        )
        m.submodules.lookup = lookup = Lookup(self.spec, technology=self.technology)
        m.d.comb += [
            codebooks.read_address.eq(control.clear_address),
            lookup.codebook.value.eq(codebooks.read_word.value),
        ]
        # Cycles 0 and 1: the memory.
        step = data.StructLayout({"write": 1, "number": number_shape(self.spec)})
        steps = [Signal(step, name=f"copy_{n}") for n in range(codebooks.LATENCY + 1)]
        m.d.comb += [
            steps[0].write.eq(control.clear),
            steps[0].number.eq(control.clear_address),
            lookup.codebook.write.eq(steps[-1].write),
            lookup.codebook.number.eq(steps[-1].number),
        ]
        m.d.sync += [late.eq(early) for early, late in itertools.pairwise(steps)]
        lookup.serve(m, pes)
        for pe in pes:
            if isinstance(control, Control):
                m.d.comb += pe.layers.eq(control.tag_layers)
            else:  # all positions are of one
                m.d.comb += pe.layers[0].eq(control.number)

    def _connect_checker(
        self,
        m: Module,
        control: ProgramControl,
        walker: Walker | MapWalker,
        pes: list[ProcessingElement],
    ) -> None:
        """Let the checker pass columns that have one entry in every PE."""
        m.submodules.checker = checker = Checker(self.spec)
        wiring.connect(m, wiring.flipped(self.i_check), checker.i)
        wiring.connect(m, checker.o, wiring.flipped(self.o_crc))
        m.d.comb += [
            control.check.eq(checker.wanted),
            checker.granted.eq(control.checking),
            control.checked.eq(checker.done),
            walker.scan.eq(checker.scan),
            walker.scan_first.eq(checker.scan_first),
            # All PEs are in step.
            checker.there.eq(pes[0].there),
        ]
        for index, pe in enumerate(pes):
            m.d.comb += [
                pe.selected.eq(checker.selected[index]),
                checker.entries[index].eq(pe.entry),
            ]
            with m.If(checker.scan):
                m.d.sync += pe.count.eq(1)
