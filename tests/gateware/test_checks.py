"""The checks behind the tools, on excerpts of real logs (Yosys 0.66, nextpnr 0.11)."""

import re
from pathlib import Path

import pytest

from secateur.checks import (
    DEFECTS,
    check_clock,
    check_counts,
    check_yosys_log,
    clamp,
    clock_fmax,
)
from secateur.device import find_device
from secateur.errors import CheckFailedError

CLEAN = """
2.5. Executing CHECK pass (checking for obvious problems).
Checking module top...
Found and reported 0 problems.

End of script. Logfile hash: 89849b0d94, time: 5.35s, user: 5.39s, system: 0.00s
"""

# `synth_ice40 -dsp` of `p <= a * b; q <= p`.
CONFLICT = (
    "Warning: Driver-driver conflict for \\q [0] between cell $mul$ice.v:3$2.O and constant 1'x "
    "in top: Resolved using constant.\n"
)
# `always @* if (en) l = d;`
LATCH = (
    "Latch inferred for signal `\\top.\\l' from process `\\top.$proc$latch.v:2$1': "
    "$auto$proc_dlatch.cc:439:proc_dlatch$231\n"
)
# `assign x = (a & z) ^ b; assign z = x | a;`
LOOP = """Warning: found logic loop in module top:
    cell $xor$loop.v:2$2 ($xor) source: loop.v:2.23-2.34
      A[0] --> Y[0]
Found and reported 1 problems.
"""
# Two write ports.
FLIP_FLOPS = "using FF mapping for memory top.m\n"
UNDRIVEN = """Warning: Wire top.\\y is used but has no driver.
Found and reported 1 problems.
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "yosys.log"


def test_clean_log_passes_every_check(log: Path) -> None:
    log.write_text(CLEAN)
    assert check_yosys_log(log) == [*DEFECTS]


@pytest.mark.parametrize(
    ("excerpt", "message"),
    [
        (
            CONFLICT,
            (
                "Yosys resolved a driver-driver conflict for \\q and may have deleted logic; "
                "see {log}"
            ),
        ),
        (LATCH, "Yosys inferred a latch for \\top.\\l; see {log}"),
        (LOOP, "Yosys found a combinational loop through $xor$loop.v:2$2; see {log}"),
        (FLIP_FLOPS, "Yosys built the memory top.m of flip-flops; see {log}"),
        (
            UNDRIVEN,
            ("Yosys's checks report a problem (Wire top.\\y is used but has no driver); see {log}"),
        ),
    ],
    ids=["conflict", "latch", "loop", "flip-flops", "undriven"],
)
def test_defect_is_red(excerpt: str, message: str, log: Path) -> None:
    log.write_text(excerpt + CLEAN)
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message.format(log=log))}$"):
        check_yosys_log(log)


def test_flip_flops_are_fine_where_there_is_nothing_else(log: Path) -> None:
    log.write_text(FLIP_FLOPS + CLEAN)
    checked = check_yosys_log(log, flip_flop_memories=True)
    assert checked == [name for name in DEFECTS if name != "no memories in flip-flops"]
    log.write_text(LATCH + FLIP_FLOPS + CLEAN)
    with pytest.raises(CheckFailedError, match=r"^Yosys inferred a latch for "):
        check_yosys_log(log, flip_flop_memories=True)


def test_log_that_ends_early_is_red(log: Path) -> None:
    log.write_text(CLEAN.split("End of script")[0])
    message = f"Yosys's log {log} ends early; run it again"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        check_yosys_log(log)


def test_warning_before_a_clean_check_is_no_problem(log: Path) -> None:
    log.write_text("Warning: something harmless\n" + CLEAN)
    assert check_yosys_log(log) == [*DEFECTS]


def test_counts() -> None:
    used = {"dsp": 4, "bram": 20, "lut": 3418}
    assert check_counts(used, {"dsp": 4, "bram": 20}) == ["4 of dsp", "20 of bram"]
    message = "the routed design must have 5 of dsp, as the engine was designed, not 4"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        check_counts(used, {"dsp": 5, "bram": 20})


def test_clock_of_the_report() -> None:
    clock = {"achieved": 131.35, "constraint": 110.01}
    assert clock_fmax({"fmax": {"$glbnet$clk": clock}}) == 131.35
    switched = {"fmax": {"clk": clock, "pll.clk": {"achieved": 980.39, "constraint": 110}}}
    assert clock_fmax(switched) == 131.35
    switched["fmax"]["pll.clk"]["achieved"] = 90.5
    assert clock_fmax(switched) == 90.5
    message = "nextpnr must time clocks of one frequency, not none"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        clock_fmax({"fmax": {}})
    message = "nextpnr must time clocks of one frequency, not a of 110.01 MHz, b of 12 MHz"
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        clock_fmax({"fmax": {"a": clock, "b": {"achieved": 300, "constraint": 12}}})


def test_cells_that_nextpnr_does_not_time() -> None:
    """Of the UP5K: one SPRAM is enough, and where there is none it does not matter."""
    limits = find_device("ice40-up5k").family.limits_mhz
    assert limits == {"ICESTORM_DSP": 110.0, "ICESTORM_SPRAM": 70.0}
    used = {"ICESTORM_DSP": {"used": 8}, "ICESTORM_SPRAM": {"used": 0}}
    assert clamp(171.0, used, limits) == (110.0, "ICESTORM_DSP")
    assert clamp(40.0, used, limits) == (40.0, None)
    used["ICESTORM_SPRAM"]["used"] = 1
    assert clamp(171.0, used, limits) == (70.0, "ICESTORM_SPRAM")


def test_clock() -> None:
    assert check_clock({1: 90.0, 2: 110.0}, 110) == ["clock of 110 MHz met"]
    message = (
        "the clock of 120 MHz is not met: the best of 2 seeds reaches 108.00 MHz, "
        "12.00 MHz (10.0%) too little; choose a lower clock_mhz or more seeds"
    )
    with pytest.raises(CheckFailedError, match=f"^{re.escape(message)}$"):
        check_clock({1: 90.0, 2: 108.0}, 120)
