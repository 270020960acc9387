"""The engine: a whole network from x to y, on one chip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from secateur.errors import BadInputError
from secateur.format import LoadError, Memory, Section, memories
from secateur.gateware.control import Control, Phase
from secateur.gateware.drain import Drain, y_stream
from secateur.gateware.input import InputBuffer, x_stream
from secateur.gateware.layout import struct, words
from secateur.gateware.loader import Loader, load_stream
from secateur.gateware.memory import BankedMemory
from secateur.gateware.pe import ProcessingElement
from secateur.gateware.scan import Scanner
from secateur.image import read_image

if TYPE_CHECKING:
    from secateur.engine import EngineSpec
    from secateur.program import Program

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
        "program": 32,  # CRC-32 of the image of the program in use; 0 without one
        "input_words": layer["source_words"],  # words of x
        "output_words": layer["rows_words"],  # words of y
    })


def monitor_layout(spec: EngineSpec) -> data.StructLayout:
    """Lay out what a simulation measures; unconnected, it costs nothing."""
    return data.StructLayout({
        "running": 1,  # an inference is under way
        "phase": Shape.cast(Phase),
        "layer": range(spec.layer_depth),
        "broadcast": 1,  # an activation goes to the PEs
        "blocked": 1,  # one could, but a PE's queue is full
        "multiply": spec.pes,  # PEs that multiply a weight other than zero
    })


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

    Raises
    ------
    BadInputError
        If ``program`` was encoded for another engine.

    Members
    -------
    i_load : In(load_stream())
        Program images, a byte at a time.
    i_x : In(x_stream(spec))
        Inputs. Held up while no program is in use or one waits to be.
    o_y : Out(y_stream(spec))
        Outputs.
    status : Out(status_layout(spec))
        State.
    monitor : Out(monitor_layout(spec))
        For measurements.
    """

    i_load: stream.Interface
    i_x: stream.Interface
    o_y: stream.Interface
    status: data.View
    monitor: data.View

    def __init__(self, spec: EngineSpec, *, program: Program | None = None) -> None:
        self.spec = spec
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
            "status": Out(status_layout(spec)),
            "monitor": Out(monitor_layout(spec)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spec = self.spec
        m.submodules.loader = loader = Loader(spec)
        m.submodules.control = control = Control(spec, loaded=self.program is not None)
        m.submodules.input = x = InputBuffer(spec)
        m.submodules.scanner = scanner = Scanner(spec)
        m.submodules.drain = drain = Drain(spec)
        m.submodules.layers = layers = self._program_memory(m, Section.LAYERS, loader, control)
        m.submodules.biases = biases = self._program_memory(m, Section.BIASES, loader, control)
        m.submodules.activations = activations = BankedMemory(
            data.ArrayLayout(spec.activation_width, spec.lanes), depth=spec.activation_depth
        )
        pes = [
            ProcessingElement(
                spec,
                init={kind: init for (kind, pe), init in self._words.items() if pe == index},
            )
            for index in range(spec.pes)
        ]
        wiring.connect(m, wiring.flipped(self.i_load), loader.i)
        wiring.connect(m, wiring.flipped(self.i_x), x.i)
        wiring.connect(m, drain.o, wiring.flipped(self.o_y))

        # Programs.
        program = Signal(32, init=self.program.id if self.program else 0, reset_less=True)
        m.d.comb += [
            control.begin.eq(loader.begin),
            loader.begun.eq(control.begun),
            control.commit.eq(loader.commit),
            loader.committed.eq(control.committed),
        ]
        with m.If(control.committed):
            m.d.sync += program.eq(loader.id)
        with m.Elif(~control.loaded):
            m.d.sync += program.eq(0)

        # Layer table.
        descriptor = layers.read_word
        m.d.comb += [
            layers.read_address.eq(control.layer),
            layers.read_enable.eq(control.layer_enable),
            control.descriptor.eq(descriptor),
        ]

        # Activation memory: written by x, and before it by the drain; read by the scanner.
        m.d.comb += [
            x.source.eq(control.input_source),
            x.words.eq(control.input_words),
            x.open.eq(control.input_open),
            x.pause.eq(drain.write),
            x.release.eq(control.input_release),
            control.input_full.eq(x.full),
            control.input_occupied.eq(x.occupied),
            activations.write_enable.eq(x.write | drain.write),
            activations.write_address.eq(Mux(drain.write, drain.write_address, x.write_address)),
            activations.write_word.eq(
                Mux(drain.write, Value.cast(drain.write_word), Value.cast(x.write_word))
            ),
            activations.read_address.eq(scanner.address),
            activations.read_enable.eq(scanner.enable),
            scanner.word.eq(activations.read_word),
        ]

        # Broadcast, through a register that all PEs see at once.
        column = Signal.like(scanner.o.payload)
        column_valid = Signal()
        room = Signal()
        m.d.comb += [
            scanner.start.eq(control.scan_start),
            scanner.source.eq(Mux(control.first, x.full_source, descriptor.source)),
            scanner.source_words.eq(descriptor.source_words),
            scanner.column_base.eq(descriptor.column_base),
            scanner.input_signed.eq(descriptor.input_signed),
            scanner.o.ready.eq(room),
        ]
        settled = Signal()
        m.d.sync += [
            column.eq(scanner.o.payload),
            column_valid.eq(scanner.o.valid & room),
            room.eq(Cat(pe.room for pe in pes).all()),
            settled.eq(scanner.done & ~control.scan_start & Cat(pe.idle for pe in pes).all()),
        ]
        m.d.comb += control.scan_done.eq(settled)

        # Drain.
        m.d.comb += [
            drain.start.eq(control.drain_start),
            drain.layer.eq(descriptor),
            drain.last.eq(control.last),
            drain.biases.eq(biases.read_word),
            biases.read_address.eq(drain.bias_address),
            biases.read_enable.eq(drain.enable),
            control.drain_done.eq(drain.done),
        ]

        for index, pe in enumerate(pes):
            m.submodules[f"pe_{index}"] = pe
            mine = loader.write_valid & (loader.write.pe == index)
            m.d.comb += [
                pe.i.eq(column),
                pe.i_valid.eq(column_valid),
                pe.bank.eq(control.bank),
                pe.write_bank.eq(control.write_bank),
                pe.write_address.eq(loader.write.address),
                pe.write_word.eq(loader.write.word),
                pe.write_columns.eq(mine & (loader.write.section == Section.COLUMNS)),
                pe.write_weights.eq(mine & (loader.write.section == Section.WEIGHTS)),
                pe.drain_address.eq(drain.address),
                pe.drain_enable.eq(drain.enable),
                drain.sums[index].eq(pe.drain_sum),
                pe.clear.eq(drain.clear | control.clear),
                pe.clear_address.eq(Mux(control.clear, control.clear_address, drain.clear_address)),
            ]
        if spec.codebook_bits:
            self._connect_codebook(m, loader, control, pes)

        m.d.comb += [
            self.status.loaded.eq(control.loaded),
            self.status.busy.eq(x.occupied | control.running),
            self.status.loading.eq(loader.loading),
            self.status.committing.eq(loader.commit | (control.loaded & ~control.ready)),
            self.status.error.eq(loader.error),
            self.status.program.eq(program),
            self.status.input_words.eq(control.input_words),
            self.status.output_words.eq(control.output_words),
            self.monitor.running.eq(control.running),
            self.monitor.phase.eq(control.phase),
            self.monitor.layer.eq(control.layer),
            self.monitor.broadcast.eq(scanner.o.valid & room),
            self.monitor.blocked.eq(scanner.o.valid & ~room),
            self.monitor.multiply.eq(Cat(pe.multiply for pe in pes)),
        ]
        return m

    def _program_memory(
        self, m: Module, kind: Section, loader: Loader, control: Control
    ) -> BankedMemory:
        """Make a memory of the program that the PEs share, connected to the loader."""
        described: Memory = memories(self.spec)[kind]
        ram = BankedMemory(
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

    def _connect_codebook(
        self, m: Module, loader: Loader, control: Control, pes: list[ProcessingElement]
    ) -> None:
        """Copy the layer's codebook into every PE while the layer is set up."""
        m.submodules.codebooks = codebooks = self._program_memory(
            m, Section.CODEBOOKS, loader, control
        )
        code = control.code[: self.spec.codebook_bits]
        m.d.comb += [
            codebooks.read_address.eq(Cat(code, control.layer)),
            codebooks.read_enable.eq(1),
        ]
        for pe in pes:
            m.d.comb += [
                pe.code.eq(code - 1),
                pe.code_value.eq(codebooks.read_word.value),
                pe.code_write.eq(control.code_write),
            ]
