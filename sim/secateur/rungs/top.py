"""The engine behind its UART after synthesis, with a host at its two pins."""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from secateur.bench.cosim import cosimulate
from secateur.checks import check_counts
from secateur.checksum import checksums
from secateur.errors import BadInputError, CheckFailedError
from secateur.estimate import payload_bytes
from secateur.gateware.top import Top
from secateur.hard_cells import hard_cells
from secateur.netlist import count_cells, write_netlist
from secateur.protocol import PAYLOAD_RANGE, check_payload
from secateur.rungs.engine import require_simulator
from secateur.rungs.netlist import (
    ECP5,
    ICE40UP,
    NETLIST_ARGUMENTS,
    choose_device,
    name_cells,
    require_yosys,
)
from secateur.rungs.rung import NotRunError
from secateur.technology import PORTABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from secateur.rungs.rung import Subject
    from secateur.technology import Technology

__all__ = ["top_on_ecp5", "top_on_ice40up"]

TESTBENCH = "secateur.bench.tb_top_recorded"
#: Cycles of a bit, the fewest that the UART can do, and the clock that STATUS tells, Hz.
DIVISOR, CLOCK = 4, 100_000_000


def _top(subject: Subject, *, devices: Sequence[str]) -> dict[str, int]:
    """Load and infer through the pins of the netlist, and of the Verilog that it was made of.

    It is the bitstream's design without what belongs to a board, its PLL and pads, which no
    simulator has a model of, and without a program. Every byte that it sends must be that of the
    portable Verilog, with status, cycles and CRCs, and every output the network's; where the
    hardware can check its weights, so must what it says of every PE's. Yosys's log and the cells
    are checked as those of the engine alone.
    """
    require_simulator("verilator")
    require_yosys()
    program = subject.program
    payload = payload_bytes(program.spec, max(program.input_words, program.output_words))
    payload = min(payload, PAYLOAD_RANGE[1])
    try:
        check_payload(program, payload)
    except BadInputError as error:
        raise NotRunError(str(error)) from error
    device = choose_device(program.spec, devices, payload=payload, checked=subject.checked)
    folder = subject.room(f"{device.name}-top")

    def top(technology: Technology) -> Top:
        return Top(
            program.spec,
            clock=CLOCK,
            baud=CLOCK // DIVISOR,
            max_payload=payload,
            technology=technology,
            checked=subject.checked,
        )

    subject.progress(0, 0, f"synthesis with the UART for {device.name}")
    netlist = write_netlist(top(device.technology), device=device, folder=folder)
    cells = hard_cells(program.spec, device, payload)
    check_counts(count_cells(netlist), cells, stage="netlist")
    x = subject.x[: subject.amounts.netlist]
    want = subject.network.compute(x)
    program.save(folder / "0.sct")
    np.savez(folder / "0.npz", x=x, y=want)

    def sent(design: Top | Sequence[Path], name: str, arguments: Sequence[str] = ()) -> bytes:
        subject.progress(0, 0, f"a program and {len(x)} inputs over the wire, {name}")
        work = folder / name
        cosimulate(
            design,
            testbench=TESTBENCH,
            build_dir=work,
            arguments=arguments,
            env={
                "JOB": str(folder.resolve()),
                "DIVISOR": str(DIVISOR),
                "SENT": str((work / "sent").resolve()),
                "CHECKED": str(int(subject.checked)),
            },
            seed=subject.seed,
            cache=subject.cache,
        )
        return (work / "sent").read_bytes()

    plain = sent(top(PORTABLE), "verilog")
    found = sent([netlist], "netlist", NETLIST_ARGUMENTS)
    if found != plain:
        pairs = zip(found, plain, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        raise CheckFailedError(
            f"the netlist sent {len(found)} bytes and its Verilog {len(plain)}, of which {same} "
            "are the same"
        )
    checked = {"checked entries": sum(one.count for one in checksums(program))}
    return {
        "test inputs": len(x),
        "outputs": want.size,
        **(checked if subject.checked else {}),
        "bytes of the program": len(program.image),
        "bytes of responses": len(found),
        **name_cells(cells),
    }


top_on_ecp5 = partial(_top, devices=ECP5)
top_on_ice40up = partial(_top, devices=ICE40UP)
